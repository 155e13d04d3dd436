// AVX-512 with VBMI; build.py has the flags.
#include "simd_avx512.h"

#include "encode.h"
#include "few_rows_by_tests.h"
#include "many_rows.h"

namespace millwork {
static bool supported() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}
const Isa kAvx512 = {"avx512", supported, encode, blocks, encode_row, row_by_tests};
}  // namespace millwork
