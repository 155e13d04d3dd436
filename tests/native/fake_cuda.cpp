// A CUDA driver, libcuda.so.1, of GPUs that are emulated lane by lane (emulate.cpp): what compile/kernel/cuda calls of
// one. Memory on a GPU can't be touched but by its calls: the page is out of reach meanwhile, and who does dies.
// FAKE_CUDA_GPUS: how many there are (1); FAKE_CUDA_REFUSES: a call that fails, by the driver's name, as for want of
// memory; FAKE_CUDA_MOST: bytes that there are in one piece.
#include <dlfcn.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "emulate.cpp"

#include "cuda/cuda_device.h"
#include "cuda/cuda_runner.h"
#include "postprocess.h"

// The host's idea of a kernel's parameters is the kernel's own.
static_assert(sizeof(millwork::cuda::Given) == sizeof(MwGiven));
#define SAME(field) static_assert(offsetof(millwork::cuda::Given, field) == offsetof(MwGiven, field))
// clang-format off
SAME(search); SAME(feature); SAME(column); SAME(member); SAME(set_start); SAME(sentinel); SAME(tree); SAME(tree_at);
SAME(tree_id); SAME(tree_slot); SAME(slot_target); SAME(deep); SAME(leaf_row); SAME(leaf_value); SAME(output_start);
SAME(base); SAME(group); SAME(rows); SAME(ranks); SAME(values); SAME(sums); SAME(arrived); SAME(out); SAME(n); SAME(stride);
SAME(inputs); SAME(features); SAME(columns); SAME(sentinels); SAME(trees); SAME(outputs); SAME(leaf_stride); SAME(groups);
SAME(or_equal); SAME(average); SAME(base_last); SAME(postprocess); SAME(wide); SAME(kind); SAME(staged); SAME(few); SAME(room);
// clang-format on
static_assert(kTreeBytes == millwork::cuda::kTreeBytes && kWide == millwork::cuda::kWide);
#undef SAME
#define SAME(postprocess) static_assert(uint32_t(postprocess) == uint32_t(millwork::postprocess))
// clang-format off
SAME(kIdentity); SAME(kSigmoid); SAME(kBinary); SAME(kSoftmax); SAME(kExp); SAME(kHinge); SAME(kBinaryHinge);
SAME(kBinaryRaw); SAME(kSort); SAME(kMeanVariance);
// clang-format on
static_assert(kMeanVariance + 1 == millwork::kPostprocesses);

namespace {

using Address = unsigned long long;
using Handle = void *;
using Call = std::function<int()>;
using Graph = std::vector<Call>;

enum { kInvalid = 1, kNoMemory = 2, kInvalidImage = 200, kNoBinary = 209, kNotFound = 500, kLaunchFailed = 719 };
constexpr size_t kPage = 4096;
constexpr char kImage[] = "kernels";  // what the tests' forest.fatbin begins with

struct Stream {
  Graph *recording = nullptr;
};

std::recursive_mutex lock;
std::map<Address, size_t> memory;  // on the GPUs: whole pages
int entered = 0;

// While it lives, memory on the GPUs can be reached.
struct Entered {
  std::lock_guard<std::recursive_mutex> held{lock};
  Entered() {
    if (!entered++) protect(PROT_READ | PROT_WRITE);
  }
  ~Entered() {
    if (!--entered) protect(PROT_NONE);
  }
  static void protect(int how) {
    for (const auto &[at, size] : memory) mprotect(reinterpret_cast<void *>(at), size, how);
  }
};

bool refuses(const char *name) {
  const char *which = std::getenv("FAKE_CUDA_REFUSES");
  return which && std::strcmp(which, name) == 0;
}

int gpus() {
  const char *text = std::getenv("FAKE_CUDA_GPUS");
  return text ? std::atoi(text) : 1;
}

thread_local int current = -1;  // the GPU of this thread's calls

// Now, or when the graph that is recorded is launched.
int on(Handle stream, Call call) {
  if (current < 0) return kInvalid;
  auto *own = static_cast<Stream *>(stream);
  if (own->recording) return own->recording->push_back(std::move(call)), 0;
  const Entered inside;
  return call();
}

// Whether [at, at + size) isn't half in a GPU's memory, or beyond what was asked of it.
bool sound(Address at, size_t size) {
  const auto after = memory.upper_bound(at);
  if (after == memory.begin()) return true;
  const auto &[from, has] = *std::prev(after);
  return at >= from + has || at + size <= from + has;
}

}  // namespace

#define FAKE extern "C" __attribute__((visibility("default"))) int
#define REFUSED(name) \
  if (refuses(name)) return kNoMemory

