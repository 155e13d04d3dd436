// The words of CUDA that forest.cu uses, as C++: each lane of a block is a fibre, and __syncthreads() goes on to the
// next one. Blocks come one after the other. The order of lanes, between any two barriers, and that of blocks is the
// caller's choice: what is right in one order only wants a barrier.
#pragma once
#include <cmath>
#include <cstddef>

#define MW_DEVICE inline
#define MW_KERNEL extern "C" __attribute__((visibility("default"))) void
#define MW_GIVEN const
#define MW_SHARED(name) unsigned char *name = emulation::shared
#define MW_ONE(type, name) type &name = *reinterpret_cast<type *>(emulation::one)

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

namespace emulation {
struct Place {
  unsigned x, y;
};
extern unsigned char *shared, one[16];
extern Place thread, block, block_size, grid_size;
void wait_for_all();
}  // namespace emulation

#define threadIdx emulation::thread
#define blockIdx emulation::block
#define blockDim emulation::block_size
#define gridDim emulation::grid_size
inline void __syncthreads() { emulation::wait_for_all(); }
inline void __threadfence() {}
inline unsigned atomicAdd(unsigned *at, unsigned by) {
  const unsigned before = *at;
  *at += by;
  return before;
}
using std::exp;
