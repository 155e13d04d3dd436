#include "model.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <new>
#include <tuple>

#include "encoders.h"
#include "millwork.h"

namespace millwork {

template <class T> Buffer<T>::~Buffer() { std::free(data); }

// A copy, with `extra` zeros behind it for vectors that read past the end.
template <class T> void Buffer<T>::assign(const std::vector<T> &values, size_t extra) {
  const size_t bytes = ((values.size() + extra) * sizeof(T) + 64) / 64 * 64 + 64;
  data = static_cast<T *>(std::aligned_alloc(64, bytes));
  if (!data) throw std::bad_alloc();
  std::memset(static_cast<void *>(data), 0, bytes);
  if (!values.empty()) std::memcpy(static_cast<void *>(data), values.data(), values.size() * sizeof(T));
  size = values.size();
}

template struct Buffer<float>;
template struct Buffer<double>;
template struct Buffer<int8_t>;
template struct Buffer<uint8_t>;
template struct Buffer<int32_t>;
template struct Buffer<uint32_t>;
template struct Buffer<uint64_t>;
template struct Buffer<int64_t>;

namespace {

constexpr uint32_t kSmallSet = 1u << 16;
constexpr uint32_t kNone = ~0u;

struct Test {
  uint32_t column;
  int8_t key;
};

// A ladder on the thresholds, whose blocks go to the end of `table`, aligned.
Ladder make_ladder(const float *threshold, uint32_t n, std::vector<float> &table) {
  Ladder out{};
  std::vector<float> level(threshold, threshold + n);
  for (;;) {
    const size_t blocks = std::max<size_t>(1, (level.size() + 15) / 16);
    out.size[out.levels] = uint32_t(level.size()), out.at[out.levels] = table.size();
    out.levels++;
    table.insert(table.end(), level.begin(), level.end());
    table.resize(out.at[out.levels - 1] + 16 * blocks, std::numeric_limits<float>::infinity());
    if (blocks == 1) return out;
    std::vector<float> above;
    for (size_t b = 1; b < blocks; b++) above.push_back(level[16 * b]);
    level = std::move(above);
  }
}

// Gives every test its column and key.
std::vector<Test> make_columns(const Packed &p, Model &m) {
  // (source column, feature, set?, chunk or set, NaN's way) -> the nodes' column, in this order.
  using Key = std::tuple<uint32_t, uint32_t, bool, uint32_t, bool>;
  std::map<Key, uint32_t> number;
  std::vector<Key> key_of(p.nodes);
  std::vector<uint8_t> tests(p.nodes, 0);
  for (uint32_t i = 0; i < p.nodes; i++) {
    if (p.feature[i] < 0) continue;
    const uint32_t f = uint32_t(p.feature[i]);
    const bool set = p.flags[i] & 2;
    key_of[i] = Key(p.column[f], f, set, set ? p.test[i] : p.test[i] / 255, p.flags[i] & 1);
    number.emplace(key_of[i], 0);
    tests[i] = 1;
  }
  std::vector<float> table(16, 0.0f), ladder;
  uint32_t last_feature = kNone;
  for (auto &[key, at] : number) {
    const auto &[source, f, set, part, left] = key;
    at = uint32_t(m.column.size());
    if (f != last_feature) {
      const uint32_t first = p.threshold_start[f], n = p.threshold_start[f + 1] - first;
      uint32_t levels = 1;
      while ((uint64_t(1) << levels) - 1 < n) levels++;
      const size_t start = (table.size() + 15) / 16 * 16;
      table.resize(start + std::max<size_t>(size_t(1) << levels, 32), std::numeric_limits<float>::infinity());
      for (uint32_t l = 0; l < levels; l++)
        for (uint64_t j = 0; j < uint64_t(1) << l; j++) {
          const uint64_t s = ((2 * j + 1) << (levels - 1 - l)) - 1;
          if (s < n) table[start + (size_t(1) << l) + j] = p.threshold[first + s];
        }
      m.features.push_back({source, at, at, {levels, n, start}});
      m.ladders.push_back(make_ladder(p.threshold.data + first, n, ladder));
      last_feature = f;
    }
    m.features.back().last = at + 1;
    m.column.push_back({set ? part : part * 255, uint8_t(left ? 0 : 255), set});
  }
  m.search.assign(table, 64), m.ladder.assign(ladder, 16);
  std::vector<Test> out(p.nodes);
  for (uint32_t i = 0; i < p.nodes; i++)
    if (tests[i]) out[i] = {number[key_of[i]], p.flags[i] & 2 ? int8_t(-128) : int8_t(int(p.test[i] % 255) - 128)};
  return out;
}

void make_sets(const Packed &p, Model &m) {
  const size_t n = p.set_start.size - 1;
  m.bits.resize(n), m.members.resize(n);
  for (size_t s = 0; s < n; s++) {
    const uint32_t first = p.set_start[s], last = p.set_start[s + 1];
    const uint32_t limit = first == last ? 0 : p.set_member[last - 1] + 1;
    if (limit <= kSmallSet) {
      m.bits[s].assign((limit + 63) / 64, 0);
      for (uint32_t i = first; i < last; i++) m.bits[s][p.set_member[i] / 64] |= uint64_t(1) << p.set_member[i] % 64;
    } else {
      m.members[s].assign(p.set_member.data + first, p.set_member.data + last);
    }
  }
}

// One tree in the order of the walk: level by level, siblings side by side.
struct Walked {
  std::vector<uint32_t> node;   // its row of the node table
  std::vector<uint32_t> child;  // of the walk, within the tree; kNone: a leaf
  int depth = 0;
  std::vector<double> below;  // [d]: tests at depth d or below that a row meets, where all ways are as likely
};

Walked in_order(const Packed &p, uint32_t root) {
  Walked w;
  w.node.push_back(root);
  size_t first = 0;
  double share = 1;
  std::vector<double> at;
  for (int depth = 0; first < w.node.size(); depth++, share /= 2) {
    const size_t last = w.node.size();
    double tests = 0;
    for (size_t i = first; i < last; i++) {
      const uint32_t node = w.node[i];
      if (p.feature[node] < 0) {
        w.child.push_back(kNone);
        continue;
      }
      tests += share;
      w.child.push_back(uint32_t(w.node.size()));
      w.node.push_back(p.left[node]);
      w.node.push_back(p.right[node]);
      w.depth = depth + 1;
    }
    at.push_back(tests);
    first = last;
  }
  w.below.assign(at.size() + 1, 0);
  for (size_t d = at.size(); d-- > 0;) w.below[d] = w.below[d + 1] + at[d];
  return w;
}

// The nodes of the walk at each place of a perfect tree of `levels` levels; a leaf is at all places below it, too.
std::vector<uint32_t> perfect(const Walked &w, int levels) {
  std::vector<uint32_t> place((size_t(2) << levels) - 1);
  place[0] = 0;
  for (size_t i = 0; i < (size_t(1) << levels) - 1; i++) {
    const uint32_t node = place[i];
    const bool leaf = w.child[node] == kNone;
    place[2 * i + 1] = leaf ? node : w.child[node];
    place[2 * i + 2] = leaf ? node : w.child[node] + 1;
  }
  return place;
}

// How many levels to fold: cycles of a fold against those of walks, for a block (measured on an AVX-512 machine).
int levels_to_fold(const Walked &w) {
  if (w.depth <= 6) return w.depth;
  int best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (int d = 4; d <= std::min(w.depth, 8); d++) {
    const double walk = w.depth == d ? (d > 6 ? 60 : 0) : 200 + 64 * 2.2 * w.below[size_t(d)];
    const double cost = 1.1 * double(1 << d) + walk;
    if (cost < least) best = d, least = cost;
  }
  return best;
}

// Steps of a walk from `level` on: as deep as the tree is, or kAsk where most rows end much sooner.
uint8_t steps_from(const Walked &w, int level) {
  const int left = std::max(0, w.depth - level);
  return left < kAsk && left <= 2 * w.below[size_t(std::min(level, w.depth))] + 4 ? uint8_t(left) : kAsk;
}

template <class T>
void tables(const Packed &p, Model &m, const std::vector<int32_t> &target, const std::vector<int32_t> &walk_leaf,
            Buffer<T> &values, Buffer<T> &leaves, Buffer<T> &walked) {
  const T *given = static_cast<const T *>(p.leaf_value);
  std::vector<T> own(given, given + size_t(p.leaves) * p.width);
  std::vector<T> slots(target.size() * p.width, T(0));
  for (const Tree &t : m.tree) {
    if (t.deep) continue;
    const size_t n = size_t(1) << t.top;
    for (size_t s = 0; s < n; s++) {
      const int32_t leaf = target[t.slot + s];
      for (uint32_t d = 0; d < p.width; d++) slots[t.slot * p.width + d * n + s] = own[size_t(leaf) * p.width + d];
    }
  }
  if (p.width == 1) {
    std::vector<T> of_node(walk_leaf.size(), T(0));
    for (size_t i = 0; i < walk_leaf.size(); i++)
      if (walk_leaf[i] >= 0) of_node[i] = own[size_t(walk_leaf[i])];
    walked.assign(of_node, 16);
  }
  values.assign(slots, 64);
  leaves.assign(own, 64);
}

// The distinct tests of a tree, or none where there are more than eight: any tree of few tests is a table that their
// results point into, whatever its shape. CatBoost's symmetric trees are.
std::vector<Test> few_tests(const Walked &w, const std::vector<Test> &tests) {
  std::vector<Test> found;
  for (size_t i = 0; i < w.node.size(); i++) {
    if (w.child[i] == kNone) continue;
    const Test test = tests[w.node[i]];
    const auto same = [&](const Test &o) { return o.column == test.column && o.key == test.key; };
    if (std::any_of(found.begin(), found.end(), same)) continue;
    if (found.size() == 8) return {};
    found.push_back(test);
  }
  return int(found.size()) <= std::max(6, w.depth + 1) ? found : std::vector<Test>{};
}

// The node of the walk where a row ends whose results are the bits of `slot`, the first test's the highest.
uint32_t end_of(const Walked &w, const std::vector<Test> &tests, const std::vector<Test> &found, size_t slot) {
  uint32_t at = 0;
  while (w.child[at] != kNone) {
    const Test test = tests[w.node[at]];
    size_t l = 0;
    while (found[l].column != test.column || found[l].key != test.key) l++;
    at = w.child[at] + uint32_t(slot >> (found.size() - 1 - l) & 1);
  }
  return at;
}

void make_runs(Model &m) {
  for (uint32_t t = 0; t < m.trees; t++) {
    const bool oblivious = m.tree[t].oblivious;
    if (m.runs.empty() || m.runs.back().oblivious != oblivious) m.runs.push_back({t, t, oblivious});
    m.runs.back().last = t + 1;
  }
}

void make_trees(const Packed &p, Model &m, const std::vector<Test> &tests) {
  std::vector<int32_t> leaf_of(p.nodes, -1), leaf_row;
  for (uint32_t i = 0; i < p.nodes; i++)
    if (p.feature[i] < 0) leaf_of[i] = int32_t(leaf_row.size()), leaf_row.push_back(int32_t(i));
  std::vector<uint32_t> offset, row_targets;
  std::vector<int8_t> key, row_key;
  std::vector<int32_t> target, walk_leaf;
  std::vector<uint8_t> row_column;
  std::vector<int64_t> row_shift, row_value;
  std::vector<WalkNode> walk;
  std::vector<BlockNode> block_walk;
  for (uint32_t t = 0; t < p.trees; t++) {
    const Walked w = in_order(p, p.tree_start[t]);
    Tree out{};
    out.root = uint32_t(walk.size());
    out.steps = steps_from(w, 0);
    for (size_t i = 0; i < w.node.size(); i++) {
      const bool leaf = w.child[i] == kNone;
      const Test test = tests[w.node[i]];
      walk.push_back(leaf ? WalkNode(uint8_t(kNever)) | WalkNode(out.root + i) << 32
                          : WalkNode(uint8_t(test.key)) | WalkNode(test.column) << 8 |
                                WalkNode(out.root + w.child[i]) << 32);
      const uint64_t child = leaf ? i : w.child[i];
      block_walk.push_back(leaf ? uint64_t(uint8_t(kNever)) << 32 | child << 40
                                : uint64_t(test.column) * kBlock | uint64_t(uint8_t(test.key)) << 32 | child << 40);
      walk_leaf.push_back(leaf ? leaf_of[w.node[i]] : -1);
    }
    const std::vector<Test> few = few_tests(w, tests);
    out.oblivious = !few.empty();
    out.top = uint8_t(out.oblivious ? int(few.size()) : levels_to_fold(w));
    out.deep = !out.oblivious && w.depth > out.top;
    out.block_steps = steps_from(w, out.top);
    out.output = p.tree_output[t];
    out.node = key.size();
    out.slot = target.size();
    const size_t inner = (size_t(1) << out.top) - 1;
    for (const Test &test : few) offset.push_back(test.column * kBlock), key.push_back(test.key);
    const std::vector<uint32_t> place = out.oblivious ? std::vector<uint32_t>{} : perfect(w, out.top);
    for (size_t i = 0; i < (out.oblivious ? 0 : inner); i++) {
      const bool leaf = w.child[place[i]] == kNone;
      offset.push_back(leaf ? 0 : tests[w.node[place[i]]].column * kBlock);
      key.push_back(leaf ? kNever : tests[w.node[place[i]]].key);
    }
    for (size_t s = 0; s <= inner; s++) {
      const uint32_t at = out.oblivious ? end_of(w, tests, few, s) : place[inner + s];
      target.push_back(out.deep ? int32_t(at) : leaf_of[w.node[at]]);
    }
    target.resize(out.slot + std::max<size_t>(inner + 1, 16), 0);
    m.tree.push_back(out);
    if (!m.row_masks) continue;
    // The same for the small-batch plan: always kRowTop levels, padded with tests that let nothing pass.
    Tree &own = m.tree.back();
    row_shift.push_back(0), row_value.push_back(int64_t(own.slot));
    if (own.oblivious) continue;
    own.row_top = uint8_t(std::min(w.depth, kRowTop));
    own.row_deep = w.depth > kRowTop;
    m.row_deep |= own.row_deep;
    own.row = row_key.size();
    const std::vector<uint32_t> rows = perfect(w, kRowTop);
    for (size_t i = 0; i < 64; i++) {  // node i is byte i, from 1 on
      const bool none = i == 0 || w.child[rows[i - 1]] == kNone;
      row_column.push_back(none ? 0 : uint8_t(tests[w.node[rows[i - 1]]].column));
      row_key.push_back(none ? kNever : tests[w.node[rows[i - 1]]].key);
    }
    // A row ends at a place from 64 to 127 of the six levels; of the tree's own levels, that many bits are left.
    row_shift.back() = kRowTop - own.row_top;
    row_value.back() -= int64_t(64) >> row_shift.back();
    own.row_target = row_targets.size();
    own.row_steps = steps_from(w, kRowTop);
    for (size_t i = 63; i < 127; i++) row_targets.push_back(own.root + rows[i]);
  }
  make_runs(m);
  if (m.row_masks)
    for (const Run &run : m.runs) {
      if (!run.oblivious) continue;
      for (uint32_t t = run.first; t < run.last; t++) {
        const uint32_t at = (t - run.first) % 8;
        if (at == 0) {
          m.tree[t].row = row_key.size();
          row_column.resize(row_column.size() + 64, 0);
          row_key.resize(row_key.size() + 64, kNever);
        }
        const size_t row = m.tree[t - at].row + 8 * at;
        m.tree[t].row = row;
        for (int l = 0; l < m.tree[t].top; l++) {  // the last level is bit 0 of the slot
          const size_t bit = size_t(m.tree[t].top - 1 - l), node = m.tree[t].node + size_t(l);
          row_column[row + bit] = uint8_t(offset[node] / kBlock);
          row_key[row + bit] = key[node];
        }
      }
    }
  m.offset.assign(offset, 0), m.key.assign(key, 64), m.target.assign(target, 64);
  m.row_shift.assign(row_shift, 8), m.row_value.assign(row_value, 8);
  m.row_column.assign(row_column, 64), m.row_key.assign(row_key, 64), m.row_targets.assign(row_targets, 64);
  m.walk.assign(walk, 8), m.block_walk.assign(block_walk, 8);
  m.walk_leaf.assign(walk_leaf, 16), m.leaf_row.assign(leaf_row, 16);
  if (p.doubles)
    tables<double>(p, m, target, walk_leaf, m.value64, m.leaf64, m.walked64);
  else
    tables<float>(p, m, target, walk_leaf, m.value32, m.leaf32, m.walked32);
}

}  // namespace

int build(const Packed &p, Model &m) {
  m.columns = p.columns, m.encoded = p.encoded, m.trees = p.trees, m.outputs = p.outputs, m.width = p.width;
  m.nodes = p.nodes, m.crossover = p.crossover, m.doubles = p.doubles, m.average = p.average;
  m.base_last = p.base_last, m.or_equal = p.or_equal, m.postprocess = p.postprocess;
  m.sentinels.assign(p.sentinels.data, p.sentinels.data + p.sentinels.size);
  for (uint32_t k = 0; k < p.outputs; k++)
    m.base.push_back(p.doubles ? static_cast<const double *>(p.base_scores)[k]
                               : double(static_cast<const float *>(p.base_scores)[k]));
  for (uint32_t t = 0; t < p.trees; t++)
    if (p.tree_start[t + 1] - p.tree_start[t] >= kMostNodes) return MW_SIZE;
  const std::vector<Test> tests = make_columns(p, m);
  if (m.column.size() >= 1u << 24) return MW_SIZE;
  m.n_bytes = uint32_t(std::max<size_t>(m.column.size(), 1));
  m.row_masks = m.n_bytes <= kRowColumns;
  make_sets(p, m);
  make_trees(p, m, tests);
  if (p.vocabulary_start.size) m.encoders = std::make_unique<Encoders>(p);
  return MW_OK;
}

}  // namespace millwork
