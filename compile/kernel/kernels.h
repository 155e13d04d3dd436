// The kernels of one instruction set, in the source: each isa_*.cpp includes this once, with its own compiler flags.
// Nothing here may call a function of a library header that isn't inlined: the linker could give another file's
// callers the copy that this CPU can't run.
//
// W is the bytes of a vector. MW_AVX512 has its own primitives; elsewhere they are the compiler's vectors.
#include <stdint.h>
#include <string.h>

#include "model.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace millwork {
namespace {

#ifdef MW_AVX512
constexpr int W = 64;
using V = __m512i;
using M = __mmask64;
inline V all(int8_t x) { return _mm512_set1_epi8(x); }
inline V load(const int8_t *p) { return _mm512_loadu_si512(p); }
inline void store(uint8_t *p, V v) { _mm512_storeu_si512(p, v); }
inline M above(const int8_t *bytes, V key) { return _mm512_cmpgt_epi8_mask(load(bytes), key); }
inline V choose(M m, V no, V yes) { return _mm512_mask_blend_epi8(m, no, yes); }
inline V bit_or(V v, M m, int8_t bit) { return _mm512_mask_or_epi64(v, 0xff, v, _mm512_maskz_mov_epi8(m, all(bit))); }
#else
constexpr int W = MW_WIDTH;
typedef int8_t V __attribute__((vector_size(MW_WIDTH)));
using M = V;
inline V all(int8_t x) { return V{} + x; }
inline V load(const int8_t *p) {
  V v;
  memcpy(&v, p, sizeof v);
  return v;
}
inline void store(uint8_t *p, V v) { memcpy(p, &v, sizeof v); }
inline M above(const int8_t *bytes, V key) { return load(bytes) > key; }
inline V choose(M m, V no, V yes) { return m ? yes : no; }
inline V bit_or(V v, M m, int8_t bit) { return v | (m & all(bit)); }
#endif

constexpr int kWide = 2;  // vectors that share the loads of a test, where there are so many rows

// The numbers of leaves, 2 j at j: constants that the last level of a fold starts from.
struct alignas(64) Numbers {
  uint8_t of[256][64];
  constexpr Numbers() : of() {
    for (int i = 0; i < 256; i++)
      for (int r = 0; r < 64; r++) of[i][r] = uint8_t(i);
  }
};
constexpr Numbers kNumbers;

template <int N> struct Several {
  V v[N];
};

// Level L, place J of a perfect tree of D levels: the slots of N * W rows, bottom up.
template <int N, int D, int L, int J>
inline __attribute__((always_inline)) Several<N> fold(const int8_t *const *at, const uint32_t *offset,
                                                      const int8_t *key) {
  constexpr int i = (1 << L) - 1 + J;
  if constexpr (L == D - 1) {
    const V k = all(key[i]);
    const uint32_t o = offset[i];
    const V no = load(reinterpret_cast<const int8_t *>(kNumbers.of[2 * J]));
    const V yes = load(reinterpret_cast<const int8_t *>(kNumbers.of[2 * J + 1]));
    Several<N> out;
    for (int w = 0; w < N; w++) out.v[w] = choose(above(at[w] + o, k), no, yes);
    return out;
  } else {
    const Several<N> no = fold<N, D, L + 1, 2 * J>(at, offset, key),
                     yes = fold<N, D, L + 1, 2 * J + 1>(at, offset, key);
    const V k = all(key[i]);
    const uint32_t o = offset[i];
    Several<N> out;
    for (int w = 0; w < N; w++) out.v[w] = choose(above(at[w] + o, k), no.v[w], yes.v[w]);
    return out;
  }
}

template <int N, int D>
__attribute__((noinline)) void fold_tree(const int8_t *const *at, const uint32_t *offset, const int8_t *key,
                                         uint8_t *const *slots) {
  const Several<N> out = fold<N, D, 0, 0>(at, offset, key);
  for (int w = 0; w < N; w++) store(slots[w], out.v[w]);
}

template <int N>
void fold_oblivious(int top, const int8_t *const *at, const uint32_t *offset, const int8_t *key,
                    uint8_t *const *slots) {
  V out[N] = {};
  for (int l = 0; l < top; l++) {
    const V k = all(key[l]);
    const uint32_t o = offset[l];
    for (int w = 0; w < N; w++) out[w] = bit_or(out[w], above(at[w] + o, k), int8_t(1 << (top - 1 - l)));
  }
  for (int w = 0; w < N; w++) store(slots[w], out[w]);
}

// Slots of one tree for N vectors of rows.
template <int N> void fold_any(const Model &m, const Tree &t, const int8_t *const *at, uint8_t *const *slots) {
  const uint32_t *offset = m.offset.data + t.node;
  const int8_t *key = m.key.data + t.node;
  if (t.oblivious) return fold_oblivious<N>(t.top, at, offset, key, slots);
  switch (t.top) {
    case 0:
      for (int w = 0; w < N; w++) store(slots[w], V{});
      return;
    case 1: return fold_tree<N, 1>(at, offset, key, slots);
    case 2: return fold_tree<N, 2>(at, offset, key, slots);
    case 3: return fold_tree<N, 3>(at, offset, key, slots);
    case 4: return fold_tree<N, 4>(at, offset, key, slots);
    case 5: return fold_tree<N, 5>(at, offset, key, slots);
    case 6: return fold_tree<N, 6>(at, offset, key, slots);
    case 7: return fold_tree<N, 7>(at, offset, key, slots);
    default: return fold_tree<N, 8>(at, offset, key, slots);
  }
}

// ── adding leaves ─────────────────────────────────────────────────────────────────────────────────────────────────

template <class T> inline void add_each(T *sums, const uint8_t *slots, const T *table) {
  for (int r = 0; r < kBlock; r++) sums[r] += table[slots[r]];
}

#ifdef MW_AVX512
inline __m512i widen(const uint8_t *slots) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(slots)));
}

