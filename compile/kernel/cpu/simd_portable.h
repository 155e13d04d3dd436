// The primitives of an instruction set, for any CPU. simd_avx2.h and simd_avx512.h have the same under the same names;
// the other headers of this folder are made of them, and know no instruction set.
//
// Each isa_*.cpp includes one simd_*.h and then the others, and is compiled with its own flags. All of it is in
// anonymous namespaces, and nothing of it may call a function of a library header that isn't inlined: of copies with
// the same name the linker keeps one, which may be one that this CPU can't run. A test looks for such functions.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "simd_loops.h"

namespace millwork {
namespace {

// ── fold: vectors of bytes, one for each row ──────────────────────────────────────────────────────────────────────

constexpr int kVectorBytes = 16;
typedef int8_t Bytes __attribute__((vector_size(kVectorBytes)));
using Mask = Bytes;  // which rows pass a test

inline Bytes broadcast(int8_t x) { return Bytes{} + x; }
inline Bytes load(const int8_t *p) {
  Bytes v;
  memcpy(&v, p, sizeof v);
  return v;
}
inline void store(uint8_t *p, Bytes v) { memcpy(p, &v, sizeof v); }
// Where a byte is above the key.
inline Mask above(const int8_t *bytes, Bytes key) { return load(bytes) > key; }
// `yes` where the mask is set, else `no`.
inline Bytes select(Mask m, Bytes no, Bytes yes) { return m ? yes : no; }
// `v` with `bit` set where the mask is.
inline Bytes set_bit(Bytes v, Mask m, int8_t bit) { return v | (m & broadcast(bit)); }

// ── leaves: sums of a block's rows ────────────────────────────────────────────────────────────────────────────────

// Adds each row's leaf to its sum: of a tree's 2^top values the one in the row's slot. 16 values or more can be read.
template <class T> inline void add_leaves(int, T *sums, const uint8_t *slots, const T *table) {
  add_leaves_by_loop(sums, slots, table);
}

// ── encode: thresholds ────────────────────────────────────────────────────────────────────────────────────────────

// How many of 16 thresholds the value passes: those that are at most x, or below it where tests are `<=`.
template <bool OrEqual> inline uint32_t count_passed(const float *threshold, float x) {
  int32_t n = 0;
  for (int i = 0; i < 16; i++) n += OrEqual ? threshold[i] < x : threshold[i] <= x;
  return uint32_t(n);
}

// BlockRanks, find_ranks, store_ranks and transpose: simd_loops.h.

}  // namespace
}  // namespace millwork
