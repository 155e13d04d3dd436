#include "encoders.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace millwork {
namespace {

constexpr uint64_t kMultiplier = 0x4906BA494954CB65;

uint64_t mix(uint64_t h, int64_t value) { return kMultiplier * (h + kMultiplier * uint64_t(value)); }

uint32_t length_at(const uint8_t *bytes) {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

template <class T> std::vector<T> cut(const Span<T> &from, size_t &at, size_t n) {
  std::vector<T> out(from.data + at, from.data + at + n);
  at += n;
  return out;
}

}  // namespace

Encoders::Encoders(const Packed &p)
    : vocabularies_(p.n_categories()), columns_(p.encoded - p.columns), numbers_(p.columns), integers_(p.integers()),
      text_(reinterpret_cast<const char *>(p.word_bytes.data), p.word_bytes.size),
      sentinels_(p.sentinels.data, p.sentinels.data + p.sentinels.size) {
  size_t hash = 0;
  words_.resize(integers_ ? 0 : vocabularies_);
  whole_.resize(integers_ ? vocabularies_ : 0);
  for (size_t c = 0; c < vocabularies_; c++) {
    const uint32_t first = p.vocabulary_start[c], n = p.vocabulary_start[c + 1] - first;
    words_of_.push_back(n);
    for (uint32_t i = 0; i < n; i++)  // the last of two equal ones counts, as in a Python dict
      if (integers_)
        whole_[c][p.word_integers[first + i]] = i;
      else
        words_[c][std::string_view(text_).substr(p.word_start[first + i],
                                                 p.word_start[first + i + 1] - p.word_start[first + i])] = i;
    if (p.hashes.size) hashes_.push_back(cut(p.hashes, hash, n + 1));
  }
  size_t table = 0;
  for (size_t j = 0; j < p.code_feature.size; j++) {
    code_feature_.push_back(p.code_feature[j]);
    codes_.push_back(cut(p.code_table, table, words_of_[p.code_feature[j]] + 1));
  }
  size_t a = 0, b = 0, borders = 0, nan = 0, c = 0, values = 0, keys = 0, floats = 0;
  for (size_t q = 0; q < p.ctr_shape.size; q += 5) {
    const uint32_t *shape = p.ctr_shape.data + q;
    Ctr ctr;
    ctr.categories = cut(p.ctr_categories, a, shape[0]);
    ctr.columns = cut(p.ctr_columns, b, shape[1]);
    ctr.borders = cut(p.ctr_borders, borders, shape[1]);
    ctr.nan = cut(p.ctr_nan, nan, shape[1]);
    ctr.features = cut(p.ctr_features, c, shape[2]);
    ctr.values = cut(p.ctr_values, values, shape[2]);
    ctr.keys = cut(p.ctr_keys, keys, shape[3]);
    ctr.width = shape[4];
    ctr.table = cut(p.ctr_table, floats, (size_t(shape[3]) + 1) * shape[4]);
    ctrs_.push_back(std::move(ctr));
  }
}

bool Encoders::split(const void *given, size_t size, size_t n, std::vector<size_t> &offsets) const {
  const auto *bytes = static_cast<const uint8_t *>(given);
  if (integers_) {
    if (size / 8 != n * vocabularies_ || size % 8) return false;
    offsets.clear();
    for (size_t i = 0; i <= n; i++) offsets.push_back(i * vocabularies_ * 8);
    return true;
  }
  offsets.assign(1, 0);
  size_t at = 0;
  for (size_t i = 0; i < n; i++) {
    for (size_t c = 0; c < vocabularies_; c++) {
      if (size - at < 4 || length_at(bytes + at) > size - at - 4) return false;
      at += 4 + size_t(length_at(bytes + at));
    }
    offsets.push_back(at);
  }
  return at == size;
}

bool Encoders::run(const float *numbers, size_t stride, const uint8_t *bytes, size_t size, size_t n, float *out) const {
  std::vector<uint32_t> known(vocabularies_);
  size_t at = 0;
  for (size_t i = 0; i < n; i++, numbers += stride) {
    for (size_t c = 0; c < vocabularies_; c++) {
      known[c] = words_of_[c];
      if (integers_) {
        int64_t value;
        std::memcpy(&value, bytes + at, sizeof value);
        at += 8;
        if (const auto found = whole_[c].find(value); found != whole_[c].end()) known[c] = found->second;
      } else {
        if (size - at < 4 || length_at(bytes + at) > size - at - 4) return false;
        const std::string_view word(reinterpret_cast<const char *>(bytes) + at + 4, length_at(bytes + at));
        at += 4 + word.size();
        if (const auto found = words_[c].find(word); found != words_[c].end()) known[c] = found->second;
      }
    }
    for (size_t j = 0; j < codes_.size(); j++) *out++ = codes_[j][known[code_feature_[j]]];
    for (const Ctr &each : ctrs_) {
      ctr(each, numbers, known.data(), out);
      out += each.width;
    }
  }
  return true;
}

size_t Encoders::Ctr::find(uint64_t key) const {
  const auto found = std::lower_bound(keys.begin(), keys.end(), key);
  return found != keys.end() && *found == key ? size_t(found - keys.begin()) : keys.size();
}

void Encoders::ctr(const Ctr &c, const float *numbers, const uint32_t *known, float *out) const {
  uint64_t h = 0;
  for (const uint32_t f : c.categories) h = mix(h, hashes_[f][known[f]]);
  for (size_t i = 0; i < c.columns.size(); i++) {
    const float x = numbers[c.columns[i]];
    const bool missing = std::isnan(x) || std::find(sentinels_.begin(), sentinels_.end(), x) != sentinels_.end();
    h = mix(h, missing ? c.nan[i] != 0 : x > c.borders[i]);
  }
  for (size_t i = 0; i < c.features.size(); i++)
    h = mix(h, hashes_[c.features[i]][known[c.features[i]]] == c.values[i]);
  std::copy_n(c.table.begin() + std::ptrdiff_t(c.find(h) * c.width), c.width, out);
}

}  // namespace millwork
