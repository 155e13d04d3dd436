// The small-batch plan: row by row, each through all trees, of which several are at work at a time.
#pragma once
#include <cstring>

#include "walk.h"

namespace millwork {
namespace {

constexpr uint32_t kChunk = 256;  // trees whose leaves are found before they are added, in the trees' order

// The leaves that one row comes to in a chunk of trees. Where sums are asked for and each tree has a value a leaf, they
// are collected in `value` and added together; else each is handed to leaf() at once.
template <class T> struct Found {
  const Model &m;
  T *sums;
  int32_t *out;  // where leaves are to go instead of sums
  T *kept;       // where values are to go instead of sums
  bool values;   // whether they are collected in `value`
  alignas(64) T value[kChunk + 8];

  void leaf(uint32_t tree, int32_t leaf) {
    if (out) {
      out[tree] = m.leaf_row.data[leaf];
    } else {
      const T *own = m.leaves<T>() + size_t(leaf) * m.width;
      const int32_t output = m.tree.data()[tree].output;
      if (output >= 0)
        sums[output] += own[0];
      else
        for (uint32_t d = 0; d < m.width; d++) sums[d] += own[d];
    }
  }

  void add(uint32_t first, uint32_t last) {
    if (!values) return;
    if (kept) {
      memcpy(kept + first, value, (last - first) * sizeof(T));
    } else if (m.outputs == 1) {
      T sum = sums[0];
      for (uint32_t t = 0; t < last - first; t++) sum += value[t];
      sums[0] = sum;
    } else {
      const Tree *tree = m.tree.data() + first;
      for (uint32_t t = 0; t < last - first; t++) sums[tree[t].output] += value[t];
    }
  }
};

inline uint32_t larger(uint32_t a, uint32_t b) { return b > a ? b : a; }

// Calls `chunk` with trees of one kind that follow each other, kChunk at most.
template <class F> inline void each_chunk(const Model &m, uint32_t from, uint32_t to, F &&chunk) {
  for (const Run &run : m.runs) {
    const uint32_t end = run.last < to ? run.last : to;
    for (uint32_t first = run.first > from ? run.first : from; first < end; first += kChunk)
      chunk(run, first, end - first < kChunk ? end : first + kChunk);
  }
}

// Whole trees, eight at a time: their upper nodes are together, and stay in registers and the nearest cache.
template <class T>
void walk_chunk(const Model &m, uint32_t first, uint32_t last, const int8_t *bytes, Found<T> &found) {
  for (uint32_t t = first; t < last; t += 8) {
    const uint32_t n = last - t < 8 ? last - t : 8;
    const Tree *tree = m.tree.data() + t;
    uint32_t node[8], steps = 0;
    for (uint32_t i = 0; i < 8; i++) {
      const Tree &own = tree[i < n ? i : 0];
      node[i] = own.root;
      steps = larger(steps, own.steps);
    }
    walk_row(m, bytes, node, 8, steps);
    for (uint32_t i = 0; i < n; i++)
      if (found.values)
        found.value[t - first + i] = m.walked<T>()[node[i]];
      else
        found.leaf(t + i, m.walk_leaf.data[node[i]]);
  }
}

// Oblivious trees: all tests of a tree at once, since none waits for another.
template <class T>
void look_up_chunk(const Model &m, uint32_t first, uint32_t last, const int8_t *bytes, Found<T> &found) {
  for (uint32_t t = first; t < last; t++) {
    const Tree &tree = m.tree.data()[t];
    const uint32_t *offset = m.offset.data + tree.node;
    const int8_t *key = m.key.data + tree.node;
    uint32_t slot = 0;
    for (uint32_t l = 0; l < tree.top; l++) slot = 2 * slot + (bytes[offset[l] / kBlock] > key[l]);
    if (found.values)
      found.value[t - first] = m.values<T>()[tree.slot + slot];
    else
      found.leaf(t, m.target.data[tree.slot + slot]);
  }
}

template <class T>
inline void walk_trees(const Model &m, const int8_t *bytes, uint32_t from, uint32_t to, Found<T> &found) {
  each_chunk(m, from, to, [&](const Run &run, uint32_t first, uint32_t last) {
    run.oblivious ? look_up_chunk(m, first, last, bytes, found) : walk_chunk(m, first, last, bytes, found);
    found.add(first, last);
  });
}

template <class T>
void row_of(const Model &m, const int8_t *bytes, uint32_t from, uint32_t to, T *sums, int32_t *out, T *kept) {
  Found<T> found{m, sums, out, kept, !out && m.width == 1, {}};
  walk_trees(m, bytes, from, to, found);
}

inline void row(const Model &m, const int8_t *bytes, uint32_t first, uint32_t last, void *sums, int32_t *leaf,
                void *values) {
  if (m.doubles)
    row_of<double>(m, bytes, first, last, static_cast<double *>(sums), leaf, static_cast<double *>(values));
  else
    row_of<float>(m, bytes, first, last, static_cast<float *>(sums), leaf, static_cast<float *>(values));
}

}  // namespace
}  // namespace millwork
