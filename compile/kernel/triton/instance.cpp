#include "instance.h"

#include <chrono>
#include <exception>

namespace millwork {
namespace {

uint64_t now() {
  return uint64_t(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

}  // namespace

void Instance::begin(Work &one, TRITONBACKEND_Request *request) const {
  one.request = request, one.response = nullptr, one.out = nullptr, one.rows = 0, one.wrong.what.clear();
  drop(TRITONBACKEND_ResponseNew(&one.response, request));
  one.wrong = attempt([&] {
    const Wrong wrong = read(one);
    const Where wanted = model_.decision == Decision::kNone ? where_ : Where{};  // labels are made in host memory
    return wrong ? wrong : one.room(model_.width(), wanted, where_.memory == kGpu);
  });
}

Wrong Instance::read(Work &one) const {
  if (!one.response) return {kInternal, "there is no response to be had"};
  bool cancelled = false;
  if (TRITONBACKEND_RequestIsCancelled) drop(TRITONBACKEND_RequestIsCancelled(one.request, &cancelled));
  if (cancelled) return {kCancelled, "the client has cancelled the request"};
  const mw_shape &shape = model_.shape;
  size_t rows = SIZE_MAX;
  if (shape.features)
    if (Wrong wrong = one.numbers.read(one.request, kNumbers, kFp32, shape.features, where_, rows)) return wrong;
  if (shape.categories)
    if (Wrong wrong = one.categories.read(one.request, kCategories, shape.integers ? kInt64 : kBytes, shape.categories,
                                          where_, rows))
      return wrong;
  one.rows = rows == SIZE_MAX ? 0 : rows;
  return {};
}

void Instance::execute(TRITONBACKEND_Request **requests, uint32_t count) {
  const uint64_t started = now();
  if (work_.size() < count) work_.resize(count);
  asked_.clear();
  asked_.reserve(count);
  prepare(count);
  uint64_t total = 0;
  for (uint32_t i = 0; i < count; i++) {
    Work &one = work_[i];
    begin(one, requests[i]);
    if (one.wrong || !one.out || !one.rows) continue;
    total += one.rows;
    asked_.push_back(&one);
  }
  const uint64_t computing = now();
  if (!asked_.empty()) answer(asked_);
  const uint64_t computed = now();
  for (uint32_t i = 0; i < count; i++) {
    if (!work_[i].response) continue;
    TRITONSERVER_Error *error = to_triton(work_[i].wrong);
    drop(TRITONBACKEND_ResponseSend(work_[i].response, kFinal, error));
    drop(error);
  }
  const uint64_t ended = now();
  for (uint32_t i = 0; i < count; i++)
    drop(TRITONBACKEND_ModelInstanceReportStatistics(triton_, work_[i].request, !work_[i].wrong, started, computing,
                                                     computed, ended));
  if (total)
    drop(TRITONBACKEND_ModelInstanceReportBatchStatistics(triton_, total, started, computing, computed, ended));
  for (uint32_t i = 0; i < count; i++) drop(TRITONBACKEND_RequestRelease(work_[i].request, kReleaseAll));
}

}  // namespace millwork