inline void add(int top, float *sums, const uint8_t *slots, const float *table) {
  __m512 t[8];
  const int n = top <= 4 ? 1 : 1 << (top - 4);
  if (top > 7) {
    for (int g = 0; g < kBlock; g += 16)
      _mm512_storeu_ps(sums + g,
                       _mm512_add_ps(_mm512_loadu_ps(sums + g), _mm512_i32gather_ps(widen(slots + g), table, 4)));
    return;
  }
  for (int i = 0; i < n; i++) t[i] = _mm512_loadu_ps(table + 16 * i);
  for (int g = 0; g < kBlock; g += 16) {
    const __m512i i = widen(slots + g);
    __m512 v;
    if (n == 1) {
      v = _mm512_permutexvar_ps(i, t[0]);
    } else {
      v = _mm512_permutex2var_ps(t[0], i, t[1]);
      if (n > 2) {
        const __mmask16 m5 = _mm512_test_epi32_mask(i, _mm512_set1_epi32(32));
        v = _mm512_mask_blend_ps(m5, v, _mm512_permutex2var_ps(t[2], i, t[3]));
        if (n > 4) {
          const __m512 high =
              _mm512_mask_blend_ps(m5, _mm512_permutex2var_ps(t[4], i, t[5]), _mm512_permutex2var_ps(t[6], i, t[7]));
          v = _mm512_mask_blend_ps(_mm512_test_epi32_mask(i, _mm512_set1_epi32(64)), v, high);
        }
      }
    }
    _mm512_storeu_ps(sums + g, _mm512_add_ps(_mm512_loadu_ps(sums + g), v));
  }
}

// Tables of 16 values a pair of registers: each pair is looked up, and bits 4 and up of the slot choose among them.
template <int Pairs> inline void add_looked_up(double *sums, const uint8_t *slots, const double *table) {
  for (int g = 0; g < kBlock; g += 8) {
    const __m512i i = _mm512_cvtepu8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(slots + g)));
    __m512d v[Pairs];
    for (int p = 0; p < Pairs; p++)
      v[p] = _mm512_permutex2var_pd(_mm512_loadu_pd(table + 16 * p), i, _mm512_loadu_pd(table + 16 * p + 8));
    for (int half = Pairs / 2, bit = 16; half; half /= 2, bit *= 2) {
      const __mmask8 high = _mm512_test_epi64_mask(i, _mm512_set1_epi64(bit));
      for (int p = 0; p < half; p++) v[p] = _mm512_mask_blend_pd(high, v[2 * p], v[2 * p + 1]);
    }
    _mm512_storeu_pd(sums + g, _mm512_add_pd(_mm512_loadu_pd(sums + g), v[0]));
  }
}

