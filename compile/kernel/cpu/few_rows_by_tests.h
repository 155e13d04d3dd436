// The small-batch plan where an instruction set does all tests of a tree at once: the row's bytes are in registers, and
// vectors of columns and keys give 64 results, a bit each.
#pragma once
#include <cstring>

#include "few_rows.h"

namespace millwork {
namespace {

// A chunk of oblivious trees, eight in a vector of tests: each byte of the results is a slot. Fewer than eight are
// looked up one by one: a byte behind the last of them is no slot of the tree that follows, and would be read beside
// the values.
template <class T, bool Wide>
void test_oblivious_chunk(const Model &m, uint32_t first, uint32_t last, const RowBytes<Wide> &row, Found<T> &found) {
  const size_t at = m.tree.data()[first].row;
  const auto slots_from = [&](uint32_t t) {
    const size_t own = at + size_t(t - first) * 8;
    return row.tests(m.row_column.data + own, m.row_key.data + own);
  };
  uint32_t t = first;
  for (; found.values && last - t >= 8; t += 8) {
    const uint64_t slots = slots_from(t);
    for (uint32_t i = 0; i < 8; i += kLanes) {
      const Lanes value = add_lanes(widen(slots >> 8 * i), load_lanes(m.row_value.data + t + i));
      gather(found.value + (t - first) + i, value, m.values<T>());
    }
  }
  for (; t < last; t += 8) {
    uint64_t slots = slots_from(t);
    const uint32_t n = last - t < 8 ? last - t : 8;
    for (uint32_t i = 0; i < n; i++, slots >>= 8) {
      if (found.values)
        found.value[t - first + i] = m.values<T>()[m.row_value.data[t + i] + uint8_t(slots)];
      else
        found.leaf(t + i, m.target.data[m.tree.data()[t + i].slot + uint8_t(slots)]);
    }
  }
}

// From nodes of the walk, one for each tree of the chunk, to leaves.
template <class T>
void walk_on(const Model &m, uint32_t first, uint32_t last, const int8_t *bytes, uint32_t *node, uint32_t steps,
             Found<T> &found) {
  walk_row(m, bytes, node, last - first, steps);
  if (found.values)
    for (uint32_t i = 0; i < last - first; i++) found.value[i] = m.walked<T>()[node[i]];
  else
    for (uint32_t i = 0; i < last - first; i++) found.leaf(first + i, m.walk_leaf.data[node[i]]);
}

// A chunk of other trees: first the results of all their tests, a bit for each node, then several trees at a time the
// way that the bits say. Node i's children are 2 i and 2 i + 1, so that after six levels i is 64 and more.
template <class T, bool Wide>
void test_chunk(const Model &m, uint32_t first, uint32_t last, const RowBytes<Wide> &row, const int8_t *bytes,
                Found<T> &found) {
  alignas(64) uint64_t masks[kChunk + 8];
  const size_t at = m.tree.data()[first].row;
  const uint32_t n = last - first;
  for (uint32_t i = 0; i < n; i++) masks[i] = row.tests(m.row_column.data + at + 64 * i, m.row_key.data + at + 64 * i);
  for (uint32_t i = n; i < n + 7; i++) masks[i] = 0;
  bool deep = false;
  uint32_t steps = 0, node[kChunk + 8];
  for (uint32_t t = first; m.row_deep && t < last; t++) {
    deep |= m.tree.data()[t].row_deep;
    steps = larger(steps, m.tree.data()[t].row_steps);
  }
  const bool gathered = found.values && !deep;
  const uint32_t *target = m.row_targets.data + m.tree.data()[first].row_target;
  for (uint32_t g = 0; g < n; g += kLanes) {
    const Lanes mask = load_lanes(masks + g);
    Lanes place = broadcast_lanes(1);
    for (int l = 0; l < kRowTop; l++) place = child(place, mask);
    if (gathered) {
      const Lanes slot = shift_right(place, load_lanes(m.row_shift.data + first + g));
      gather(found.value + g, add_lanes(slot, load_lanes(m.row_value.data + first + g)), m.values<T>());
      continue;
    }
    alignas(64) uint64_t places[kLanes];
    memcpy(places, &place, sizeof places);
    for (uint32_t k = 0; k < kLanes && g + k < n; k++) node[g + k] = target[64 * (g + k) + places[k] - 64];
  }
  if (!gathered) walk_on(m, first, last, bytes, node, steps, found);
}

template <bool Wide, class T>
void test_trees(const Model &m, const int8_t *bytes, uint32_t from, uint32_t to, Found<T> &found) {
  const RowBytes<Wide> row(bytes, m.n_bytes);
  each_chunk(m, from, to, [&](const Run &run, uint32_t first, uint32_t last) {
    run.oblivious ? test_oblivious_chunk(m, first, last, row, found) : test_chunk(m, first, last, row, bytes, found);
    found.add(first, last);
  });
}

// Where a row has more columns than RowBytes holds, its trees are walked. Both in one function: apart, GCC 12 keeps
// less of RowBytes in registers, and AVX2 takes 10% longer.
template <class T>
void tested_row_of(const Model &m, const int8_t *bytes, uint32_t from, uint32_t to, T *sums, int32_t *out, T *kept) {
  Found<T> found{m, sums, out, kept, !out && m.width == 1, {}};
  if (m.row_masks)
    return m.n_bytes > 128 ? test_trees<true>(m, bytes, from, to, found) : test_trees<false>(m, bytes, from, to, found);
  walk_trees(m, bytes, from, to, found);
}

void row_by_tests(const Model &m, const int8_t *bytes, uint32_t first, uint32_t last, void *sums, int32_t *leaf,
                  void *values) {
  if (m.doubles)
    tested_row_of<double>(m, bytes, first, last, static_cast<double *>(sums), leaf, static_cast<double *>(values));
  else
    tested_row_of<float>(m, bytes, first, last, static_cast<float *>(sums), leaf, static_cast<float *>(values));
}

}  // namespace
}  // namespace millwork