FAKE cuInit(unsigned) { return gpus() ? 0 : 100; }
FAKE cuGetErrorName(int code, const char **name) {
  *name = code == kNoMemory   ? "CUDA_ERROR_OUT_OF_MEMORY"
          : code == kNoBinary ? "CUDA_ERROR_NO_BINARY_FOR_GPU"
                              : "CUDA_ERROR_OF_SOME_KIND";
  return 0;
}
FAKE cuDeviceGet(int *device, int number) { return *device = number, number < gpus() ? 0 : 101; }
FAKE cuDeviceGetName(char *name, int size, int) { return std::strncpy(name, "Emulated", size_t(size)), 0; }
FAKE cuDeviceGetAttribute(int *value, int which, int) {
  const std::map<int, int> known{{16, 4}, {75, 9}, {76, 0}, {97, 100'000}};
  return *value = known.at(which), 0;
}
FAKE cuDevicePrimaryCtxRetain(Handle *context, int device) {
  return *context = reinterpret_cast<Handle>(intptr_t(device + 1)), 0;
}
FAKE cuDevicePrimaryCtxRelease_v2(int) { return 0; }
FAKE cuCtxSetCurrent(Handle context) { return current = int(reinterpret_cast<intptr_t>(context)) - 1, 0; }
FAKE cuModuleLoadData(Handle *module, const void *image) {
  if (std::memcmp(image, "another GPU", 11) == 0) return kNoBinary;
  *module = &lock;
  return std::memcmp(image, kImage, sizeof kImage - 1) ? kInvalidImage : 0;
}
FAKE cuModuleUnload(Handle) { return 0; }
FAKE cuModuleGetFunction(Handle *function, Handle, const char *name) {
  Dl_info own;
  dladdr(reinterpret_cast<void *>(&cuInit), &own);
  *function = dlsym(dlopen(own.dli_fname, RTLD_NOW | RTLD_NOLOAD), name);
  return *function ? 0 : kNotFound;
}
FAKE cuFuncGetAttribute(int *value, int, Handle) { return *value = 16, 0; }
FAKE cuFuncSetAttribute(Handle, int, int value) { return value == 100'000 - 16 ? 0 : kInvalid; }
FAKE cuStreamCreate(Handle *stream, unsigned) { return *stream = new Stream, 0; }
FAKE cuStreamDestroy_v2(Handle stream) { return delete static_cast<Stream *>(stream), 0; }
FAKE cuStreamSynchronize(Handle stream) { return static_cast<Stream *>(stream)->recording ? kInvalid : 0; }
FAKE cuStreamBeginCapture_v2(Handle stream, int) { return static_cast<Stream *>(stream)->recording = new Graph, 0; }
FAKE cuStreamEndCapture(Handle stream, Handle *graph) {
  *graph = std::exchange(static_cast<Stream *>(stream)->recording, nullptr);
  return 0;
}
FAKE cuGraphInstantiateWithFlags(Handle *made, Handle graph, unsigned long long) {
  REFUSED("cuGraphInstantiateWithFlags");
  return *made = new Graph(*static_cast<Graph *>(graph)), 0;
}
FAKE cuGraphDestroy(Handle graph) { return delete static_cast<Graph *>(graph), 0; }
FAKE cuGraphExecDestroy(Handle graph) { return delete static_cast<Graph *>(graph), 0; }
FAKE cuGraphLaunch(Handle graph, Handle stream) {
  REFUSED("cuGraphLaunch");
  for (const Call &call : *static_cast<Graph *>(graph))
    if (const int code = on(stream, call)) return code;
  return 0;
}
FAKE cuMemAlloc_v2(Address *at, size_t size) {
  const Entered inside;
  REFUSED("cuMemAlloc_v2");
  if (const char *most = std::getenv("FAKE_CUDA_MOST"); most && size > size_t(std::atol(most))) return kNoMemory;
  const size_t whole = (size + kPage - 1) / kPage * kPage;
  void *got = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (current < 0 || got == MAP_FAILED) return kInvalid;
  std::memset(got, 0xA7, whole);
  *at = reinterpret_cast<Address>(got);
  memory[*at] = whole;
  return 0;
}
FAKE cuMemFree_v2(Address at) {
  const Entered inside;
  const auto found = memory.find(at);
  if (current < 0 || found == memory.end()) return kInvalid;
  munmap(reinterpret_cast<void *>(at), found->second);
  memory.erase(found);
  return 0;
}
FAKE cuMemHostAlloc(Handle *at, size_t size, unsigned) {
  REFUSED("cuMemHostAlloc");
  return *at = std::malloc(size), 0;
}
FAKE cuMemFreeHost(Handle at) { return std::free(at), 0; }
FAKE cuMemsetD8Async(Address at, unsigned char value, size_t size, Handle stream) {
  return on(stream, [=] {
    return sound(at, size) ? std::memset(reinterpret_cast<void *>(at), value, size), 0 : int(kInvalid);
  });
}
FAKE cuMemcpyAsync(Address to, Address from, size_t size, Handle stream) {
  REFUSED("cuMemcpyAsync");
  return on(stream, [=] {
    if (!sound(to, size) || !sound(from, size)) return int(kInvalid);
    std::memmove(reinterpret_cast<void *>(to), reinterpret_cast<const void *>(from), size);
    return 0;
  });
}
FAKE cuLaunchKernel(Handle function, unsigned x, unsigned y, unsigned, unsigned threads, unsigned, unsigned,
                    unsigned shared, Handle stream, Handle *parameters, Handle *) {
  REFUSED("cuLaunchKernel");
  MwGiven given;
  std::memcpy(&given, parameters[0], sizeof given);
  if (!x || !y || y > 65535 || threads % 32 || threads > 256 || shared > 100'000 - 16) return kInvalid;
  return on(stream, [=] {
    return emulate(reinterpret_cast<void (*)(MwGiven)>(function), x, y, threads, shared, &given, 7) ? int(kLaunchFailed)
                                                                                                    : 0;
  });
}
