// A packed forest as the kernels read it: built once when a model is opened, in memory of its own.
//
// A *column* is a byte for each row that a test compares with its key: the test sends the row right where
// byte > key. A feature has a column for each 255 of its thresholds that trees test (the byte: how many of them the
// value passes) and for each way that its NaN goes; a set of categories has one of its own (255: a member). So every
// test of every forest is one comparison of bytes. Bytes and keys are stored minus 128: vectors compare signed ones.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "packed.h"

namespace millwork {

constexpr int kBlock = 64;      // rows of a block
constexpr int8_t kNever = 127;  // the key of a test that no byte passes
constexpr uint8_t kAsk = 255;   // steps of a walk: until every row has ended, most of them well before the deepest
constexpr int kRowTop = 6;      // levels that the small-batch plan tests at once
constexpr uint32_t kRowColumns = 256;  // … where a row has at most this many columns

// A feature's thresholds as a perfect search tree in an array from 1 on, `levels` deep, padded with infinities.
struct Search {
  uint32_t levels, count;
  size_t table;
};

// The same for one value: sorted in blocks of 16, each compared at once. A level's numbers are the first ones of the
// blocks of the level below but for its first block, padded with infinities; level 0 are the thresholds.
struct Ladder {
  uint32_t levels;
  uint32_t size[8];
  size_t at[8];
};

// One column of bytes made of a feature's values.
struct Column {
  uint32_t base;  // the threshold that its byte 0 stands for; or the set
  uint8_t nan;    // the byte of NaN
  bool set;
};

// What one encoded column of floats is turned into: columns [first, last) by `search`.
struct Feature {
  uint32_t source;
  uint32_t first, last;
  Search search;
};

// Tests of a tree's top as a perfect tree: `top` levels, then leaves (or nodes of the walk) in 2^top slots.
struct Tree {
  uint8_t top, row_top;
  uint8_t steps, row_steps, block_steps;  // of the walk: from the root, from below row_top, from below top
  bool oblivious, deep, row_deep;         // deep: its target is always a node of the walk, from its root on
  int32_t output;
  uint32_t root;      // in walk
  size_t node;        // in offset, key
  size_t slot;        // in target; in values: slot * width
  size_t row;         // which of the bytes of row_column, row_key: 64 a tree, or 8 of an oblivious one
  size_t row_target;  // in row_targets
};

// A node of the walk: key in bits 0-7, column in 8-31, the left child in 32-63 (the right one follows it). A leaf is
// its own child, and its key lets nothing pass.
using WalkNode = uint64_t;

// The same for blocks of rows, with fewer steps to take it apart: kBlock * column in bits 0-31, the key in 32-39, the
// left child, from the tree's root on, in 40-63.
using BlockNode = uint64_t;
constexpr size_t kMostNodes = size_t(1) << 24;  // of a tree

// Aligned memory without constructors.
template <class T> struct Buffer {
  T *data = nullptr;
  size_t size = 0;
  Buffer() = default;
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  ~Buffer();
  void assign(const std::vector<T> &values, size_t extra);
};

// Trees of one kind that follow each other, for the small-batch plan: eight oblivious ones share one vector of tests.
struct Run {
  uint32_t first, last;
  bool oblivious;
};

class Encoders;
struct Isa;

struct Model {
  uint32_t columns = 0, encoded = 0, trees = 0, outputs = 0, width = 0, nodes = 0, crossover = 0, n_bytes = 0;
  bool doubles = false, average = false, base_last = false, or_equal = false, row_masks = false, row_deep = false;
  uint8_t postprocess = 0;
  std::vector<float> sentinels;
  std::vector<Feature> features;  // ascending by source
  std::vector<Ladder> ladders;    // … of each
  std::vector<Column> column;
  Buffer<float> search, ladder;
  std::vector<std::vector<uint64_t>> bits;  // of small sets
  std::vector<std::vector<uint32_t>> members;
  std::vector<Tree> tree;
  std::vector<Run> runs;
  Buffer<uint32_t> offset;  // kBlock * column
  Buffer<int8_t> key;
  Buffer<int32_t> target;  // a leaf, or a node of the walk
  Buffer<uint8_t> row_column;
  Buffer<int8_t> row_key;
  Buffer<uint32_t> row_targets;          // nodes of the walk
  Buffer<int64_t> row_shift, row_value;  // of each tree: where a row's result lies in its values (test_chunk)
  Buffer<WalkNode> walk;
  Buffer<BlockNode> block_walk;              // the same nodes
  Buffer<int32_t> walk_leaf;                 // the leaf of a node of the walk, -1 of a test
  Buffer<int32_t> leaf_row;                  // the row of the node table of a leaf
  Buffer<float> value32, leaf32, walked32;   // a tree's slots by output; leaves [L, width]; where width is 1, of nodes
  Buffer<double> value64, leaf64, walked64;  // of the walk
  std::vector<double> base;
  std::unique_ptr<Encoders> encoders;  // where the model takes categories
  const Isa *isa = nullptr;
  template <class T> const T *values() const;
  template <class T> const T *leaves() const;
  template <class T> const T *walked() const;
};

template <> inline const float *Model::values<float>() const { return value32.data; }
template <> inline const double *Model::values<double>() const { return value64.data; }
template <> inline const float *Model::leaves<float>() const { return leaf32.data; }
template <> inline const double *Model::leaves<double>() const { return leaf64.data; }
template <> inline const float *Model::walked<float>() const { return walked32.data; }
template <> inline const double *Model::walked<double>() const { return walked64.data; }

// Rows of floats: the client's, and the columns that encoders made of the categories.
struct Rows {
  const float *numbers;
  size_t stride;
  const float *extra;  // [n, encoded - columns]
  size_t n;
};

// One instruction set's kernels, of cpu/. `sums` are float or double, as the model's leaves are. Where `leaf` is given
// it takes the leaves instead: their rows of the node table, `trees` for each row.
struct Isa {
  const char *name;
  bool (*supported)();  // by this CPU
  // Blocks of rows to bytes [n_bytes][kBlock] each.
  void (*encode)(const Model &, const Rows &, int8_t *bytes);
  // All trees for `blocks` blocks: sums [blocks][outputs][kBlock].
  void (*blocks)(const Model &, const int8_t *bytes, size_t blocks, void *sums, int32_t *leaf, size_t n);
  // One row to its bytes, of which there is room for n_bytes + 256.
  void (*encode_row)(const Model &, const float *numbers, const float *extra, int8_t *bytes);
  // Trees first to last for one row: added to sums [outputs]; or kept in `values` [trees] where that is given, of trees
  // with a value each.
  void (*row)(const Model &, const int8_t *bytes, uint32_t first, uint32_t last, void *sums, int32_t *leaf,
              void *values);
};

extern const Isa kAvx512, kAvx2, kPortable;

int build(const Packed &packed, Model &model);

}  // namespace millwork
