// Primitives as plain loops, which the compiler makes vectors of: for the instruction sets that have none of their own.
#pragma once
#include <cstddef>
#include <cstdint>

#include "../model.h"

namespace millwork {
namespace {

template <class T> inline void add_leaves_by_loop(T *sums, const uint8_t *slots, const T *table) {
  for (int r = 0; r < kBlock; r++) sums[r] += table[slots[r]];
}

// Of a block's values of one feature: how many of the feature's thresholds each passes.
struct BlockRanks {
  uint32_t rank[kBlock];
};

// Down a search tree, all values a level at a time.
template <bool OrEqual>
inline void find_ranks(const float *table, const Search &search, const float *values, BlockRanks &out) {
  uint32_t *rank = out.rank;
  for (int r = 0; r < kBlock; r++) rank[r] = 1;
  for (uint32_t l = 0; l < search.levels; l++)
    for (int r = 0; r < kBlock; r++)
      rank[r] = 2 * rank[r] + (OrEqual ? table[rank[r]] < values[r] : table[rank[r]] <= values[r]);
  for (int r = 0; r < kBlock; r++) {
    const uint32_t found = rank[r] - (1u << search.levels);
    rank[r] = found < search.count ? found : search.count;
  }
}

// The bytes of one column.
inline void store_ranks(const BlockRanks &ranks, const Column &column, const float *values, int8_t *to) {
  for (int r = 0; r < kBlock; r++) {
    const int32_t over = int32_t(ranks.rank[r]) - int32_t(column.base);
    const int32_t kept = over < 0 ? 0 : over > 255 ? 255 : over;
    to[r] = int8_t((values[r] != values[r] ? int32_t(column.nan) : kept) - 128);
  }
}

// Up to 16 columns of 16 rows, of which n are there, to `tile` [column][kBlock], from row `at` on. Rows that aren't
// there are zeros.
inline void transpose(const float *rows, size_t stride, size_t n, size_t width, float *tile, size_t at) {
  const size_t columns = width < 16 ? width : 16;
  for (size_t i = 0; i < 16; i++)
    for (size_t c = 0; c < columns; c++) tile[c * kBlock + at + i] = i < n ? rows[i * stride + c] : 0.0f;
}

}  // namespace
}  // namespace millwork
