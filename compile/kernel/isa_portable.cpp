// No flags: what every CPU of the architecture has.
#define MW_WIDTH 16
#include "kernels.h"

namespace millwork {
static bool here() { return true; }
const Isa kPortable = {"portable", here, encode, blocks, encode_row, row};
}  // namespace millwork
