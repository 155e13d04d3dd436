// Compiled, never run: what compile/kernel/cuda/cuda_device.h declares of CUDA's driver, against CUDA's own cuda.h.
#include <cuda.h>

#include <type_traits>

#include "cuda/cuda_device.h"

// A pointer for a pointer, a number for a number of its size: we have no names for the driver's own types.
template <class Ours, class Theirs>
constexpr bool kAlike = sizeof(Ours) == sizeof(Theirs) && std::is_pointer_v<Ours> == std::is_pointer_v<Theirs>;

template <class Ours, class Theirs> struct Same : std::false_type {};
template <class A, class... As, class B, class... Bs>
struct Same<A (*)(As...), B (*)(Bs...)>
    : std::bool_constant<sizeof...(As) == sizeof...(Bs) && kAlike<A, B> && (kAlike<As, Bs> && ...)> {};

#define MW_HELD(member, name, parameters) \
  static_assert(Same<decltype(millwork::cuda::Driver::member), decltype(&name)>::value, #name);
MW_CUDA_CALLS(MW_HELD)

using namespace millwork::cuda;
static_assert(int(kAttributeProcessors) == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
static_assert(int(kAttributeMajor) == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(int(kAttributeMinor) == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
static_assert(int(kAttributeSharedBytes) == CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
static_assert(int(kFunctionStaticShared) == CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
static_assert(int(kFunctionMostDynamicShared) == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
static_assert(int(kStreamNonBlocking) == CU_STREAM_NON_BLOCKING);
static_assert(int(kCaptureThreadLocal) == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
static_assert(int(kNoBinaryForGpu) == CUDA_ERROR_NO_BINARY_FOR_GPU);
