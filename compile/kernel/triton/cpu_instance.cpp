#include <cstring>

#include "instance.h"

namespace millwork {
namespace {

constexpr size_t kAlone = 256;  // rows of a request from which on joining it with others gains less than its copy costs

class CpuInstance final : public Instance {
 public:
  CpuInstance(TRITONBACKEND_ModelInstance *triton, const ServedModel &model) : Instance(triton, model, {}) {}

 private:
  void prepare(uint32_t count) override { joined_.reserve(count); }
  void answer(const std::vector<Work *> &asked) override;
  Wrong predict(const float *numbers, size_t n, const uint8_t *texts, size_t size, float *out);
  void alone(Work &one);
  Wrong together();

  std::vector<float> rows_, answers_;  // kept for their memory
  std::vector<uint8_t> categories_;
  std::vector<Work *> joined_;
};

void CpuInstance::answer(const std::vector<Work *> &asked) {
  joined_.clear();
  for (Work *one : asked)
    if (one->rows < kAlone) joined_.push_back(one);
  if (joined_.size() == 1 || (!joined_.empty() && attempt([&] { return together(); })))
    for (Work *one : joined_) alone(*one);  // what there is no memory for together may fit one by one
  for (Work *one : asked)
    if (one->rows >= kAlone) alone(*one);
}

Wrong CpuInstance::predict(const float *numbers, size_t n, const uint8_t *texts, size_t size, float *out) {
  const mw_shape &shape = model_.shape;
  const bool decides = model_.decision != Decision::kNone;
  if (decides && answers_.size() < n * shape.answers) answers_.resize(n * shape.answers);
  float *into = decides ? answers_.data() : out;
  static const uint8_t nothing = 0;
  const void *given = shape.categories ? (texts ? texts : &nothing) : nullptr;
  const int code = mw_predict(model_.handle, MW_ANSWERS, MW_PLAN_AUTO, model_.threads, numbers, n, shape.features,
                              given, shape.categories ? size : 0, into);
  if (code) return {code == MW_MEMORY ? kInternal : kInvalidArgument, mw_message(code)};
  if (decides) model_.decide(into, n, out);
  return {};
}

void CpuInstance::alone(Work &one) {
  one.wrong = attempt([&] {
    return predict(reinterpret_cast<const float *>(one.numbers.bytes), one.rows, one.categories.bytes,
                   one.categories.size, one.out);
  });
}

// The small requests as one call; or what is wrong with one of them.
Wrong CpuInstance::together() {
  size_t n = 0;
  for (const Work *one : joined_) n += one->rows;
  const size_t features = model_.shape.features, width = model_.width();
  if (rows_.size() < n * features + n * width) rows_.resize(n * features + n * width);
  float *numbers = rows_.data(), *out = rows_.data() + n * features;
  categories_.clear();
  size_t at = 0;
  for (const Work *one : joined_) {
    if (features) std::memcpy(numbers + at * features, one->numbers.bytes, one->numbers.size);
    if (one->categories.size)
      categories_.insert(categories_.end(), one->categories.bytes, one->categories.bytes + one->categories.size);
    at += one->rows;
  }
  if (const Wrong wrong = predict(numbers, n, categories_.data(), categories_.size(), out)) return wrong;
  for (const Work *one : joined_) {
    std::memcpy(one->out, out, one->rows * width * sizeof(float));
    out += one->rows * width;
  }
  return {};
}

}  // namespace

std::unique_ptr<Instance> cpu_instance(TRITONBACKEND_ModelInstance *triton, const ServedModel &model) {
  return std::make_unique<CpuInstance>(triton, model);
}

}  // namespace millwork
