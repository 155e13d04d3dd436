// A forest's answers on a GPU from C++: which kernels of forest.cu are launched for how many rows, and in what memory.
// compile/runners/cuda_runner.py does the same from Python, with the same plans.
#pragma once
#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda_device.h"
#include "cuda_forest.h"

namespace millwork::cuda {

// What a kernel is given: MwGiven of forest.cu, field by field.
struct Given {
  // By the sections of the file, in their order.
  Address search, feature, column, member, set_start, sentinel, tree, tree_at, tree_id, tree_slot, slot_target, deep,
      leaf_row, leaf_value, output_start, base, group;
  Address rows, ranks, values, sums, arrived, out;
  uint64_t n, stride;
  uint32_t inputs, features, columns, sentinels, trees, outputs, leaf_stride, groups;
  uint32_t or_equal, average, base_last, postprocess, wide;
  uint32_t kind, staged, few, room;
};

// A forest on a GPU, its kernels loaded: one for all instances there.
class Resident {
 public:
  // CudaError where the GPU lacks memory, or `fatbin` has no code for it.
  Resident(std::shared_ptr<const Forest> forest, const std::vector<uint8_t> &fatbin, int device);
  ~Resident();
  Resident(const Resident &) = delete;
  Resident &operator=(const Resident &) = delete;

  enum Kernel { kFew, kRank, kRows, kTiles, kFinish, kKernels };

  const std::shared_ptr<const Forest> forest;
  const Device device;
  Given given{};  // the forest's part
  Handle kernel(Kernel one) const { return kernels_[one]; }

 private:
  void upload(Handle stream);
  void load(const std::vector<uint8_t> &fatbin);

  Handle module_ = nullptr;
  std::array<Handle, kKernels> kernels_{};
  std::vector<std::unique_ptr<Room>> rooms_;
};

// Calls of one instance: a stream, memory, and graphs of the small ones. One call at a time.
class Runner {
 public:
  static constexpr uint32_t kFewRows = 1024;  // up to which the small-batch plan is taken where nothing was measured
  static constexpr size_t kGraphRows = 1024, kGraphs = 256;

  Runner(std::shared_ptr<const Resident> resident, size_t crossover);
  ~Runner();
  Runner(const Runner &) = delete;
  Runner &operator=(const Runner &) = delete;

  const Device &device() const { return resident_->device; }
  // What of this call's rows and answers lies in memory of ours.
  struct Needs {
    bool rows, pinned_rows, answers, pinned_answers;
  };
  // Memory for all calls of up to `most` rows that are to be graphs: where it grows, they end.
  void reserve_small(size_t most);
  // Memory for a call of `n` rows, before anything else of it.
  void reserve(size_t n, const Needs &needs);
  float *pinned_rows() const { return pinned_rows_.as<float>(); }
  float *pinned_answers() const { return pinned_answers_.as<float>(); }
  Address rows() const { return rows_.address(); }
  Address answers() const { return answers_.address(); }

  // On the stream, without waiting for it. Either end of a copy is anywhere.
  void copy(Address to, Address from, size_t bytes);
  void enqueue(Address rows, size_t n, Address out);
  // From pinned_rows() to pinned_answers(), as a CUDA graph from the second call of a size on, if there is room for one
  // and fewer than kGraphs are kept; n is at most kGraphRows, and all was reserved.
  void replay(size_t n);
  void wait();

 private:
  struct Launch {
    Resident::Kernel kernel;
    uint32_t x, y, threads, shared, staged, few;
  };
  std::vector<Launch> launches(size_t n) const;
  bool few(size_t n, Launch &out) const;
  size_t values() const;
  void reserve_work(size_t n);
  void make_room(Room &room, size_t bytes);
  void part(Address rows, size_t n, Address out);
  Handle record(size_t n);
  void there_and_back(size_t n);
  void forget();

  const std::shared_ptr<const Resident> resident_;
  const Driver &driver_;
  const Numbers &numbers_;
  const size_t crossover_;
  Handle stream_ = nullptr;
  Room rows_, answers_, pinned_rows_, pinned_answers_, ranks_, values_, sums_, arrived_;
  std::map<size_t, Handle> graphs_;
};

}  // namespace millwork::cuda
