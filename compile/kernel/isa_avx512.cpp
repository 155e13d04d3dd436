// -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vbmi -mbmi2 -mpopcnt
#define MW_AVX512
#include "kernels.h"

namespace millwork {
static bool here() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}
const Isa kAvx512 = {"avx512", here, encode, blocks, encode_row, row};
}  // namespace millwork
