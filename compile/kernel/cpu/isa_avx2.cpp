// AVX2; build.py has the flags.
#include "simd_avx2.h"

#include "encode.h"
#include "few_rows_by_tests.h"
#include "many_rows.h"

namespace millwork {
static bool supported() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}
const Isa kAvx2 = {"avx2", supported, encode, blocks, encode_row, row_by_tests};
}  // namespace millwork
