// The primitives of AVX-512; simd_portable.h and, of those for one row, simd_avx2.h say what they are.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "../model.h"

namespace millwork {
namespace {

// ── fold: vectors of bytes, one for each row ──────────────────────────────────────────────────────────────────────

constexpr int kVectorBytes = 64;
using Bytes = __m512i;
using Mask = __mmask64;

inline __m512i load(const void *p) { return _mm512_loadu_si512(p); }
inline Bytes broadcast(int8_t x) { return _mm512_set1_epi8(x); }
inline void store(uint8_t *p, Bytes v) { _mm512_storeu_si512(p, v); }
inline Mask above(const int8_t *bytes, Bytes key) { return _mm512_cmpgt_epi8_mask(load(bytes), key); }
inline Bytes select(Mask m, Bytes no, Bytes yes) { return _mm512_mask_blend_epi8(m, no, yes); }
inline Bytes set_bit(Bytes v, Mask m, int8_t bit) {
  return _mm512_mask_or_epi64(v, 0xff, v, _mm512_maskz_mov_epi8(m, broadcast(bit)));
}

// ── leaves: sums of a block's rows ────────────────────────────────────────────────────────────────────────────────

inline __m512i widen_slots(const uint8_t *slots) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(slots)));
}

// Tables of up to 128 values in registers of 16: each pair is looked up; bits 5 and 6 of the slot choose a pair.
inline void add_leaves(int top, float *sums, const uint8_t *slots, const float *table) {
  __m512 t[8];
  const int n = top <= 4 ? 1 : 1 << (top - 4);
  if (top > 7) {
    for (int g = 0; g < kBlock; g += 16) {
      const __m512 v = _mm512_i32gather_ps(widen_slots(slots + g), table, 4);
      _mm512_storeu_ps(sums + g, _mm512_add_ps(_mm512_loadu_ps(sums + g), v));
    }
    return;
  }
  for (int i = 0; i < n; i++) t[i] = _mm512_loadu_ps(table + 16 * i);
  for (int g = 0; g < kBlock; g += 16) {
    const __m512i i = widen_slots(slots + g);
    __m512 v;
    if (n == 1) {
      v = _mm512_permutexvar_ps(i, t[0]);
    } else {
      v = _mm512_permutex2var_ps(t[0], i, t[1]);
      if (n > 2) {
        const __mmask16 bit5 = _mm512_test_epi32_mask(i, _mm512_set1_epi32(32));
        v = _mm512_mask_blend_ps(bit5, v, _mm512_permutex2var_ps(t[2], i, t[3]));
        if (n > 4) {
          const auto pair = [&](int p) { return _mm512_permutex2var_ps(t[2 * p], i, t[2 * p + 1]); };
          const __m512 high = _mm512_mask_blend_ps(bit5, pair(2), pair(3));
          v = _mm512_mask_blend_ps(_mm512_test_epi32_mask(i, _mm512_set1_epi32(64)), v, high);
        }
      }
    }
    _mm512_storeu_ps(sums + g, _mm512_add_ps(_mm512_loadu_ps(sums + g), v));
  }
}

// The same for doubles, of which a pair of registers has 16: bits 4 and up of the slot choose among the pairs.
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

inline void add_leaves(int top, double *sums, const uint8_t *slots, const double *table) {
  if (top <= 4) return add_looked_up<1>(sums, slots, table);
  if (top == 5) return add_looked_up<2>(sums, slots, table);
  if (top == 6) return add_looked_up<4>(sums, slots, table);
  if (top == 7) return add_looked_up<8>(sums, slots, table);
  for (int g = 0; g < kBlock; g += 8) {
    const __m256i i = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(slots + g)));
    _mm512_storeu_pd(sums + g, _mm512_add_pd(_mm512_loadu_pd(sums + g), _mm512_i32gather_pd(i, table, 8)));
  }
}

// ── encode: thresholds ────────────────────────────────────────────────────────────────────────────────────────────

template <bool OrEqual> constexpr int kPasses = OrEqual ? _CMP_LT_OQ : _CMP_LE_OQ;

template <bool OrEqual> inline uint32_t count_passed(const float *threshold, float x) {
  const __mmask16 passed = _mm512_cmp_ps_mask(_mm512_load_ps(threshold), _mm512_set1_ps(x), kPasses<OrEqual>);
  return uint32_t(__builtin_popcount(passed));
}

struct BlockRanks {
  __m512i rank[4];
  __mmask16 nan[4];
};

