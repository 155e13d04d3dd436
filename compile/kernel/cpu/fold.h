// The top levels of a tree for a block of rows: all of its tests, folded bottom up to the slot where each row ends.
#pragma once
#include "../model.h"

namespace millwork {
namespace {

constexpr int kTogether = 2;  // vectors of rows that share the loads of a test, where there are so many rows

// Vectors of a slot's number, for every slot: what the last level of a fold chooses from.
struct alignas(64) SlotNumbers {
  uint8_t of[256][64];
  constexpr SlotNumbers() : of() {
    for (int i = 0; i < 256; i++)
      for (int r = 0; r < 64; r++) of[i][r] = uint8_t(i);
  }
};
constexpr SlotNumbers kSlotNumbers;

inline Bytes slot_number(int slot) { return load(reinterpret_cast<const int8_t *>(kSlotNumbers.of[slot])); }

template <int N> struct Several {
  Bytes v[N];
};

// Place J on level L of a perfect tree of D levels: the slots of N vectors of rows. `at`: of each vector its bytes in
// column 0, `offset` on from there are those in a test's column.
template <int N, int D, int L, int J>
inline __attribute__((always_inline)) Several<N> fold(const int8_t *const *at, const uint32_t *offset,
                                                      const int8_t *key) {
  constexpr int i = (1 << L) - 1 + J;
  Several<N> out;
  if constexpr (L == D - 1) {
    const Bytes k = broadcast(key[i]);
    const uint32_t o = offset[i];
    const Bytes no = slot_number(2 * J), yes = slot_number(2 * J + 1);
    for (int w = 0; w < N; w++) out.v[w] = select(above(at[w] + o, k), no, yes);
  } else {
    const Several<N> no = fold<N, D, L + 1, 2 * J>(at, offset, key);
    const Several<N> yes = fold<N, D, L + 1, 2 * J + 1>(at, offset, key);
    const Bytes k = broadcast(key[i]);
    const uint32_t o = offset[i];
    for (int w = 0; w < N; w++) out.v[w] = select(above(at[w] + o, k), no.v[w], yes.v[w]);
  }
  return out;
}

template <int N, int D>
__attribute__((noinline)) void fold_perfect(const int8_t *const *at, const uint32_t *offset, const int8_t *key,
                                            uint8_t *const *slots) {
  const Several<N> out = fold<N, D, 0, 0>(at, offset, key);
  for (int w = 0; w < N; w++) store(slots[w], out.v[w]);
}

// An oblivious tree: each of its tests is a bit of the slot, the first one the highest.
template <int N>
void fold_oblivious(int top, const int8_t *const *at, const uint32_t *offset, const int8_t *key,
                    uint8_t *const *slots) {
  Bytes out[N] = {};
  for (int l = 0; l < top; l++) {
    const Bytes k = broadcast(key[l]);
    const uint32_t o = offset[l];
    for (int w = 0; w < N; w++) out[w] = set_bit(out[w], above(at[w] + o, k), int8_t(1 << (top - 1 - l)));
  }
  for (int w = 0; w < N; w++) store(slots[w], out[w]);
}

// The slots of one tree for N vectors of rows.
template <int N> void fold_tree(const Model &m, const Tree &t, const int8_t *const *at, uint8_t *const *slots) {
  const uint32_t *offset = m.offset.data + t.node;
  const int8_t *key = m.key.data + t.node;
  if (t.oblivious) return fold_oblivious<N>(t.top, at, offset, key, slots);
  switch (t.top) {
    case 0:
      for (int w = 0; w < N; w++) store(slots[w], Bytes{});
      return;
    case 1: return fold_perfect<N, 1>(at, offset, key, slots);
    case 2: return fold_perfect<N, 2>(at, offset, key, slots);
    case 3: return fold_perfect<N, 3>(at, offset, key, slots);
    case 4: return fold_perfect<N, 4>(at, offset, key, slots);
    case 5: return fold_perfect<N, 5>(at, offset, key, slots);
    case 6: return fold_perfect<N, 6>(at, offset, key, slots);
    case 7: return fold_perfect<N, 7>(at, offset, key, slots);
    default: return fold_perfect<N, 8>(at, offset, key, slots);
  }
}

}  // namespace
}  // namespace millwork
