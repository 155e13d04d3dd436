// The file of the kernel for GPUs, read and checked: on a GPU a wrong number would read or write where it mustn't, or
// never end. compile/backends/native/cuda_file.py writes it; compile/runners/cuda_forest.py is the same reader for
// Python.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace millwork::cuda {

// Kinds of sections, from 1 on; forest.cu says what they are.
enum Section : uint32_t {
  kSearch = 1,
  kFeature,
  kColumn,
  kMember,
  kSetStart,
  kSentinel,
  kTree,
  kTreeAt,
  kTreeId,
  kTreeSlot,
  kSlotTarget,
  kDeep,
  kLeafRow,
  kLeafValue,
  kOutputStart,
  kBase,
  kGroup,
  kSections
};

constexpr uint32_t kTreeBytes = 16384;  // of shared memory for a group of trees
constexpr uint32_t kWide = 4;           // outputs that a block adds where a leaf has a value for each

// The numbers of the header, in the file's order.
struct Numbers {
  uint32_t inputs, columns, trees, outputs, answers, leaf_stride, wide, rank_bytes, doubles, or_equal, average,
      base_last, postprocess, nodes, depth;
};

struct Bytes {
  const uint8_t *data = nullptr;
  size_t size = 0;
};

class Forest {
 public:
  Numbers numbers{};

  // Whether the bytes begin as such a file does.
  static bool is_one(const std::vector<uint8_t> &file);
  // Takes the file's bytes; what is wrong with them, or nothing.
  std::string read(std::vector<uint8_t> file);
  Bytes section(Section kind) const { return sections_[kind]; }

 private:
  std::vector<uint8_t> file_;
  std::array<Bytes, kSections> sections_{};
};

}  // namespace millwork::cuda
