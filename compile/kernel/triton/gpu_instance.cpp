// Requests on a GPU. Small batches that come from host memory and go back there are one CUDA graph, copies included.
// Rows that are on the GPU already stay there: alone, they are read where they lie, and the answer is written where it
// is wanted; of several requests they are put together there.
#include <cstring>
#include <utility>

#include "instance.h"

namespace millwork {
namespace {

cuda::Address address(const void *at) { return reinterpret_cast<cuda::Address>(at); }

class GpuInstance final : public Instance {
 public:
  GpuInstance(TRITONBACKEND_ModelInstance *triton, ServedModel &model, int device)
      : Instance(triton, model, {kGpu, device}), runner_(model.resident(device), model.crossover) {
    runner_.reserve_small(model.max_batch);
  }

 private:
  void answer(const std::vector<Work *> &asked) override;
  Wrong tried(const std::vector<Work *> &asked);
  void run(const std::vector<Work *> &asked);
  void settle();
  bool is_here(const Where &at) const { return at.memory == kGpu && at.device == where_.device; }
  cuda::Address rows_where_they_are(const std::vector<Work *> &asked) const;
  void stage(const std::vector<Work *> &asked) const;
  void gather(const std::vector<Work *> &asked);
  void deliver(const std::vector<Work *> &asked, bool pinned);

  cuda::Runner runner_;
};

// What fails together is asked again one by one: a request too large, or of memory that this GPU can't reach, fails
// alone.
void GpuInstance::answer(const std::vector<Work *> &asked) {
  Wrong wrong = tried(asked);
  if (!wrong) return;
  if (asked.size() == 1) {
    asked[0]->wrong = std::move(wrong);
    return;
  }
  for (Work *one : asked) one->wrong = attempt([&] { return tried({one}); });
}

Wrong GpuInstance::tried(const std::vector<Work *> &asked) {
  return attempt([&]() -> Wrong {
    try {
      run(asked);
      return {};
    } catch (const cuda::CudaError &error) {
      settle();
      const std::string what = model_.name + ": the GPU failed: " + error.what();
      drop(TRITONSERVER_LogMessage(kLogError, "millwork", 0, ("millwork: " + what).c_str()));
      return {kInternal, what};
    } catch (...) {
      settle();
      throw;
    }
  });
}

// Nothing of a call that failed may go on once its requests are given back.
void GpuInstance::settle() {
  try {
    runner_.wait();
  } catch (const cuda::CudaError &) {  // what failed it is told already
  }
}

void GpuInstance::run(const std::vector<Work *> &asked) {
  const bool decides = model_.decision != Decision::kNone;
  size_t n = 0;
  bool from_host = true, any_from_host = false, to_host = true, any_host = false;
  for (const Work *one : asked) {
    n += one->rows;
    for (const Piece &piece : one->numbers.pieces)
      from_host &= piece.at.memory != kGpu, any_from_host |= piece.at.memory != kGpu;
    const bool host = one->out_at.memory != kGpu;
    to_host &= host, any_host |= host;
  }
  if (from_host && to_host && n <= cuda::Runner::kGraphRows) {
    runner_.reserve(n, {true, true, true, true});
    stage(asked);
    runner_.replay(n);
    runner_.wait();
    return deliver(asked, true);
  }
  const cuda::Address there = rows_where_they_are(asked);
  const bool straight = asked.size() == 1 && !decides && is_here(asked[0]->out_at), pinned = any_host || decides;
  runner_.reserve(n, {!there, any_from_host, !straight, pinned});
  if (!there) gather(asked);
  runner_.enqueue(there ? there : runner_.rows(), n, straight ? address(asked[0]->out) : runner_.answers());
  if (pinned)
    runner_.copy(address(runner_.pinned_answers()), runner_.answers(), n * model_.shape.answers * sizeof(float));
  if (!straight && !pinned) deliver(asked, false);
  runner_.wait();
  if (pinned) deliver(asked, true);
}

// One request's rows on this GPU, in one piece; else 0.
cuda::Address GpuInstance::rows_where_they_are(const std::vector<Work *> &asked) const {
  const auto &pieces = asked[0]->numbers.pieces;
  const bool so = asked.size() == 1 && pieces.size() == 1 && is_here(pieces[0].at) &&
                  address(pieces[0].bytes) % alignof(float) == 0;
  return so ? address(pieces[0].bytes) : 0;
}

// All rows, which are in host memory, to the pinned one.
void GpuInstance::stage(const std::vector<Work *> &asked) const {
  auto *to = reinterpret_cast<uint8_t *>(runner_.pinned_rows());
  for (const Work *one : asked)
    for (const Piece &piece : one->numbers.pieces) std::memcpy(to, piece.bytes, piece.size), to += piece.size;
}

// All rows to the GPU, wherever they are: what lies together in pinned memory goes together.
void GpuInstance::gather(const std::vector<Work *> &asked) {
  const cuda::Address rows = runner_.rows(), pinned = address(runner_.pinned_rows());
  size_t at = 0, from = 0;  // bytes so far, and those of them that are on their way
  const auto send = [&] { runner_.copy(rows + from, pinned + from, at - from); };
  for (const Work *one : asked)
    for (const Piece &piece : one->numbers.pieces) {
      if (piece.at.memory == kGpu) {
        send();
        runner_.copy(rows + at, address(piece.bytes), piece.size);
        at += piece.size, from = at;
      } else {
        std::memcpy(reinterpret_cast<uint8_t *>(runner_.pinned_rows()) + at, piece.bytes, piece.size);
        at += piece.size;
      }
    }
  send();
}

// To each its answer, from pinned memory (labels are made there), or on the GPU.
void GpuInstance::deliver(const std::vector<Work *> &asked, bool pinned) {
  const size_t width = model_.width();
  float *held = pinned ? runner_.pinned_answers() : nullptr;
  if (pinned && model_.decision != Decision::kNone) {
    size_t n = 0;
    for (const Work *one : asked) n += one->rows;
    model_.decide(held, n, held);
  }
  size_t at = 0;
  bool on_its_way = false;
  for (const Work *one : asked) {
    const size_t size = one->rows * width * sizeof(float);
    if (one->out_at.memory != kGpu) {
      std::memcpy(one->out, held + at, size);
    } else {
      runner_.copy(address(one->out), pinned ? address(held + at) : runner_.answers() + at * sizeof(float), size);
      on_its_way = true;
    }
    at += one->rows * width;
  }
  if (pinned && on_its_way) runner_.wait();
}

}  // namespace

std::unique_ptr<Instance> gpu_instance(TRITONBACKEND_ModelInstance *triton, ServedModel &model, int device) {
  return std::make_unique<GpuInstance>(triton, model, device);
}

}  // namespace millwork
