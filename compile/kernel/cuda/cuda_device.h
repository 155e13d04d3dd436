// An NVIDIA GPU through its driver, which is found when the first model of a GPU is loaded: nothing is linked with it.
// Declarations of our own for what is called of libcuda.so.1; a test holds them against cuda.h.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace millwork::cuda {

struct CudaError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Address = uint64_t;  // on the GPU
using Handle = void *;

// clang-format off
// A member's name, the driver's own, its parameters.
#define MW_CUDA_CALLS(X)                                                                                              \
  X(init, cuInit, (unsigned))                                                                                         \
  X(error_name, cuGetErrorName, (int, const char **))                                                                 \
  X(device_get, cuDeviceGet, (int *, int))                                                                            \
  X(device_name, cuDeviceGetName, (char *, int, int))                                                                 \
  X(device_attribute, cuDeviceGetAttribute, (int *, int, int))                                                        \
  X(context_retain, cuDevicePrimaryCtxRetain, (Handle *, int))                                                        \
  X(context_release, cuDevicePrimaryCtxRelease_v2, (int))                                                             \
  X(context_set, cuCtxSetCurrent, (Handle))                                                                           \
  X(module_load, cuModuleLoadData, (Handle *, const void *))                                                          \
  X(module_unload, cuModuleUnload, (Handle))                                                                          \
  X(module_function, cuModuleGetFunction, (Handle *, Handle, const char *))                                           \
  X(function_get, cuFuncGetAttribute, (int *, int, Handle))                                                           \
  X(function_set, cuFuncSetAttribute, (Handle, int, int))                                                             \
  X(stream_create, cuStreamCreate, (Handle *, unsigned))                                                              \
  X(stream_destroy, cuStreamDestroy_v2, (Handle))                                                                     \
  X(stream_wait, cuStreamSynchronize, (Handle))                                                                       \
  X(capture_begin, cuStreamBeginCapture_v2, (Handle, int))                                                            \
  X(capture_end, cuStreamEndCapture, (Handle, Handle *))                                                              \
  X(graph_instantiate, cuGraphInstantiateWithFlags, (Handle *, Handle, unsigned long long))                           \
  X(graph_destroy, cuGraphDestroy, (Handle))                                                                          \
  X(graph_launch, cuGraphLaunch, (Handle, Handle))                                                                    \
  X(graph_forget, cuGraphExecDestroy, (Handle))                                                                       \
  X(memory, cuMemAlloc_v2, (unsigned long long *, size_t))                                                            \
  X(memory_free, cuMemFree_v2, (unsigned long long))                                                                  \
  X(pinned, cuMemHostAlloc, (Handle *, size_t, unsigned))                                                             \
  X(pinned_free, cuMemFreeHost, (Handle))                                                                             \
  X(zero, cuMemsetD8Async, (unsigned long long, unsigned char, size_t, Handle))                                       \
  X(copy, cuMemcpyAsync, (unsigned long long, unsigned long long, size_t, Handle))                                    \
  X(launch, cuLaunchKernel, (Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Handle,    \
                             Handle *, Handle *))

struct Driver {
#define MW_CUDA_MEMBER(member, name, parameters) int (*member) parameters = nullptr;
  MW_CUDA_CALLS(MW_CUDA_MEMBER)
#undef MW_CUDA_MEMBER
  // clang-format on

  // The driver of this machine. CudaError where there is none, or one that is too old (before 11.4).
  static const Driver &found();
  // CudaError with `what` and the driver's own name of the error, if `code` is one.
  void check(int code, const char *what) const;
};

// Values of cuda.h's enumerations that we use.
enum {
  kAttributeProcessors = 16,
  kAttributeMajor = 75,
  kAttributeMinor = 76,
  kAttributeSharedBytes = 97,
  kFunctionStaticShared = 1,
  kFunctionMostDynamicShared = 8,
  kStreamNonBlocking = 1,
  kCaptureThreadLocal = 1,
  kNoBinaryForGpu = 209
};

// Whether kernels that nvcc put together are as long as they say: the driver is given no length. True of what is no
// such file.
bool is_whole(const std::vector<uint8_t> &fatbin);

// One GPU, its primary context retained.
class Device {
 public:
  explicit Device(int number);
  ~Device();
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;

  // Makes it that of this thread's calls.
  void enter() const { driver.check(driver.context_set(context_), "the GPU's context"); }

  const Driver &driver;
  int number = 0, processors = 0, shared_bytes = 0, capability = 0;
  std::string name;

 private:
  int device_ = 0;
  Handle context_ = nullptr;
};

// Memory on the GPU or pinned in the host's, at least as large as was asked; it grows by doubling.
class Room {
 public:
  Room(const Device &device, bool pinned) : device_(device), pinned_(pinned) {}
  ~Room() { free(); }
  Room(const Room &) = delete;
  Room &operator=(const Room &) = delete;

  bool has(size_t bytes) const { return bytes <= bytes_; }
  // What was in it is lost where it grows; memory of the GPU is zeros then, once `stream` has come so far.
  void grow(size_t bytes, Handle stream);
  Address address() const { return at_; }
  template <class T> T *as() const { return reinterpret_cast<T *>(at_); }

 private:
  void free();

  const Device &device_;
  bool pinned_;
  Address at_ = 0;
  size_t bytes_ = 0;
};

}  // namespace millwork::cuda
