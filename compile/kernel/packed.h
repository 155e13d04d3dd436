// The packed file, and the forest that is read from it. All numbers are little-endian.
//
//   0   "MILLWORK"   8 u32 version   12 u32 CRC-32 of the bytes from 16 on   16 u64 size of the file
//   24  u32: sections, columns, encoded columns, features F, trees T, outputs K, values a leaf D, nodes M, leaves L
//   60  u8: comparison (1: <=), reduction (1: average), leaf type (1: double), number of the postprocess
//   64  u32 crossover: 0, but in older files   68 u32 1: base scores are added last   72 zeros
//   128 the sections: u32 kind, u32 bytes an item, u64 offset, u64 items, u64 0
//
// Each section starts at a multiple of 64 bytes. compile/backends/native/cpu_file.py writes it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "sections.h"

namespace millwork {

constexpr uint32_t kVersion = 1;
constexpr size_t kHeader = 128, kEntry = 32;

enum Section : uint32_t {
  kColumns = 1,      // u32 [F]       the encoded column that a feature reads
  kTreeStart,        // u32 [T + 1]
  kFeature,          // i32 [M]       -1: a leaf
  kTest,             // u32 [M]       which of the feature's thresholds, or which set
  kFlags,            // u8 [M]        1: NaN goes left, 2: a test of a category
  kLeft,             // u32 [M]
  kRight,            // u32 [M]
  kLeafValue,        // f32 or f64 [L, D], in the order of the nodes
  kLeafNumber,       // i32 [L]       the framework's own
  kTreeOutput,       // i32 [T]       -1: a value an output, where there are several
  kBaseScores,       // f32 or f64 [K]
  kThresholdStart,   // u32 [F + 1]
  kThresholds,       // f32           of each feature, ascending
  kSetStart,         // u32 [S + 1]
  kSetMember,        // u32           ascending within a set
  kSentinels,        // f32           read as missing in the numeric columns
  kVocabularyStart,  // u32 [C + 1]   of each category feature, its first word
  kWordStart,        // u32 [W + 1]   of each word, its first byte; none where categories are integers
  kWordBytes,        // u8
  kWordIntegers,     // i64 [W]       the words, where they are integers
  kHashes,           // i64 [W + C]   of each feature its words' hashes, then that of all others; may be missing
  kCodeFeature,      // u32 [J]
  kCodeTable,        // f32           for each code, a value a word of its feature, then one for all others
  kCtrShape,         // u32 [Q, 5]    categories, columns, features, keys and width of each combination
  kCtrCategories,    // u32           … one after the other, as passes/encoding.py has them
  kCtrColumns,       // u32
  kCtrBorders,       // f32
  kCtrNan,           // u8
  kCtrFeatures,      // u32
  kCtrValues,        // i64
  kCtrKeys,          // u64
  kCtrTable,         // f32 [keys + 1, width]
  kSections
};

// A view of the file's bytes, checked: every index that is in it is in range and every tree is a tree.
struct Packed {
  uint32_t columns, encoded, features, trees, outputs, width, nodes, leaves, crossover;
  bool or_equal, average, doubles, base_last;
  uint8_t postprocess;  // of postprocess.h
  Span<uint32_t> column, tree_start, test, left, right, threshold_start, set_start, set_member;
  Span<int32_t> feature, leaf_number, tree_output;
  Span<uint8_t> flags;
  const void *leaf_value, *base_scores;
  Span<float> threshold, sentinels;
  Span<uint32_t> vocabulary_start, word_start, code_feature, ctr_shape, ctr_categories, ctr_columns, ctr_features;
  Span<uint8_t> word_bytes, ctr_nan;
  Span<int64_t> word_integers, hashes, ctr_values;
  Span<float> code_table, ctr_borders, ctr_table;
  Span<uint64_t> ctr_keys;
  uint32_t n_categories() const { return vocabulary_start.size ? uint32_t(vocabulary_start.size - 1) : 0; }
  bool integers() const { return word_integers.data != nullptr; }
};

// An error code of millwork.h.
int parse(const uint8_t *bytes, size_t size, Packed &out);

}  // namespace millwork
