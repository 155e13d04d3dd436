// The primitives of AVX2; simd_portable.h says what they are.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "simd_loops.h"

namespace millwork {
namespace {

// ── fold: vectors of bytes, one for each row ──────────────────────────────────────────────────────────────────────

constexpr int kVectorBytes = 32;
using Bytes = __m256i;
using Mask = __m256i;

inline __m256i load(const void *p) { return _mm256_loadu_si256(static_cast<const __m256i *>(p)); }
inline Bytes broadcast(int8_t x) { return _mm256_set1_epi8(x); }
inline void store(uint8_t *p, Bytes v) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), v); }
inline Mask above(const int8_t *bytes, Bytes key) { return _mm256_cmpgt_epi8(load(bytes), key); }
inline Bytes select(Mask m, Bytes no, Bytes yes) { return _mm256_blendv_epi8(no, yes, m); }
inline Bytes set_bit(Bytes v, Mask m, int8_t bit) { return v | (m & broadcast(bit)); }

// ── leaves: sums of a block's rows ────────────────────────────────────────────────────────────────────────────────

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

inline void add_leaves(int top, float *sums, const uint8_t *slots, const float *table) {
  switch (top) {
    case 0:
    case 1:
    case 2:
    case 3: return add_looked_up<1>(sums, slots, table);
    case 4: return add_looked_up<2>(sums, slots, table);
    case 5: return add_looked_up<4>(sums, slots, table);
    case 6: return add_looked_up<8>(sums, slots, table);
    default: return add_leaves_by_loop(sums, slots, table);
  }
}

inline void add_leaves(int, double *sums, const uint8_t *slots, const double *table) {
  add_leaves_by_loop(sums, slots, table);
}

// ── encode: thresholds ────────────────────────────────────────────────────────────────────────────────────────────

template <bool OrEqual> inline uint32_t count_passed(const float *threshold, float x) {
  const __m256 v = _mm256_set1_ps(x);
  const auto mask = [&](const float *t) {
    return uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(_mm256_load_ps(t), v, OrEqual ? _CMP_LT_OQ : _CMP_LE_OQ)));
  };
  return uint32_t(__builtin_popcount(mask(threshold) | mask(threshold + 8) << 8));
}

// ── one row: all of its tests at once ─────────────────────────────────────────────────────────────────────────────

// Lanes of 64 bits, one for each tree.
constexpr uint32_t kLanes = 4;
using Lanes = __m256i;

inline Lanes load_lanes(const void *p) { return load(p); }
inline Lanes broadcast_lanes(int64_t x) { return _mm256_set1_epi64x(x); }
inline Lanes add_lanes(Lanes a, Lanes b) { return _mm256_add_epi64(a, b); }
inline Lanes shift_right(Lanes a, Lanes by) { return _mm256_srlv_epi64(a, by); }
// 2 place + the bit of the mask at that place.
inline Lanes child(Lanes place, Lanes mask) {
  return _mm256_or_si256(add_lanes(place, place), _mm256_and_si256(shift_right(mask, place), broadcast_lanes(1)));
}
// The lowest kLanes bytes, a lane each.
inline Lanes widen(uint64_t bytes) { return _mm256_cvtepu8_epi64(_mm_cvtsi64_si128(int64_t(bytes))); }
inline void gather(float *to, Lanes at, const float *values) { _mm_storeu_ps(to, _mm256_i64gather_ps(values, at, 4)); }
inline void gather(double *to, Lanes at, const double *values) {
  _mm256_storeu_pd(to, _mm256_i64gather_pd(values, at, 8));
}

// The bytes of one row in registers. Wide: more than 128 of them, up to kRowColumns.
template <bool Wide> struct RowBytes {
  __m256i part[16];
  uint32_t parts;

  RowBytes(const int8_t *bytes, uint32_t n_bytes) : parts((n_bytes + 15) / 16) {
    for (uint32_t i = 0; i < parts; i++)
      part[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i *>(bytes + 16 * i)));
  }

  // The results of 64 tests, a bit each: what the row has in the columns against the keys.
  uint64_t tests(const uint8_t *columns, const int8_t *keys) const {
    uint64_t out = 0;
    for (int half = 0; half < 2; half++) {
      const __m256i own = in_columns(load(columns + 32 * half));
      out |= uint64_t(uint32_t(_mm256_movemask_epi8(_mm256_cmpgt_epi8(own, load(keys + 32 * half))))) << 32 * half;
    }
    return out;
  }

 private:
  // What the row has in 32 columns: each part gives what is its own, and zeros for the rest.
  __m256i in_columns(__m256i column) const {
    __m256i own = _mm256_setzero_si256();
    for (uint32_t i = 0; i < parts; i++) {
      own = _mm256_or_si256(own, _mm256_shuffle_epi8(part[i], _mm256_adds_epu8(column, _mm256_set1_epi8(0x70))));
      column = _mm256_sub_epi8(column, _mm256_set1_epi8(16));
    }
    return own;
  }
};

}  // namespace
}  // namespace millwork
