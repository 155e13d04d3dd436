#include "cuda_forest.h"

#include <cmath>
#include <cstring>

#include "../postprocess.h"
#include "../sections.h"

namespace millwork::cuda {
namespace {

constexpr char kMagic[] = "MILLCUDA";
constexpr size_t kHead = 128, kSectionEntry = 32;
constexpr uint32_t kFileVersion = 1, kMost = 1u << 28, kCategories = 1u << 24;
constexpr uint32_t kMostBlocks = 65535;  // of a grid's second dimension
constexpr uint32_t kLeaf = 0x80000000u, kNoSet = 0xffffffffu, kValues = 256;
constexpr uint32_t kLeastLevels = 3, kMostLevels = 8;
static_assert(sizeof(Numbers) == 15 * 4 && 24 + 4 + sizeof(Numbers) <= kHead);

struct Unsound {
  std::string what;
};

void demand(bool so, const char *what) {
  if (!so) throw Unsound{what};
}

template <class T> Span<T> span(Bytes bytes) {
  return {reinterpret_cast<const T *>(bytes.data), bytes.size / sizeof(T)};
}

uint32_t item_bytes(uint32_t kind, const Numbers &n) {
  return (kind == kLeafValue || kind == kBase) && n.doubles ? 8 : 4;
}

bool has_nan(const Span<float> &values) {
  for (size_t i = 0; i < values.size; i++)
    if (std::isnan(values[i])) return true;
  return false;
}

struct Arrays {
  Span<float> search, sentinel;
  Span<uint32_t> feature, column, member, set_start, tree, tree_at, tree_id, tree_slot, slot_target, deep, output_start,
      group;
  Span<int32_t> leaf_row;
};

void check_numbers(const Numbers &n) {
  for (uint32_t flag : {n.wide, n.doubles, n.or_equal, n.average, n.base_last})
    demand(flag <= 1, "a flag that is neither 0 nor 1");
  demand(n.rank_bytes == 1 || n.rank_bytes == 2, "a flag that is neither 0 nor 1");
  demand(1 <= n.columns && n.columns <= 65536 && 1 <= n.outputs && n.outputs <= 1u << 20,
         "its number of columns or outputs");
  demand(!n.wide || n.outputs <= kWide * kMostBlocks, "its number of columns or outputs");
  demand(n.inputs < kMost && n.trees < kMost, "its number of features or trees");
  demand(n.postprocess < kPostprocesses, "a postprocess that isn't known");
  const bool pair = makes_pairs(n.postprocess);
  demand(!(pair && n.outputs != 1), "two classes of more than one output");
  demand(!(n.postprocess == kMeanVariance && n.outputs != 2), "mean and variance of other than two");
  demand(n.answers == (pair ? 2 : n.outputs), "its number of answers");
  demand(n.leaf_stride == (n.wide ? (n.outputs + kWide - 1) / kWide * kWide : 1), "its base scores or leaves");
}

void check_features(const Numbers &n, const Arrays &a) {
  demand(a.feature.size % 6 == 0 && a.column.size % 3 == 0, "its features or columns");
  const size_t columns = a.column.size / 3;
  uint32_t column = 0, before = 0;
  for (size_t i = 0; i < a.feature.size; i += 6) {
    const uint32_t source = a.feature[i], first = a.feature[i + 1], last = a.feature[i + 2], levels = a.feature[i + 3];
    const uint32_t count = a.feature[i + 4];
    const uint64_t table = a.feature[i + 5];
    demand(source < n.inputs && source >= before, "a feature reads another column");
    demand(first == column && first < last, "the columns of its features");
    demand(levels <= 24, "a search that is too deep");
    demand(count < 1u << levels && table + (1u << levels) <= a.search.size, "a search table");
    before = source, column = last;
  }
  demand(column == columns && columns <= n.columns, "its number of columns");
  demand(!has_nan(a.search) && !has_nan(a.sentinel), "a threshold is NaN");
  demand(adds_up(a.set_start, a.member.size), "its sets");
  for (size_t i = 0; i < a.member.size; i++) demand(a.member[i] < kCategories, "its sets");
  const uint32_t most = (1u << 8 * n.rank_bytes) - 1;
  for (size_t i = 0; i < a.column.size; i += 3) {
    demand(a.column[i + 1] <= most, "a rank of NaN");
    demand(a.column[i + 2] == kNoSet || a.column[i + 2] < a.set_start.size - 1, "a set that isn't there");
  }
}

void check_target(uint32_t target, size_t leaves, size_t nodes, size_t least) {
  const uint32_t number = target & ~kLeaf;
  if (target & kLeaf)
    demand(number < leaves, "a leaf that isn't there");
  else
    demand(number < nodes && number >= least, "a node that isn't there");
}

// One tree's heap; how many words it takes.
void check_tree(const Numbers &n, const Arrays &a, size_t t) {
  const size_t from = a.tree_at[t], to = a.tree_at[t + 1];
  const uint32_t header = a.tree[from], levels = header & 255u, direct = header & kValues;
  demand(!(header & ~(kValues | 255u)), "the header of a tree");
  demand(levels >= kLeastLevels && levels <= kMostLevels, "the levels of a tree");
  demand(!(n.wide && direct), "the values of a tree");
  const size_t slots = size_t(1) << levels;
  demand(to - from == slots * (direct ? 1 + (n.doubles ? 2 : 1) : 1), "the size of a tree");
  for (size_t i = 1; i < slots; i++) demand(a.tree[from + i] >> 16 < n.columns, "a test of a column that isn't there");
  demand(a.tree_slot[t] + slots <= a.slot_target.size, "the slots of a tree");
}

void check_trees(const Numbers &n, const Arrays &a, size_t values) {
  demand(a.tree_at.size == size_t(n.trees) + 1 && a.tree_at[0] == 0 && a.tree_at[n.trees] == a.tree.size,
         "where its trees begin");
  for (size_t t = 0; t < n.trees; t++)
    demand(a.tree_at[t] < a.tree_at[t + 1] && a.tree_at[t] % 4 == 0, "where its trees begin");
  demand(a.tree_at[n.trees] % 4 == 0, "where its trees begin");
  demand(a.tree_id.size == n.trees && a.tree_slot.size == n.trees, "its number of trees");
  std::vector<bool> met(n.trees, false);
  for (size_t t = 0; t < n.trees; t++) {
    demand(a.tree_id[t] < n.trees && !met[a.tree_id[t]], "the numbers of its trees");
    met[a.tree_id[t]] = true;
    check_tree(n, a, t);
  }
  const size_t leaves = a.leaf_row.size, nodes = a.deep.size / 4;
  demand(values == leaves * n.leaf_stride, "the values of its leaves");
  for (size_t i = 0; i < leaves; i++)
    demand(a.leaf_row[i] >= 0 && uint32_t(a.leaf_row[i]) < (n.nodes ? n.nodes : 1), "the numbers of its leaves");
  demand(a.deep.size % 4 == 0, "its deep nodes");
  for (size_t i = 0; i < a.slot_target.size; i++) check_target(a.slot_target[i], leaves, nodes, 0);
  for (size_t i = 0; i < nodes; i++) {
    demand(a.deep[4 * i] >> 16 < n.columns, "a test of a column that isn't there");
    for (size_t side : {1, 2})
      check_target(a.deep[4 * i + side], leaves, nodes, i + 1);  // children after parents: a walk ends
  }
}

void check_groups(const Numbers &n, const Arrays &a) {
  if (n.wide)
    demand(a.output_start.size >= 1, "the trees of its outputs");
  else
    demand(a.output_start.size == size_t(n.outputs) + 1 && adds_up(a.output_start, n.trees),
           "the trees of its outputs");
  demand(a.group.size >= 1 && a.group[0] == 0 && a.group[a.group.size - 1] == n.trees, "its groups of trees");
  for (size_t g = 1; g < a.group.size; g++) {
    demand(a.group[g] > a.group[g - 1] && a.group[g] <= n.trees, "its groups of trees");
    demand((a.tree_at[a.group[g]] - a.tree_at[a.group[g - 1]]) * size_t(4) <= kTreeBytes,
           "a group of trees is too large");
  }
}

}  // namespace

bool Forest::is_one(const std::vector<uint8_t> &file) {
  return file.size() >= 8 && !std::memcmp(file.data(), kMagic, 8);
}

std::string Forest::read(std::vector<uint8_t> file) try {
  file_ = std::move(file);
  const uint8_t *bytes = file_.data();
  const size_t size = file_.size();
  demand(size >= kHead && is_one(file_), "not a forest for the CUDA kernel");
  demand(at<uint32_t>(bytes, 8) == kFileVersion, "another version of the file than this backend reads");
  demand(at<uint64_t>(bytes, 16) == size, "it isn't as long as it says");
  demand(at<uint32_t>(bytes, 12) == crc32(bytes + 16, size - 16), "the file has changed since it was written");
  numbers = at<Numbers>(bytes, 28);
  demand(at<uint32_t>(bytes, 24) == kSections - 1 && kHead + kSectionEntry * (kSections - 1) <= size,
         "its number of sections");
  std::array<bool, kSections> there{};
  for (size_t i = 0; i < kSections - 1; i++) {
    const uint8_t *entry = bytes + kHead + kSectionEntry * i;
    const uint32_t kind = at<uint32_t>(entry, 0), item = at<uint32_t>(entry, 4);
    const uint64_t offset = at<uint64_t>(entry, 8), items = at<uint64_t>(entry, 16);
    demand(1 <= kind && kind < kSections && !there[kind], "a section that isn't known, or is there twice");
    demand(item == item_bytes(kind, numbers), "a section of another type");
    demand(offset % 64 == 0 && offset <= size && items <= (size - offset) / item, "a section beyond the file");
    there[kind] = true, sections_[kind] = {bytes + offset, items * item};
  }
  const auto words = [&](Section kind) { return span<uint32_t>(sections_[kind]); };
  const Arrays a{span<float>(sections_[kSearch]),
                 span<float>(sections_[kSentinel]),
                 words(kFeature),
                 words(kColumn),
                 words(kMember),
                 words(kSetStart),
                 words(kTree),
                 words(kTreeAt),
                 words(kTreeId),
                 words(kTreeSlot),
                 words(kSlotTarget),
                 words(kDeep),
                 words(kOutputStart),
                 words(kGroup),
                 span<int32_t>(sections_[kLeafRow])};
  const Bytes base = sections_[kBase], value = sections_[kLeafValue];
  const size_t item = numbers.doubles ? 8 : 4;
  check_numbers(numbers);
  demand(base.size == numbers.outputs * item, "its base scores or leaves");
  demand(all_finite(base.data, base.size / item, numbers.doubles) &&
             all_finite(value.data, value.size / item, numbers.doubles),
         "a value isn't finite");
  check_features(numbers, a);
  check_trees(numbers, a, value.size / item);
  check_groups(numbers, a);
  return {};
} catch (const Unsound &wrong) {
  return wrong.what;
}

}  // namespace millwork::cuda
