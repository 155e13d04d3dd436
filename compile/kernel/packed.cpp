#include "packed.h"

#include <array>
#include <cmath>
#include <cstring>

#include "millwork.h"
#include "postprocess.h"

namespace millwork {
namespace {

struct Entry {
  uint32_t item = 0;
  uint64_t offset = 0, count = 0;
  bool there = false;
};

using Entries = std::array<Entry, kSections>;

template <class T> bool take(const uint8_t *bytes, const Entries &entries, Section kind, Span<T> &out) {
  const Entry &e = entries[kind];
  if (!e.there) return true;
  if (e.item != sizeof(T)) return false;
  out.data = reinterpret_cast<const T *>(bytes + e.offset);
  out.size = e.count;
  return true;
}

template <class T> bool below(const Span<T> &values, size_t limit) {
  for (size_t i = 0; i < values.size; i++)
    if (size_t(values[i]) >= limit) return false;
  return true;
}

bool sound_thresholds(const Packed &p) {
  if (!adds_up(p.threshold_start, p.threshold.size) || p.threshold_start.size != size_t(p.features) + 1) return false;
  for (uint32_t f = 0; f < p.features; f++)
    for (uint32_t i = p.threshold_start[f]; i < p.threshold_start[f + 1]; i++) {
      if (std::isnan(p.threshold[i])) return false;
      if (i > p.threshold_start[f] && !(p.threshold[i] >= p.threshold[i - 1])) return false;
    }
  return true;
}

bool sound_sets(const Packed &p) {
  if (!adds_up(p.set_start, p.set_member.size) || !below(p.set_member, 1u << 24)) return false;
  for (size_t s = 0; s + 1 < p.set_start.size; s++)
    for (uint32_t i = p.set_start[s] + 1; i < p.set_start[s + 1]; i++)
      if (p.set_member[i] <= p.set_member[i - 1]) return false;
  return true;
}

// Children lie in their tree, every node is met at most once on the way from its root, tests read what is there.
bool sound_nodes(const Packed &p) {
  if (p.tree_start.size != size_t(p.trees) + 1 || !adds_up(p.tree_start, p.nodes)) return false;
  if (p.tree_output.size != p.trees || p.feature.size != p.nodes || p.test.size != p.nodes) return false;
  if (p.flags.size != p.nodes || p.left.size != p.nodes || p.right.size != p.nodes) return false;
  size_t leaves = 0;
  std::vector<uint8_t> met(p.nodes, 0);
  for (uint32_t t = 0; t < p.trees; t++) {
    const uint32_t first = p.tree_start[t], last = p.tree_start[t + 1];
    if (first == last || p.tree_output[t] < -1 || p.tree_output[t] >= int64_t(p.outputs)) return false;
    if (p.tree_output[t] == -1 && (p.width == 1 || p.width != p.outputs)) return false;
    met[first] = 1;
    for (uint32_t i = first; i < last; i++) {
      const int32_t f = p.feature[i];
      if (f < 0) {
        if (f != -1) return false;
        leaves++;
        continue;
      }
      if (f >= int64_t(p.features)) return false;
      const size_t tests = p.flags[i] & 2 ? p.set_start.size - 1 : p.threshold_start[f + 1] - p.threshold_start[f];
      if (p.test[i] >= tests) return false;
      for (uint32_t child : {p.left[i], p.right[i]}) {
        if (child < first || child >= last || met[child]) return false;
        met[child] = 1;
      }
    }
  }
  return leaves == p.leaves && p.leaf_number.size == p.leaves;
}

bool sound_categories(const Packed &p) {
  const uint32_t c = p.n_categories();
  if (!p.vocabulary_start.size) return p.encoded == p.columns && !p.code_feature.size && !p.ctr_shape.size;
  const size_t words = p.vocabulary_start[c];
  if (!c || !adds_up(p.vocabulary_start, words)) return false;
  if (p.integers() ? p.word_integers.size != words
                   : p.word_start.size != words + 1 || !adds_up(p.word_start, p.word_bytes.size))
    return false;
  if (p.hashes.size && p.hashes.size != words + c) return false;
  if (!below(p.code_feature, c)) return false;
  uint64_t table = 0, columns = uint64_t(p.columns) + p.code_feature.size;
  for (size_t j = 0; j < p.code_feature.size; j++) {
    const uint32_t f = p.code_feature[j];
    table += uint64_t(p.vocabulary_start[f + 1]) - p.vocabulary_start[f] + 1;
  }
  if (table != p.code_table.size || p.ctr_shape.size % 5) return false;
  if (p.ctr_shape.size && !p.hashes.size) return false;
  uint64_t sums[4] = {0, 0, 0, 0}, values = 0;
  for (size_t q = 0; q < p.ctr_shape.size; q += 5) {
    const uint64_t keys = p.ctr_shape[q + 3], width = p.ctr_shape[q + 4];
    for (int i = 0; i < 4; i++) sums[i] += p.ctr_shape[q + i];
    if (!width || width > 1u << 20) return false;
    values += (keys + 1) * width;
    columns += width;
    for (uint64_t i = sums[3] - keys + 1; i < sums[3] && i < p.ctr_keys.size; i++)
      if (p.ctr_keys[i] <= p.ctr_keys[i - 1]) return false;
  }
  return columns == p.encoded && sums[0] == p.ctr_categories.size && sums[1] == p.ctr_columns.size &&
         sums[1] == p.ctr_borders.size && sums[1] == p.ctr_nan.size && sums[2] == p.ctr_features.size &&
         sums[2] == p.ctr_values.size && sums[3] == p.ctr_keys.size && values == p.ctr_table.size &&
         below(p.ctr_categories, c) && below(p.ctr_features, c) && below(p.ctr_columns, p.columns);
}

}  // namespace

uint32_t crc32(const uint8_t *bytes, size_t size) {
  static const auto table = [] {
    std::array<std::array<uint32_t, 256>, 8> t{};
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t c = i;
      for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
      t[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
      for (int k = 1; k < 8; k++) t[k][i] = t[0][t[k - 1][i] & 255] ^ (t[k - 1][i] >> 8);
    return t;
  }();
  uint32_t c = ~0u;
  for (; size >= 8; size -= 8, bytes += 8) {
    const uint32_t low = at<uint32_t>(bytes, 0) ^ c, high = at<uint32_t>(bytes, 4);
    c = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^ table[4][low >> 24] ^
        table[3][high & 255] ^ table[2][high >> 8 & 255] ^ table[1][high >> 16 & 255] ^ table[0][high >> 24];
  }
  for (; size; size--, bytes++) c = table[0][(c ^ *bytes) & 255] ^ (c >> 8);
  return ~c;
}

int parse(const uint8_t *bytes, size_t size, Packed &p) {
  if (size < kHeader || std::memcmp(bytes, "MILLWORK", 8) != 0 || at<uint32_t>(bytes, 8) != kVersion)
    return MW_NOT_PACKED;
  if (at<uint64_t>(bytes, 16) != size) return MW_TRUNCATED;
  if (at<uint32_t>(bytes, 12) != crc32(bytes + 16, size - 16)) return MW_CHECKSUM;
  const uint32_t n = at<uint32_t>(bytes, 24);
  if (n > kSections || kHeader + n * kEntry > size) return MW_CORRUPT;
  Entries entries;
  for (uint32_t i = 0; i < n; i++) {
    const size_t place = kHeader + i * kEntry;
    const uint32_t kind = at<uint32_t>(bytes, place);
    if (kind == 0 || kind >= kSections || entries[kind].there) return MW_CORRUPT;
    Entry e{at<uint32_t>(bytes, place + 4), at<uint64_t>(bytes, place + 8), at<uint64_t>(bytes, place + 16), true};
    if (e.item == 0 || e.item > 8 || e.offset % 64 || e.offset > size || e.count > (size - e.offset) / e.item)
      return MW_CORRUPT;
    entries[kind] = e;
  }
  p.columns = at<uint32_t>(bytes, 28);
  p.encoded = at<uint32_t>(bytes, 32);
  p.features = at<uint32_t>(bytes, 36);
  p.trees = at<uint32_t>(bytes, 40);
  p.outputs = at<uint32_t>(bytes, 44);
  p.width = at<uint32_t>(bytes, 48);
  p.nodes = at<uint32_t>(bytes, 52);
  p.leaves = at<uint32_t>(bytes, 56);
  for (int i = 60; i < 63; i++)
    if (bytes[i] > 1) return MW_CORRUPT;
  p.or_equal = bytes[60], p.average = bytes[61], p.doubles = bytes[62];
  p.postprocess = bytes[63];
  p.crossover = at<uint32_t>(bytes, 64);
  p.base_last = at<uint32_t>(bytes, 68) != 0;
  if (p.postprocess >= kPostprocesses) return MW_CORRUPT;
  const uint32_t limit = 1u << 28;
  if (p.columns > limit || p.encoded > limit || !p.outputs || p.outputs > 1u << 20 || p.nodes >= limit)
    return MW_CORRUPT;
  if (p.width != 1 && p.width != p.outputs) return MW_CORRUPT;
  const bool typed =
      take(bytes, entries, kColumns, p.column) && take(bytes, entries, kTreeStart, p.tree_start) &&
      take(bytes, entries, kFeature, p.feature) && take(bytes, entries, kTest, p.test) &&
      take(bytes, entries, kFlags, p.flags) && take(bytes, entries, kLeft, p.left) &&
      take(bytes, entries, kRight, p.right) && take(bytes, entries, kLeafNumber, p.leaf_number) &&
      take(bytes, entries, kTreeOutput, p.tree_output) && take(bytes, entries, kThresholdStart, p.threshold_start) &&
      take(bytes, entries, kThresholds, p.threshold) && take(bytes, entries, kSetStart, p.set_start) &&
      take(bytes, entries, kSetMember, p.set_member) && take(bytes, entries, kSentinels, p.sentinels) &&
      take(bytes, entries, kVocabularyStart, p.vocabulary_start) && take(bytes, entries, kWordStart, p.word_start) &&
      take(bytes, entries, kWordBytes, p.word_bytes) && take(bytes, entries, kWordIntegers, p.word_integers) &&
      take(bytes, entries, kHashes, p.hashes) && take(bytes, entries, kCodeFeature, p.code_feature) &&
      take(bytes, entries, kCodeTable, p.code_table) && take(bytes, entries, kCtrShape, p.ctr_shape) &&
      take(bytes, entries, kCtrCategories, p.ctr_categories) && take(bytes, entries, kCtrColumns, p.ctr_columns) &&
      take(bytes, entries, kCtrBorders, p.ctr_borders) && take(bytes, entries, kCtrNan, p.ctr_nan) &&
      take(bytes, entries, kCtrFeatures, p.ctr_features) && take(bytes, entries, kCtrValues, p.ctr_values) &&
      take(bytes, entries, kCtrKeys, p.ctr_keys) && take(bytes, entries, kCtrTable, p.ctr_table);
  if (!typed) return MW_CORRUPT;
  const uint32_t item = p.doubles ? 8 : 4;
  const Entry &values = entries[kLeafValue], &base = entries[kBaseScores];
  if (!values.there || values.item != item || values.count != uint64_t(p.leaves) * p.width) return MW_CORRUPT;
  if (!base.there || base.item != item || base.count != p.outputs) return MW_CORRUPT;
  p.leaf_value = bytes + values.offset;
  p.base_scores = bytes + base.offset;
  if (!all_finite(p.leaf_value, values.count, p.doubles) || !all_finite(p.base_scores, base.count, p.doubles))
    return MW_CORRUPT;
  if (p.column.size != p.features || !below(p.column, p.encoded)) return MW_CORRUPT;
  if (makes_pairs(p.postprocess) && p.outputs != 1) return MW_CORRUPT;
  if (p.postprocess == kMeanVariance && p.outputs != 2) return MW_CORRUPT;
  if (!sound_thresholds(p) || !sound_sets(p) || !sound_nodes(p) || !sound_categories(p)) return MW_CORRUPT;
  return MW_OK;
}

}  // namespace millwork
