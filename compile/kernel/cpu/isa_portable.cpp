// What every CPU of the architecture has.
#include "simd_portable.h"

#include "encode.h"
#include "few_rows.h"
#include "many_rows.h"

namespace millwork {
static bool supported() { return true; }
const Isa kPortable = {"portable", supported, encode, blocks, encode_row, row};
}  // namespace millwork
