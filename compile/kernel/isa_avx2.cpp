// -mavx2 -mbmi2 -mpopcnt
#define MW_WIDTH 32
#include "kernels.h"

namespace millwork {
static bool here() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}
const Isa kAvx2 = {"avx2", here, encode, blocks, encode_row, row};
}  // namespace millwork
