// From values to the bytes that tests compare: a block of rows, or one row.
#pragma once
#include <cstring>

#include "../model.h"

namespace millwork {
namespace {

// Whether the value is a category of the set.
inline bool is_member(const Model &m, uint32_t set, float x) {
  if (!(x >= 0 && x < 16777216.0f)) return false;
  const uint32_t code = uint32_t(x);
  const auto &bits = m.bits[set];
  if (code / 64 < bits.size()) return bits.data()[code / 64] >> (code % 64) & 1;
  const uint32_t *first = m.members[set].data();
  size_t n = m.members[set].size();
  while (n) {
    const size_t half = n / 2;
    if (first[half] == code) return true;
    if (first[half] < code)
      first += half + 1, n -= half + 1;
    else
      n = half;
  }
  return false;
}

// The byte of one value in one column; `rank`: how many of its feature's thresholds it passes.
inline int8_t byte_of(const Model &m, const Column &c, float x, uint32_t rank) {
  if (x != x) return int8_t(c.nan - 128);
  if (c.set) return int8_t((is_member(m, c.base, x) ? 255 : 0) - 128);
  const uint32_t over = rank > c.base ? rank - c.base : 0;
  return int8_t(int(over < 255 ? over : 255) - 128);
}

// ── a block of rows ───────────────────────────────────────────────────────────────────────────────────────────────

// The columns of one feature, from its values.
void encode_feature(const Model &m, const Feature &f, const float *values, int8_t *bytes) {
  BlockRanks ranks;
  if (m.or_equal)
    find_ranks<true>(m.search.data + f.search.table, f.search, values, ranks);
  else
    find_ranks<false>(m.search.data + f.search.table, f.search, values, ranks);
  for (uint32_t c = f.first; c < f.last; c++) {
    const Column own = m.column.data()[c];
    int8_t *to = bytes + size_t(c) * kBlock;
    if (own.set) {
      for (int r = 0; r < kBlock; r++) to[r] = byte_of(m, own, values[r], 0);
      continue;
    }
    store_ranks(ranks, own, values, to);
  }
}

// A block of rows of one matrix whose first column is `base` of the encoded row.
void encode_matrix(const Model &m, const float *rows, size_t stride, size_t n, uint32_t base, uint32_t width,
                   size_t &next_feature, int8_t *bytes) {
  alignas(64) float tile[16 * kBlock];
  while (next_feature < m.features.size() && m.features.data()[next_feature].source < base + width) {
    const uint32_t group = (m.features.data()[next_feature].source - base) / 16 * 16;
    for (size_t r = 0; r < kBlock; r += 16)
      transpose(rows + r * stride + group, stride, r < n ? n - r : 0, width - group, tile, r);
    const size_t limit = size_t(base) + group + 16;
    for (; next_feature < m.features.size(); next_feature++) {
      const Feature &f = m.features.data()[next_feature];
      if (f.source >= limit || f.source >= base + width) break;
      float *values = tile + size_t(f.source - base - group) * kBlock;
      if (f.source < m.columns)
        for (size_t s = 0; s < m.sentinels.size(); s++) {
          const float sentinel = m.sentinels.data()[s];
          for (int r = 0; r < kBlock; r++) values[r] = values[r] == sentinel ? __builtin_nanf("") : values[r];
        }
      encode_feature(m, f, values, bytes);
    }
  }
}

void encode(const Model &m, const Rows &rows, int8_t *bytes) {
  const size_t extra = m.encoded - m.columns;
  for (size_t r = 0; r < rows.n; r += kBlock, bytes += size_t(m.n_bytes) * kBlock) {
    const size_t n = rows.n - r < kBlock ? rows.n - r : kBlock;
    size_t feature = 0;
    if (m.features.empty()) memset(bytes, 0, size_t(m.n_bytes) * kBlock);
    encode_matrix(m, rows.numbers + r * rows.stride, rows.stride, n, 0, m.columns, feature, bytes);
    if (extra) encode_matrix(m, rows.extra + r * extra, extra, n, m.columns, uint32_t(extra), feature, bytes);
  }
}

// ── one row ───────────────────────────────────────────────────────────────────────────────────────────────────────

// How many of the feature's thresholds the value passes.
template <bool OrEqual> inline uint32_t rank_of(const Model &m, const Ladder &s, float x) {
  uint32_t rank = 0;
  for (uint32_t l = s.levels; l-- > 0;) {
    const uint32_t most = s.size[l];
    rank = 16 * rank + count_passed<OrEqual>(m.ladder.data + s.at[l] + 16 * size_t(rank), x);
    rank = rank < most ? rank : most;  // infinity passes the padding
  }
  return rank;
}

// The value, or NaN for one that stands for a missing one.
inline float cleaned(const Model &m, uint32_t source, float x) {
  if (source < m.columns)
    for (size_t s = 0; s < m.sentinels.size(); s++)
      if (x == m.sentinels.data()[s]) return __builtin_nanf("");
  return x;
}

template <bool OrEqual> void row_bytes(const Model &m, const float *numbers, const float *extra, int8_t *bytes) {
  const Ladder *ladder = m.ladders.data();
  for (size_t i = 0; i < m.features.size(); i++) {
    const Feature &f = m.features.data()[i];
    const float x = cleaned(m, f.source, f.source < m.columns ? numbers[f.source] : extra[f.source - m.columns]);
    const uint32_t rank = rank_of<OrEqual>(m, ladder[i], x);
    for (uint32_t c = f.first; c < f.last; c++) bytes[c] = byte_of(m, m.column.data()[c], x, rank);
  }
  if (m.features.empty()) bytes[0] = -128;
}

void encode_row(const Model &m, const float *numbers, const float *extra, int8_t *bytes) {
  m.or_equal ? row_bytes<true>(m, numbers, extra, bytes) : row_bytes<false>(m, numbers, extra, bytes);
}

}  // namespace
}  // namespace millwork
