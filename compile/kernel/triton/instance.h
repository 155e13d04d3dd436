// An instance of a model: it takes requests, answers what can be answered, and counts. What answers is CpuInstance, or
// GpuInstance.
#pragma once
#include <memory>
#include <vector>

#include "served_model.h"

namespace millwork {

class Instance {
 public:
  virtual ~Instance() = default;
  Instance(const Instance &) = delete;
  Instance &operator=(const Instance &) = delete;

  void execute(TRITONBACKEND_Request **requests, uint32_t count);

 protected:
  Instance(TRITONBACKEND_ModelInstance *triton, const ServedModel &model, Where where)
      : model_(model), where_(where), triton_(triton) {}

  // Takes memory for so many requests, before any of them is answered.
  virtual void prepare(uint32_t) {}
  // Each of `asked` has rows, and memory for its answer: fills that, or says what is wrong with it. Throws nothing.
  virtual void answer(const std::vector<Work *> &asked) = 0;

  const ServedModel &model_;
  const Where where_;

 private:
  void begin(Work &one, TRITONBACKEND_Request *request) const;
  Wrong read(Work &one) const;

  TRITONBACKEND_ModelInstance *const triton_;
  std::vector<Work> work_;  // kept for their memory
  std::vector<Work *> asked_;
};

std::unique_ptr<Instance> cpu_instance(TRITONBACKEND_ModelInstance *triton, const ServedModel &model);
// CudaError where there is no such GPU, or it can't be used.
std::unique_ptr<Instance> gpu_instance(TRITONBACKEND_ModelInstance *triton, ServedModel &model, int device);

// What goes wrong in `step` goes to the request's client; so does want of memory.
template <class F> Wrong attempt(F &&step) {
  try {
    return step();
  } catch (const std::exception &) {
    return {kInternal, "no memory"};  // short enough to need none
  }
}

}  // namespace millwork
