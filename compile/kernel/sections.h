// What the readers of both files of forests share: packed.cpp's, and cuda/cuda_forest.cpp's.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace millwork {

template <class T> struct Span {
  const T *data = nullptr;
  size_t size = 0;
  const T &operator[](size_t i) const { return data[i]; }
};

template <class T> T at(const uint8_t *bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes + offset, sizeof value);
  return value;
}

// starts[0] == 0, ascending, the last one is `total`.
inline bool adds_up(const Span<uint32_t> &starts, size_t total) {
  if (!starts.size || starts[0] != 0 || starts[starts.size - 1] != total) return false;
  for (size_t i = 1; i < starts.size; i++)
    if (starts[i] < starts[i - 1]) return false;
  return true;
}

template <class T> bool finite(const T *values, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!std::isfinite(values[i])) return false;
  return true;
}

// `n` leaf values or base scores: doubles, or floats.
inline bool all_finite(const void *values, size_t n, bool doubles) {
  return doubles ? finite(static_cast<const double *>(values), n) : finite(static_cast<const float *>(values), n);
}

// Of the bytes behind a file's own checksum.
uint32_t crc32(const uint8_t *bytes, size_t size);

}  // namespace millwork
