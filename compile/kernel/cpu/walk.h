// From node to node: what lies below the levels that are folded, and whole trees of one row.
#pragma once
#include "../model.h"

namespace millwork {
namespace {

// Takes all of n nodes down, a level at a time, so that none waits for another's loads. `step(i)` gives the child that
// the i-th node sends its row to; a leaf is its own child, so a row that has ended may go on.
template <class F>
inline __attribute__((always_inline)) void descend(uint32_t *node, uint32_t n, uint32_t steps, F &&step) {
  if (steps != kAsk) {
    for (uint32_t s = 0; s < steps; s++)
      for (uint32_t i = 0; i < n; i++) {
        node[i] = step(i);
        asm("" : "+r"(node[i]));  // the compiler's own gathers are slower than loads
      }
    return;
  }
  uint16_t moving[256];
  for (uint32_t i = 0; i < n; i++) moving[i] = uint16_t(i);
  while (n) {
    uint32_t left = 0;
    for (uint32_t j = 0; j < n; j++) {
      const uint16_t i = moving[j];
      const uint32_t to = step(i);
      moving[left] = i;
      left += to != node[i];
      node[i] = to;
    }
    n = left;
  }
}

// One row down several trees.
inline __attribute__((always_inline)) void walk_row(const Model &m, const int8_t *bytes, uint32_t *node, uint32_t n,
                                                    uint32_t steps) {
  const WalkNode *walk = m.walk.data;
  descend(node, n, steps, [=](uint32_t i) {
    const WalkNode w = walk[node[i]];
    const uint32_t column = uint32_t(w) >> 8, child = uint32_t(w >> 32);
    return child + (bytes[column] > int8_t(uint8_t(w)));
  });
}

// A block of rows down one tree, whose root is walk[0].
inline void walk_block(const BlockNode *walk, const int8_t *bytes, uint32_t *node, uint32_t steps) {
  descend(node, kBlock, steps, [=](uint32_t i) {
    const BlockNode w = walk[node[i]];
    const uint32_t high = uint32_t(w >> 32);
    return (high >> 8) + (bytes[i + uint32_t(w)] > int8_t(high));
  });
}

}  // namespace
}  // namespace millwork
