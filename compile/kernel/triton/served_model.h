// A model as its configuration and its file have it: a packed forest for CPUs, or one of the kernel for GPUs.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "../cuda/cuda_runner.h"
#include "../millwork.h"
#include "json.h"
#include "request.h"

namespace millwork {

enum class Decision { kNone, kSecond, kEach, kLargest };

struct ServedModel {
  std::string name;
  mw_model *handle = nullptr;                  // of a packed forest
  std::shared_ptr<const cuda::Forest> forest;  // of one for GPUs
  mw_shape shape{};
  int threads = 1;
  size_t max_batch = 1;
  int device = 0;  // which GPU, where Triton leaves it to the model (KIND_MODEL)
  size_t crossover = cuda::Runner::kFewRows;
  Decision decision = Decision::kNone;
  float cut = 0.5f;

  ServedModel() = default;
  ServedModel(const ServedModel &) = delete;
  ServedModel &operator=(const ServedModel &) = delete;
  ~ServedModel() { mw_close(handle); }

  bool on_gpu() const { return forest != nullptr; }
  size_t width() const { return decision == Decision::kSecond || decision == Decision::kLargest ? 1 : shape.answers; }
  Wrong open(const Json &config, const std::string &folder);
  // Labels of `answers` [n, K]; `out` may be the same memory.
  void decide(const float *answers, size_t n, float *out) const;
  // The forest on that GPU, which all instances there share. CudaError.
  std::shared_ptr<const cuda::Resident> resident(int gpu);

 private:
  Wrong open_file(const std::string &path, const std::string &folder);
  Wrong read_parameters(const Json &config);

  std::vector<uint8_t> fatbin_;
  std::mutex lock_;
  std::map<int, std::weak_ptr<const cuda::Resident>> residents_;
};

}  // namespace millwork
