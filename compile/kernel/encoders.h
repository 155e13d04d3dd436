// Categories to columns of floats, as passes/encoding.py says: vocabularies, codes and CatBoost's CTRs.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "packed.h"

namespace millwork {

class Encoders {
 public:
  explicit Encoders(const Packed &packed);
  uint32_t features() const { return uint32_t(vocabularies_); }
  bool integers() const { return integers_; }
  size_t columns() const { return columns_; }

  // Where each row's values begin in `bytes`: offsets[n + 1]. False where they aren't n rows of C values exactly.
  bool split(const void *bytes, size_t size, size_t n, std::vector<size_t> &offsets) const;

  // The columns [n, columns()] of n rows, given their numbers and categories. False where a value is malformed.
  bool run(const float *numbers, size_t stride, const uint8_t *categories, size_t size, size_t n, float *out) const;

 private:
  struct Ctr {
    std::vector<uint32_t> categories, columns, features;
    std::vector<float> borders, table;
    std::vector<uint8_t> nan;
    std::vector<int64_t> values;
    std::vector<uint64_t> keys;
    uint32_t width;
    size_t find(uint64_t key) const;
  };
  void ctr(const Ctr &ctr, const float *numbers, const uint32_t *known, float *out) const;

  size_t vocabularies_ = 0, columns_ = 0, numbers_ = 0;
  bool integers_ = false;
  std::string text_;
  std::vector<std::unordered_map<std::string_view, uint32_t>> words_;
  std::vector<std::unordered_map<int64_t, uint32_t>> whole_;
  std::vector<uint32_t> words_of_;  // how many words a feature has
  std::vector<std::vector<int64_t>> hashes_;
  std::vector<uint32_t> code_feature_;
  std::vector<std::vector<float>> codes_;
  std::vector<float> sentinels_;
  std::vector<Ctr> ctrs_;
};

}  // namespace millwork