inline void add(int top, double *sums, const uint8_t *slots, const double *table) {
  if (top <= 4) return add_looked_up<1>(sums, slots, table);
  if (top == 5) return add_looked_up<2>(sums, slots, table);
  if (top == 6) return add_looked_up<4>(sums, slots, table);
  if (top == 7) return add_looked_up<8>(sums, slots, table);
  for (int g = 0; g < kBlock; g += 8) {
    const __m256i i = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(slots + g)));
    _mm512_storeu_pd(sums + g, _mm512_add_pd(_mm512_loadu_pd(sums + g), _mm512_i32gather_pd(i, table, 8)));
  }
}
#elif defined(__AVX2__)
// Tables of up to 64 values in registers: each eighth is looked up, and bits 3 to 5 of the slot choose among them.
template <int Eighths> inline void add_looked_up(float *sums, const uint8_t *slots, const float *table) {
  __m256 t[Eighths];
  for (int i = 0; i < Eighths; i++) t[i] = _mm256_loadu_ps(table + 8 * i);
  for (int g = 0; g < kBlock; g += 8) {
    const __m256i slot = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(slots + g)));
    __m256 v[Eighths];
    for (int i = 0; i < Eighths; i++) v[i] = _mm256_permutevar8x32_ps(t[i], slot);
    for (int half = Eighths / 2, shift = 28; half; half /= 2, shift--) {
      const __m256 bit = _mm256_castsi256_ps(_mm256_slli_epi32(slot, shift));  // to the sign, which chooses
      for (int i = 0; i < half; i++) v[i] = _mm256_blendv_ps(v[2 * i], v[2 * i + 1], bit);
    }
    _mm256_storeu_ps(sums + g, _mm256_add_ps(_mm256_loadu_ps(sums + g), v[0]));
  }
}

inline void add(int top, float *sums, const uint8_t *slots, const float *table) {
  switch (top) {
    case 0:
    case 1:
    case 2:
    case 3: return add_looked_up<1>(sums, slots, table);
    case 4: return add_looked_up<2>(sums, slots, table);
    case 5: return add_looked_up<4>(sums, slots, table);
    case 6: return add_looked_up<8>(sums, slots, table);
    default: return add_each(sums, slots, table);
  }
}

inline void add(int, double *sums, const uint8_t *slots, const double *table) { add_each(sums, slots, table); }
#else
template <class T> inline void add(int, T *sums, const uint8_t *slots, const T *table) { add_each(sums, slots, table); }
#endif

// ── the walk below a fold ─────────────────────────────────────────────────────────────────────────────────────────

inline uint32_t next(WalkNode node, int8_t byte) { return uint32_t(node >> 32) + (byte > int8_t(uint8_t(node))); }
inline uint32_t column_of(WalkNode node) { return uint32_t(node) >> 8; }

// `step` gives the child that the i-th of n nodes sends its row to, a leaf itself: all of them down, a level at a time, so
// that none waits for another's loads. Who has ended may step on.
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

// A row down its trees: nodes of any of them.
inline __attribute__((always_inline)) void walk_down(const Model &m, const int8_t *bytes, uint32_t *node, uint32_t n,
                                                     uint32_t steps) {
  const WalkNode *walk = m.walk.data;
  descend(node, n, steps, [=](uint32_t i) {
    const WalkNode w = walk[node[i]];
    return next(w, bytes[column_of(w)]);
  });
}

// A block of rows down one tree: nodes from its root on.
inline void walk_block(const BlockNode *walk, const int8_t *bytes, uint32_t *node, uint32_t steps) {
  descend(node, kBlock, steps, [=](uint32_t i) {
    const BlockNode w = walk[node[i]];
    const uint32_t high = uint32_t(w >> 32);
    return (high >> 8) + (bytes[i + uint32_t(w)] > int8_t(high));
  });
}

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
      add(t.top, own, slots, m.values<T>() + t.slot * m.width + d * slot_count);
    } else if (m.width == 1) {
      const T *walked = m.walked<T>() + t.root;
      for (int r = 0; r < kBlock; r++) own[r] += walked[node[r]];
    } else {
      const T *leaves = m.leaves<T>() + d;
      for (int r = 0; r < kBlock; r++) own[r] += leaves[size_t(walk_leaf[node[r]]) * m.width];
    }
  }
}

