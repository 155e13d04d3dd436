// The plan for large batches: blocks of kBlock rows through all trees. A tree is folded, walked where it is deeper than
// its fold, and its leaves are added.
#pragma once
#include "fold.h"
#include "walk.h"

namespace millwork {
namespace {

constexpr size_t kCachedTrees = 160 * 1024;  // bytes of trees that stay in the cache while all blocks pass over them

// From the slots of one tree to the sums of a block's rows; or, where `out` is given, to the leaves of n rows.
template <class T>
void block_tree(const Model &m, uint32_t number, const int8_t *bytes, const uint8_t *slots, T *sums, int32_t *out,
                size_t n) {
  const Tree &t = m.tree[number];
  const int32_t *target = m.target.data + t.slot;
  uint32_t node[kBlock];
  if (t.deep) {
    for (int r = 0; r < kBlock; r++) node[r] = uint32_t(target[slots[r]]);
    walk_block(m.block_walk.data + t.root, bytes, node, t.block_steps);
  }
  const int32_t *walk_leaf = m.walk_leaf.data + t.root;
  if (out) {
    for (size_t r = 0; r < n; r++)
      out[r * m.trees + number] = m.leaf_row.data[t.deep ? walk_leaf[node[r]] : target[slots[r]]];
    return;
  }
  const uint32_t first = t.output < 0 ? 0 : uint32_t(t.output), each = t.output < 0 ? m.width : 1;
  const size_t slot_count = size_t(1) << t.top;
  for (uint32_t d = 0; d < each; d++) {
    T *own = sums + size_t(first + d) * kBlock;
    if (!t.deep) {
      add_leaves(t.top, own, slots, m.values<T>() + t.slot * m.width + d * slot_count);
    } else if (m.width == 1) {
      const T *walked = m.walked<T>() + t.root;
      for (int r = 0; r < kBlock; r++) own[r] += walked[node[r]];
    } else {
      const T *leaves = m.leaves<T>() + d;
      for (int r = 0; r < kBlock; r++) own[r] += leaves[size_t(walk_leaf[node[r]]) * m.width];
    }
  }
}

// A large forest comes from memory: while one tree is at work, the nodes of the next are on their way. They are read in
// no order, so the processor can't foresee which.
template <class T> inline void fetch_ahead(const Model &m, uint32_t number) {
  const Tree &t = m.tree.data()[number];
  if (!t.deep) return;
  const size_t nodes = (number + 1 < m.trees ? m.tree.data()[number + 1].root : m.walk.size) - t.root;
  const char *walk = reinterpret_cast<const char *>(m.block_walk.data + t.root);
  for (size_t at = 0; at < nodes * sizeof(BlockNode); at += 64) __builtin_prefetch(walk + at);
  const char *walked = reinterpret_cast<const char *>(m.walked<T>() + t.root);
  for (size_t at = 0; m.width == 1 && at < nodes * sizeof(T); at += 64) __builtin_prefetch(walked + at);
}

template <class T> void blocks_of(const Model &m, const int8_t *bytes, size_t blocks, T *sums, int32_t *out, size_t n) {
  const size_t block_bytes = size_t(m.n_bytes) * kBlock;
  for (uint32_t first = 0; first < m.trees;) {
    uint32_t last = first;
    for (size_t size = 0; last < m.trees && size < kCachedTrees; last++)
      size += (size_t(1) << m.tree[last].top) * (5 + 4 * m.width) + (m.tree[last].deep ? 4096 : 0);
    for (size_t b = 0; b < blocks;) {
      const size_t together = kVectorBytes == kBlock && blocks - b >= kTogether ? kTogether : 1;
      const int8_t *own = bytes + b * block_bytes;
      for (uint32_t t = first; t < last; t++) {
        alignas(64) uint8_t slots[kTogether][kBlock];
        const Tree &tree = m.tree[t];
        if (b == 0 && t + 1 < m.trees) fetch_ahead<T>(m, t + 1);
        if constexpr (kVectorBytes == kBlock) {  // a vector has a block
          const int8_t *at[kTogether] = {own, own + block_bytes};
          uint8_t *to[kTogether] = {slots[0], slots[1]};
          together == kTogether ? fold_tree<kTogether>(m, tree, at, to) : fold_tree<1>(m, tree, at, to);
        } else {
          for (int r = 0; r < kBlock; r += kTogether * kVectorBytes) {
            const int8_t *at[kTogether] = {own + r, own + r + kVectorBytes};
            uint8_t *to[kTogether] = {slots[0] + r, slots[0] + r + kVectorBytes};
            fold_tree<kTogether>(m, tree, at, to);
          }
        }
        for (size_t i = 0; i < together; i++) {
          const size_t row = (b + i) * kBlock, rows = n - row < kBlock ? n - row : kBlock;
          block_tree<T>(m, t, own + i * block_bytes, slots[i], sums + (b + i) * m.outputs * kBlock,
                        out ? out + row * m.trees : nullptr, rows);
        }
      }
      b += together;
    }
    first = last;
  }
}

void blocks(const Model &m, const int8_t *bytes, size_t count, void *sums, int32_t *leaf, size_t n) {
  if (m.doubles)
    blocks_of<double>(m, bytes, count, static_cast<double *>(sums), leaf, n);
  else
    blocks_of<float>(m, bytes, count, static_cast<float *>(sums), leaf, n);
}

}  // namespace
}  // namespace millwork