// Down a search tree in registers; levels below the eighth are gathered.
template <bool OrEqual>
inline void find_ranks(const float *table, const Search &search, const float *values, BlockRanks &out) {
  __m512i *rank = out.rank;
  __m512 x[4];
  for (int g = 0; g < 4; g++) {
    x[g] = _mm512_load_ps(values + 16 * g);
    out.nan[g] = _mm512_cmp_ps_mask(x[g], x[g], _CMP_UNORD_Q);
  }
  const __m512i one = _mm512_set1_epi32(1);
  for (int g = 0; g < 4; g++) rank[g] = one;
  const auto step = [&](int g, __m512 threshold) {
    const __mmask16 up = _mm512_cmp_ps_mask(threshold, x[g], kPasses<OrEqual>);
    const __m512i twice = _mm512_add_epi32(rank[g], rank[g]);
    rank[g] = _mm512_mask_add_epi32(twice, up, twice, one);
  };
  const auto at = [&](int i) { return _mm512_load_ps(table + 16 * i); };
  const uint32_t levels = search.levels;
  const __m512 a = at(0), b = at(1);
  for (uint32_t l = 0; l < levels && l < 5; l++)
    for (int g = 0; g < 4; g++) step(g, _mm512_permutex2var_ps(a, rank[g], b));
  if (levels > 5) {
    const __m512 c = at(2), d = at(3);
    for (int g = 0; g < 4; g++) step(g, _mm512_permutex2var_ps(c, rank[g], d));
  }
  const __m512i bit5 = _mm512_set1_epi32(32), bit6 = _mm512_set1_epi32(64);
  if (levels > 6) {
    const __m512 c = at(4), d = at(5), e = at(6), f = at(7);
    for (int g = 0; g < 4; g++) {
      const __m512 low = _mm512_permutex2var_ps(c, rank[g], d), high = _mm512_permutex2var_ps(e, rank[g], f);
      step(g, _mm512_mask_blend_ps(_mm512_test_epi32_mask(rank[g], bit5), low, high));
    }
  }
  if (levels > 7) {
    __m512 v[8];
    for (int k = 0; k < 8; k++) v[k] = at(8 + k);
    for (int g = 0; g < 4; g++) {
      const auto pair = [&](int k) { return _mm512_permutex2var_ps(v[k], rank[g], v[k + 1]); };
      const __mmask16 has5 = _mm512_test_epi32_mask(rank[g], bit5);
      const __m512 low = _mm512_mask_blend_ps(has5, pair(0), pair(2));
      const __m512 high = _mm512_mask_blend_ps(has5, pair(4), pair(6));
      step(g, _mm512_mask_blend_ps(_mm512_test_epi32_mask(rank[g], bit6), low, high));
    }
  }
  for (uint32_t l = 8; l < levels; l++)
    for (int g = 0; g < 4; g++) step(g, _mm512_i32gather_ps(rank[g], table, 4));
  const __m512i first = _mm512_set1_epi32(1 << levels), most = _mm512_set1_epi32(int(search.count));
  for (int g = 0; g < 4; g++) rank[g] = _mm512_min_epi32(_mm512_sub_epi32(rank[g], first), most);
}

inline void store_ranks(const BlockRanks &ranks, const Column &column, const float *, int8_t *to) {
  const __m512i base = _mm512_set1_epi32(int(column.base)), missing = _mm512_set1_epi32(column.nan);
  for (int g = 0; g < 4; g++) {
    __m512i v = _mm512_max_epi32(_mm512_sub_epi32(ranks.rank[g], base), _mm512_setzero_si512());
    v = _mm512_mask_mov_epi32(v, ranks.nan[g], missing);
    const __m128i bytes = _mm_xor_si128(_mm512_cvtusepi32_epi8(v), _mm_set1_epi8(-128));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to + 16 * g), bytes);
  }
}

// All 16 columns of the tile are written: those beyond `width` are zeros.
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

// ── one row: all of its tests at once ─────────────────────────────────────────────────────────────────────────────

constexpr uint32_t kLanes = 8;
using Lanes = __m512i;

inline Lanes load_lanes(const void *p) { return load(p); }
inline Lanes broadcast_lanes(int64_t x) { return _mm512_set1_epi64(x); }
inline Lanes add_lanes(Lanes a, Lanes b) { return _mm512_add_epi64(a, b); }
inline Lanes shift_right(Lanes a, Lanes by) { return _mm512_srlv_epi64(a, by); }
inline Lanes child(Lanes place, Lanes mask) {
  constexpr int kAOrBAndC = 0xf8;
  return _mm512_ternarylogic_epi64(add_lanes(place, place), shift_right(mask, place), broadcast_lanes(1), kAOrBAndC);
}
inline Lanes widen(uint64_t bytes) { return _mm512_cvtepu8_epi64(_mm_cvtsi64_si128(int64_t(bytes))); }
inline void gather(float *to, Lanes at, const float *values) {
  _mm256_storeu_ps(to, _mm512_i64gather_ps(at, values, 4));
}
inline void gather(double *to, Lanes at, const double *values) {
  _mm512_storeu_pd(to, _mm512_i64gather_pd(at, values, 8));
}

template <bool Wide> struct RowBytes {
  __m512i part[4];

  RowBytes(const int8_t *bytes, uint32_t) {
    for (int i = 0; i < 4; i++) part[i] = load(bytes + 64 * i);
  }

  uint64_t tests(const uint8_t *columns, const int8_t *keys) const {
    const __m512i column = load(columns);
    __m512i own = _mm512_permutex2var_epi8(part[0], column, part[1]);
    if (Wide) {
      const __m512i upper = _mm512_permutex2var_epi8(part[2], column, part[3]);
      own = _mm512_mask_blend_epi8(_mm512_movepi8_mask(column), own, upper);
    }
    return _mm512_cmpgt_epi8_mask(own, load(keys));
  }
};

}  // namespace
}  // namespace millwork