// A large forest comes from memory: while one tree is at work, the nodes of the next are on their way. They are read in no
// order, which the processor couldn't foresee.
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
  // Trees in parts that stay in the cache while all blocks pass over them.
  for (uint32_t first = 0; first < m.trees;) {
    uint32_t last = first;
    for (size_t size = 0; last < m.trees && size < 160 * 1024; last++)
      size += (size_t(1) << m.tree[last].top) * (5 + 4 * m.width) + (m.tree[last].deep ? 4096 : 0);
    for (size_t b = 0; b < blocks;) {
      const size_t together = W == 64 ? (blocks - b >= 2 ? 2 : 1) : 1;
      const int8_t *own = bytes + b * block_bytes;
      for (uint32_t t = first; t < last; t++) {
        alignas(64) uint8_t slots[2][kBlock];
        const Tree &tree = m.tree[t];
        if (b == 0 && t + 1 < m.trees) fetch_ahead<T>(m, t + 1);
        if constexpr (W == 64) {
          const int8_t *at[kWide] = {own, own + block_bytes};
          uint8_t *to[kWide] = {slots[0], slots[1]};
          together == 2 ? fold_any<kWide>(m, tree, at, to) : fold_any<1>(m, tree, at, to);
        } else {
          for (int r = 0; r < kBlock; r += kWide * W) {
            const int8_t *at[kWide] = {own + r, own + r + W};
            uint8_t *to[kWide] = {slots[0] + r, slots[0] + r + W};
            fold_any<kWide>(m, tree, at, to);
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

// ── values to bytes ───────────────────────────────────────────────────────────────────────────────────────────────

// How many of 16 thresholds the value passes: those that are at most x, or below it where tests are `<=`.
template <bool OrEqual> inline uint32_t passed(const float *threshold, float x) {
#ifdef MW_AVX512
  return uint32_t(__builtin_popcount(
      _mm512_cmp_ps_mask(_mm512_load_ps(threshold), _mm512_set1_ps(x), OrEqual ? _CMP_LT_OQ : _CMP_LE_OQ)));
#elif defined(__AVX2__)
  const __m256 v = _mm256_set1_ps(x);
  const auto mask = [&](const float *t) {
    return uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(_mm256_load_ps(t), v, OrEqual ? _CMP_LT_OQ : _CMP_LE_OQ)));
  };
  return uint32_t(__builtin_popcount(mask(threshold) | mask(threshold + 8) << 8));
#else
  int32_t n = 0;
  for (int i = 0; i < 16; i++) n += OrEqual ? threshold[i] < x : threshold[i] <= x;
  return uint32_t(n);
#endif
}

template <bool OrEqual> inline uint32_t rank_of(const Model &m, const Ladder &s, float x) {
  uint32_t rank = 0;
  for (uint32_t l = s.levels; l-- > 0;) {
    const uint32_t most = s.size[l];
    rank = 16 * rank + passed<OrEqual>(m.ladder.data + s.at[l] + 16 * size_t(rank), x);
    rank = rank < most ? rank : most;  // infinity passes the padding
  }
  return rank;
}

inline bool member(const Model &m, uint32_t set, float x) {
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

inline int8_t byte_of(const Model &m, const Column &c, float x, uint32_t rank) {
  if (x != x) return int8_t(c.nan - 128);
  if (c.set) return int8_t((member(m, c.base, x) ? 255 : 0) - 128);
  const uint32_t above_base = rank > c.base ? rank - c.base : 0;
  return int8_t(int(above_base < 255 ? above_base : 255) - 128);
}

inline float cleaned(const Model &m, uint32_t source, float x) {
  if (source < m.columns)
    for (size_t s = 0; s < m.sentinels.size(); s++)
      if (x == m.sentinels.data()[s]) return __builtin_nanf("");
  return x;
}

#ifdef MW_AVX512
// Four vectors of values down a search tree in registers; levels below the eighth are gathered.
template <int P> inline void search_values(const Model &m, const Search &s, const __m512 *x, __m512i *i) {
  const float *t = m.search.data + s.table;
  const __m512i one = _mm512_set1_epi32(1);
  for (int g = 0; g < 4; g++) i[g] = one;
  const auto step = [&](int g, __m512 v) {
    const __mmask16 up = _mm512_cmp_ps_mask(v, x[g], P);
    i[g] = _mm512_mask_add_epi32(_mm512_add_epi32(i[g], i[g]), up, _mm512_add_epi32(i[g], i[g]), one);
  };
  const uint32_t levels = s.levels;
  const __m512 a = _mm512_load_ps(t), b = _mm512_load_ps(t + 16);
  for (uint32_t l = 0; l < levels && l < 5; l++)
    for (int g = 0; g < 4; g++) step(g, _mm512_permutex2var_ps(a, i[g], b));
  if (levels > 5) {
    const __m512 c = _mm512_load_ps(t + 32), d = _mm512_load_ps(t + 48);
    for (int g = 0; g < 4; g++) step(g, _mm512_permutex2var_ps(c, i[g], d));
  }
  const __m512i bit5 = _mm512_set1_epi32(32), bit6 = _mm512_set1_epi32(64);
  if (levels > 6) {
    const __m512 c = _mm512_load_ps(t + 64), d = _mm512_load_ps(t + 80), e = _mm512_load_ps(t + 96),
                 f = _mm512_load_ps(t + 112);
    for (int g = 0; g < 4; g++)
      step(g, _mm512_mask_blend_ps(_mm512_test_epi32_mask(i[g], bit5), _mm512_permutex2var_ps(c, i[g], d),
                                   _mm512_permutex2var_ps(e, i[g], f)));
  }
  if (levels > 7) {
    __m512 v[8];
    for (int k = 0; k < 8; k++) v[k] = _mm512_load_ps(t + 128 + 16 * k);
    for (int g = 0; g < 4; g++) {
      const __mmask16 m5 = _mm512_test_epi32_mask(i[g], bit5);
      const __m512 low =
          _mm512_mask_blend_ps(m5, _mm512_permutex2var_ps(v[0], i[g], v[1]), _mm512_permutex2var_ps(v[2], i[g], v[3]));
      const __m512 high =
          _mm512_mask_blend_ps(m5, _mm512_permutex2var_ps(v[4], i[g], v[5]), _mm512_permutex2var_ps(v[6], i[g], v[7]));
      step(g, _mm512_mask_blend_ps(_mm512_test_epi32_mask(i[g], bit6), low, high));
    }
  }
  for (uint32_t l = 8; l < levels; l++)
    for (int g = 0; g < 4; g++) step(g, _mm512_i32gather_ps(i[g], t, 4));
  const __m512i base = _mm512_set1_epi32(1 << levels), most = _mm512_set1_epi32(int(s.count));
  for (int g = 0; g < 4; g++) i[g] = _mm512_min_epi32(_mm512_sub_epi32(i[g], base), most);
}

// One feature's columns for a block of values.
void encode_feature(const Model &m, const Feature &f, const float *values, int8_t *bytes) {
  __m512 x[4];
  __m512i rank[4];
  __mmask16 nan[4];
  for (int g = 0; g < 4; g++) {
    x[g] = _mm512_load_ps(values + 16 * g);
    nan[g] = _mm512_cmp_ps_mask(x[g], x[g], _CMP_UNORD_Q);
  }
  if (m.or_equal)
    search_values<_CMP_LT_OQ>(m, f.search, x, rank);
  else
    search_values<_CMP_LE_OQ>(m, f.search, x, rank);
  for (uint32_t c = f.first; c < f.last; c++) {
    const Column &own = m.column.data()[c];
    int8_t *to = bytes + size_t(c) * kBlock;
    if (own.set) {
      for (int r = 0; r < kBlock; r++) to[r] = byte_of(m, own, values[r], 0);
      continue;
    }
    const __m512i base = _mm512_set1_epi32(int(own.base)), missing = _mm512_set1_epi32(own.nan);
    for (int g = 0; g < 4; g++) {
      __m512i v = _mm512_max_epi32(_mm512_sub_epi32(rank[g], base), _mm512_setzero_si512());
      v = _mm512_mask_mov_epi32(v, nan[g], missing);
      _mm_storeu_si128(reinterpret_cast<__m128i *>(to + 16 * g),
                       _mm_xor_si128(_mm512_cvtusepi32_epi8(v), _mm_set1_epi8(-128)));
    }
  }
}

// 16 x 16 floats, rows to columns; columns beyond `width` are zeros.
inline void transpose(const float *rows, size_t stride, size_t n, size_t width, float *tile, size_t at) {
  const __mmask16 there = width >= 16 ? 0xffff : __mmask16((1u << width) - 1);
  __m512 r[16], s[16];
  for (size_t i = 0; i < 16; i++) {
    r[i] = i < n ? _mm512_maskz_loadu_ps(there, rows + i * stride) : _mm512_setzero_ps();
    if (i < n && width > 48) _mm_prefetch(reinterpret_cast<const char *>(rows + i * stride + 32), _MM_HINT_T0);
  }
  for (int i = 0; i < 16; i += 2) {
    s[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    s[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(s[i]), _mm512_castps_pd(s[i + 2])));
    r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(s[i]), _mm512_castps_pd(s[i + 2])));
    r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(s[i + 1]), _mm512_castps_pd(s[i + 3])));
    r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(s[i + 1]), _mm512_castps_pd(s[i + 3])));
  }
  for (int i = 0; i < 4; i++) {
    s[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    s[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    s[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    s[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; i++) {
    _mm512_store_ps(tile + size_t(i) * kBlock + at, _mm512_shuffle_f32x4(s[i], s[i + 8], 0x88));
    _mm512_store_ps(tile + size_t(i + 8) * kBlock + at, _mm512_shuffle_f32x4(s[i], s[i + 8], 0xdd));
  }
}
#else
template <bool OrEqual> inline void search_values(const Model &m, const Search &s, const float *x, uint32_t *rank) {
  const float *t = m.search.data + s.table;
  for (int r = 0; r < kBlock; r++) rank[r] = 1;
  for (uint32_t l = 0; l < s.levels; l++)
    for (int r = 0; r < kBlock; r++) rank[r] = 2 * rank[r] + (OrEqual ? t[rank[r]] < x[r] : t[rank[r]] <= x[r]);
  for (int r = 0; r < kBlock; r++) {
    const uint32_t found = rank[r] - (1u << s.levels);
    rank[r] = found < s.count ? found : s.count;
  }
}

void encode_feature(const Model &m, const Feature &f, const float *values, int8_t *bytes) {
  uint32_t rank[kBlock];
  if (m.or_equal)
    search_values<true>(m, f.search, values, rank);
  else
    search_values<false>(m, f.search, values, rank);
  for (uint32_t c = f.first; c < f.last; c++) {
    const Column own = m.column.data()[c];
    int8_t *to = bytes + size_t(c) * kBlock;
    if (own.set) {
      for (int r = 0; r < kBlock; r++) to[r] = byte_of(m, own, values[r], 0);
      continue;
    }
    for (int r = 0; r < kBlock; r++) {
      const int32_t over = int32_t(rank[r]) - int32_t(own.base);
      const int32_t kept = over < 0 ? 0 : over > 255 ? 255 : over;
      to[r] = int8_t((values[r] != values[r] ? int32_t(own.nan) : kept) - 128);
    }
  }
}

inline void transpose(const float *rows, size_t stride, size_t n, size_t width, float *tile, size_t at) {
  const size_t wide = width < 16 ? width : 16;
  for (size_t i = 0; i < 16; i++)
    for (size_t c = 0; c < wide; c++) tile[c * kBlock + at + i] = i < n ? rows[i * stride + c] : 0.0f;
}
#endif

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

// ── few rows: lanes are trees ─────────────────────────────────────────────────────────────────────────────────────

constexpr uint32_t kChunk = 256;  // trees whose leaves are found before they are added, in the trees' order

// Leaves of a chunk of trees: values, where each tree has one and sums are asked for; else they are given at once.
template <class T> struct Found {
  const Model &m;
  T *sums;
  int32_t *out;
  T *kept;      // where values are to go instead of the sums
  bool values;  // whether trees have a value each, and go through `value`
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

// From nodes of the walk, one a tree of the chunk, to leaves.
template <class T>
void walk_chunk(const Model &m, uint32_t first, uint32_t last, const int8_t *bytes, uint32_t *node, uint32_t steps,
                Found<T> &found) {
  walk_down(m, bytes, node, last - first, steps);
  if (found.values)
    for (uint32_t i = 0; i < last - first; i++) found.value[i] = m.walked<T>()[node[i]];
  else
    for (uint32_t i = 0; i < last - first; i++) found.leaf(first + i, m.walk_leaf.data[node[i]]);
}

inline uint32_t more(uint32_t steps, uint32_t of_another) { return of_another > steps ? of_another : steps; }

// Whole trees, eight at a time: their upper nodes are together, and stay in registers and the nearest cache.
template <class T> void walk_run(const Model &m, uint32_t first, uint32_t last, const int8_t *bytes, Found<T> &found) {
  for (uint32_t t = first; t < last; t += 8) {
    const uint32_t n = last - t < 8 ? last - t : 8;
    const Tree *tree = m.tree.data() + t;
    uint32_t node[8], steps = 0;
    for (uint32_t i = 0; i < 8; i++) {
      const Tree &own = tree[i < n ? i : 0];
      node[i] = own.root;
      steps = more(steps, own.steps);
    }
    walk_down(m, bytes, node, 8, steps);
    for (uint32_t i = 0; i < n; i++)
      if (found.values)
        found.value[t - first + i] = m.walked<T>()[node[i]];
      else
        found.leaf(t + i, m.walk_leaf.data[node[i]]);
  }
}

// Oblivious trees: all tests of a tree at once, for none waits for another.
template <class T>
void look_up_run(const Model &m, uint32_t first, uint32_t last, const int8_t *bytes, Found<T> &found) {
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

// Calls `chunk` with trees of one kind that follow each other, kChunk at most.
template <class F> inline void each_chunk(const Model &m, uint32_t from, uint32_t to, F &&chunk) {
  for (const Run &run : m.runs) {
    const uint32_t end = run.last < to ? run.last : to;
    for (uint32_t first = run.first > from ? run.first : from; first < end; first += kChunk)
      chunk(run, first, end - first < kChunk ? end : first + kChunk);
  }
}

#ifdef __AVX2__
// The bytes of a row in registers, and numbers of trees in lanes of 64 bits.
#ifdef MW_AVX512
constexpr uint32_t kLanes = 8;
using Lanes = __m512i;
inline Lanes lanes(const void *p) { return _mm512_loadu_si512(p); }
inline Lanes add(Lanes a, Lanes b) { return _mm512_add_epi64(a, b); }
inline Lanes shifted(Lanes a, Lanes by) { return _mm512_srlv_epi64(a, by); }
// 2 place + the bit of the mask that is there
inline Lanes below(Lanes place, Lanes mask) {
  return _mm512_ternarylogic_epi64(add(place, place), shifted(mask, place), _mm512_set1_epi64(1), 0xf8);  // a | (b & c)
}
inline Lanes all_lanes(int64_t x) { return _mm512_set1_epi64(x); }
inline Lanes from_bytes(uint64_t bytes) { return _mm512_cvtepu8_epi64(_mm_cvtsi64_si128(int64_t(bytes))); }
inline void gather(float *to, Lanes at, const float *values) {
  _mm256_storeu_ps(to, _mm512_i64gather_ps(at, values, 4));
}
inline void gather(double *to, Lanes at, const double *values) {
  _mm512_storeu_pd(to, _mm512_i64gather_pd(at, values, 8));
}

template <bool Wide> struct RowBytes {
  __m512i part[4];
  explicit RowBytes(const Model &, const int8_t *bytes) {
    for (int i = 0; i < 4; i++) part[i] = _mm512_loadu_si512(bytes + 64 * i);
  }
  // The results of 64 tests, a bit each: what the row has in the columns against the keys.
  uint64_t tests(const uint8_t *columns, const int8_t *keys) const {
    const __m512i column = _mm512_loadu_si512(columns);
    __m512i own = _mm512_permutex2var_epi8(part[0], column, part[1]);
    if (Wide)
      own =
          _mm512_mask_blend_epi8(_mm512_movepi8_mask(column), own, _mm512_permutex2var_epi8(part[2], column, part[3]));
    return _mm512_cmpgt_epi8_mask(own, _mm512_loadu_si512(keys));
  }
};
#else
constexpr uint32_t kLanes = 4;
using Lanes = __m256i;
inline Lanes lanes(const void *p) { return _mm256_loadu_si256(static_cast<const __m256i *>(p)); }
inline Lanes add(Lanes a, Lanes b) { return _mm256_add_epi64(a, b); }
inline Lanes shifted(Lanes a, Lanes by) { return _mm256_srlv_epi64(a, by); }
inline Lanes all_lanes(int64_t x) { return _mm256_set1_epi64x(x); }
inline Lanes below(Lanes place, Lanes mask) {
  return _mm256_or_si256(add(place, place), _mm256_and_si256(shifted(mask, place), all_lanes(1)));
}
inline Lanes from_bytes(uint64_t bytes) { return _mm256_cvtepu8_epi64(_mm_cvtsi64_si128(int64_t(bytes))); }
inline void gather(float *to, Lanes at, const float *values) { _mm_storeu_ps(to, _mm256_i64gather_ps(values, at, 4)); }
inline void gather(double *to, Lanes at, const double *values) {
  _mm256_storeu_pd(to, _mm256_i64gather_pd(values, at, 8));
}

template <bool Wide> struct RowBytes {
  __m256i part[16];
  uint32_t parts;
  explicit RowBytes(const Model &m, const int8_t *bytes) : parts((m.n_bytes + 15) / 16) {
    for (uint32_t i = 0; i < parts; i++)
      part[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i *>(bytes + 16 * i)));
  }
  // What the row has in 32 columns: each part gives what is its own, and zeros for the rest.
  __m256i columns_of(__m256i column) const {
    __m256i own = _mm256_setzero_si256();
    for (uint32_t i = 0; i < parts; i++) {
      own = _mm256_or_si256(own, _mm256_shuffle_epi8(part[i], _mm256_adds_epu8(column, _mm256_set1_epi8(0x70))));
      column = _mm256_sub_epi8(column, _mm256_set1_epi8(16));
    }
    return own;
  }
  uint64_t tests(const uint8_t *columns, const int8_t *keys) const {
    uint64_t out = 0;
    for (int half = 0; half < 2; half++) {
      const __m256i own = columns_of(lanes(columns + 32 * half));
      out |= uint64_t(uint32_t(_mm256_movemask_epi8(_mm256_cmpgt_epi8(own, lanes(keys + 32 * half))))) << 32 * half;
    }
    return out;
  }
};
#endif

// A chunk of oblivious trees, eight in a vector of tests: each byte of the results is a slot. Fewer than eight are looked
// up one by one: a byte behind the last of them is no slot of the tree that follows, and would be read beside the values.
template <class T, bool Wide>
void oblivious_run(const Model &m, uint32_t first, uint32_t last, const RowBytes<Wide> &row, Found<T> &found) {
  const size_t at = m.tree.data()[first].row;
  const auto slots_from = [&](uint32_t t) {
    const size_t own = at + size_t(t - first) * 8;
    return row.tests(m.row_column.data + own, m.row_key.data + own);
  };
  uint32_t t = first;
  for (; found.values && last - t >= 8; t += 8) {
    const uint64_t slots = slots_from(t);
    for (uint32_t i = 0; i < 8; i += kLanes)
      gather(found.value + (t - first) + i, add(from_bytes(slots >> 8 * i), lanes(m.row_value.data + t + i)),
             m.values<T>());
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

// A chunk of other trees: first the results of all their tests, a bit a node, then several trees at a time the way that
// the bits say. Node i's children are 2 i and 2 i + 1, so that after six levels i is 64 and more.
template <class T, bool Wide>
void mask_run(const Model &m, uint32_t first, uint32_t last, const RowBytes<Wide> &row, const int8_t *bytes,
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
    steps = more(steps, m.tree.data()[t].row_steps);
  }
  const bool kept = found.values && !deep;
  const uint32_t *target = m.row_targets.data + m.tree.data()[first].row_target;
  for (uint32_t g = 0; g < n; g += kLanes) {
    const Lanes mask = lanes(masks + g);
    Lanes place = all_lanes(1);
    for (int l = 0; l < kRowTop; l++) place = below(place, mask);
    if (kept) {
      const Lanes slot = shifted(place, lanes(m.row_shift.data + first + g));
      gather(found.value + g, add(slot, lanes(m.row_value.data + first + g)), m.values<T>());
      continue;
    }
    alignas(64) uint64_t places[kLanes];
    memcpy(places, &place, sizeof places);
    for (uint32_t k = 0; k < kLanes && g + k < n; k++) node[g + k] = target[64 * (g + k) + places[k] - 64];
  }
  if (!kept) walk_chunk(m, first, last, bytes, node, steps, found);
}

template <class T, bool Wide>
void masked_row(const Model &m, const int8_t *bytes, uint32_t from, uint32_t to, Found<T> &found) {
  const RowBytes<Wide> row(m, bytes);
  each_chunk(m, from, to, [&](const Run &run, uint32_t first, uint32_t last) {
    run.oblivious ? oblivious_run<T, Wide>(m, first, last, row, found)
                  : mask_run<T, Wide>(m, first, last, row, bytes, found);
    found.add(first, last);
  });
}
#endif

template <class T>
void row_of(const Model &m, const int8_t *bytes, uint32_t from, uint32_t to, T *sums, int32_t *out, T *kept) {
  Found<T> found{m, sums, out, kept, !out && m.width == 1, {}};
#ifdef __AVX2__
  if (m.row_masks)
    return m.n_bytes > 128 ? masked_row<T, true>(m, bytes, from, to, found)
                           : masked_row<T, false>(m, bytes, from, to, found);
#endif
  each_chunk(m, from, to, [&](const Run &run, uint32_t first, uint32_t last) {
    run.oblivious ? look_up_run<T>(m, first, last, bytes, found) : walk_run<T>(m, first, last, bytes, found);
    found.add(first, last);
  });
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

void row(const Model &m, const int8_t *bytes, uint32_t first, uint32_t last, void *sums, int32_t *leaf, void *values) {
  if (m.doubles)
    row_of<double>(m, bytes, first, last, static_cast<double *>(sums), leaf, static_cast<double *>(values));
  else
    row_of<float>(m, bytes, first, last, static_cast<float *>(sums), leaf, static_cast<float *>(values));
}

}  // namespace
}  // namespace millwork
