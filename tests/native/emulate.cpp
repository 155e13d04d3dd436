// The kernels of forest.cu on a CPU, lane by lane.
#include "emulation.h"

#include MW_SOURCE

#include <ucontext.h>

#include <cstdlib>
#include <cstring>
#include <vector>

namespace emulation {
unsigned char *shared;
alignas(16) unsigned char one[16];
Place thread, block, block_size, grid_size;

namespace {
constexpr size_t kStack = 64 * 1024, kMargin = 256;
constexpr unsigned char kPoison = 0xa5;
enum State : char { kReady, kWaiting, kEnded };

struct Fibre {
  ucontext_t at;
  std::vector<unsigned char> stack;
  State state;
};

std::vector<Fibre> fibres;
ucontext_t scheduler;
unsigned running;
void (*kernel)(MwGiven);
const MwGiven *given;

void body() {
  kernel(*given);
  fibres[running].state = kEnded;
  swapcontext(&fibres[running].at, &scheduler);
}

// 0, 1, …; or from the last one on; or shuffled by `order`.
std::vector<unsigned> ordered(unsigned n, unsigned order, unsigned &seed) {
  std::vector<unsigned> out(n);
  for (unsigned i = 0; i < n; i++) out[i] = order == 1 ? n - 1 - i : i;
  for (unsigned i = n; order > 1 && i > 1; i--) {
    seed = seed * 1664525u + 1013904223u;
    const unsigned other = (seed >> 8) % i, kept = out[i - 1];
    out[i - 1] = out[other], out[other] = kept;
  }
  return out;
}

// Whether all lanes met at every barrier, and ended together.
bool run_block(unsigned order, unsigned &seed) {
  const unsigned n = block_size.x;
  for (Fibre &own : fibres) {
    getcontext(&own.at);
    own.at.uc_stack.ss_sp = own.stack.data();
    own.at.uc_stack.ss_size = own.stack.size();
    own.at.uc_link = nullptr;
    makecontext(&own.at, body, 0);
  }
  for (;;) {
    for (unsigned i : ordered(n, order, seed)) {
      fibres[i].state = kReady;
      running = i, thread = {i, 0};
      swapcontext(&scheduler, &fibres[i].at);
    }
    unsigned ended = 0;
    for (const Fibre &own : fibres) ended += own.state == kEnded;
    if (ended == n) return true;
    if (ended) return false;
  }
}
}  // namespace

void wait_for_all() {
  fibres[running].state = kWaiting;
  swapcontext(&fibres[running].at, &scheduler);
}
}  // namespace emulation

enum { kDone = 0, kDiverged = 1, kPastShared = 2 };

// One launch. order: 0 forwards, 1 backwards, else the seed of a shuffle. kDiverged: some lanes ended while others
// waited; kPastShared: a lane wrote behind the block's shared memory.
extern "C" __attribute__((visibility("default"))) int emulate(void (*kernel)(MwGiven), unsigned x, unsigned y,
                                                              unsigned threads, unsigned bytes, const MwGiven *given,
                                                              unsigned order) {
  using namespace emulation;
  emulation::kernel = kernel, emulation::given = given;
  block_size = {threads, 1}, grid_size = {x, y};
  fibres.resize(threads);
  for (Fibre &own : fibres) own.stack.resize(kStack);
  const size_t room = (bytes + kMargin + 63) / 64 * 64;
  shared = static_cast<unsigned char *>(std::aligned_alloc(64, room));
  unsigned seed = order;
  int code = kDone;
  for (unsigned i : ordered(x * y, order, seed)) {
    block = {i % x, i / x};
    std::memset(shared, kPoison, room), std::memset(one, kPoison, sizeof one);
    if (!run_block(order, seed)) code = kDiverged;
    for (size_t b = bytes; b < room; b++)
      if (shared[b] != kPoison) code = kPastShared;
    if (code) break;
  }
  std::free(shared);
  return code;
}

extern "C" __attribute__((visibility("default"))) unsigned given_bytes() { return sizeof(MwGiven); }
