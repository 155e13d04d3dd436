#include "cuda_device.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>

namespace millwork::cuda {
namespace {

constexpr char kLibrary[] = "libcuda.so.1";
constexpr uint32_t kFatbin = 0xba55ed50;  // how nvcc's files begin
constexpr size_t kLeast = 1 << 16;        // bytes of a Room

Driver load() {
  void *library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (!library) throw CudaError(std::string("no CUDA driver on this machine: ") + dlerror());
  Driver out;
#define MW_CUDA_FIND(member, name, parameters)                             \
  out.member = reinterpret_cast<int(*) parameters>(dlsym(library, #name)); \
  if (!out.member) throw CudaError("the CUDA driver is too old: it has no " #name);
  MW_CUDA_CALLS(MW_CUDA_FIND)
#undef MW_CUDA_FIND
  out.check(out.init(0), "the CUDA driver doesn't start");
  return out;
}

}  // namespace

const Driver &Driver::found() {
  static const Driver driver = load();  // tried again with the next model where it throws
  return driver;
}

void Driver::check(int code, const char *what) const {
  if (!code) return;
  const char *name = nullptr;
  if (error_name(code, &name) || !name) name = "an unknown error";
  throw CudaError(std::string(what) + ": " + name);
}

bool is_whole(const std::vector<uint8_t> &fatbin) {
  struct {
    uint32_t magic;
    uint16_t version, bytes;
    uint64_t rest;
  } head{};
  static_assert(sizeof head == 16);
  if (fatbin.size() < sizeof head.magic) return true;
  std::memcpy(&head, fatbin.data(), std::min(sizeof head, fatbin.size()));
  if (head.magic != kFatbin) return true;
  return fatbin.size() >= sizeof head && head.bytes <= fatbin.size() && head.rest <= fatbin.size() - head.bytes;
}

Device::Device(int number) : driver(Driver::found()), number(number) {
  driver.check(driver.device_get(&device_, number), ("GPU " + std::to_string(number)).c_str());
  char text[256] = "";
  driver.check(driver.device_name(text, sizeof text, device_), "the GPU's name");
  name = text;
  const auto attribute = [&](int which) {
    int value = 0;
    driver.check(driver.device_attribute(&value, which, device_), "a property of the GPU");
    return value;
  };
  processors = attribute(kAttributeProcessors);
  shared_bytes = attribute(kAttributeSharedBytes);
  capability = 10 * attribute(kAttributeMajor) + attribute(kAttributeMinor);
  driver.check(driver.context_retain(&context_, device_), "the GPU's context");
}

Device::~Device() {
  if (context_) driver.context_release(device_);
}

void Room::grow(size_t bytes, Handle stream) {
  const Driver &driver = device_.driver;
  const size_t wanted = std::max({bytes, 2 * bytes_, kLeast});
  free();
  if (pinned_) {
    Handle at = nullptr;
    driver.check(driver.pinned(&at, wanted, 0), "pinned memory");
    at_ = reinterpret_cast<Address>(at);
  } else {
    unsigned long long at = 0;
    driver.check(driver.memory(&at, wanted), "the GPU's memory");
    at_ = at;
    driver.check(driver.zero(at_, 0, wanted, stream), "the GPU's memory");
  }
  bytes_ = wanted;
}

void Room::free() {
  if (!at_) return;
  // Whichever thread ends it, it is the GPU's own context that it is given back in.
  try {
    device_.enter();
  } catch (const CudaError &) {
    return;  // the driver has ended, and the memory with it
  }
  if (pinned_)
    device_.driver.pinned_free(as<void>());
  else
    device_.driver.memory_free(at_);
  at_ = 0, bytes_ = 0;
}

}  // namespace millwork::cuda
