// aligned_alloc, from which the kernel has its tables, with a page beside the memory that can't be touched: before it,
// or (GUARDED=behind) behind it. A gather is nothing that a sanitizer sees. To be preloaded; what it gives is never
// freed.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

extern "C" __attribute__((visibility("default"))) void *aligned_alloc(size_t, size_t bytes) noexcept {
  const char *guarded = std::getenv("GUARDED");
  const size_t page = size_t(sysconf(_SC_PAGESIZE)), whole = (bytes + page - 1) / page * page;
  auto *all = static_cast<char *>(mmap(nullptr, whole + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (all == MAP_FAILED || mprotect(all + page, whole, PROT_READ | PROT_WRITE) != 0) return nullptr;
  return guarded && std::strcmp(guarded, "behind") == 0 ? all + page + whole - bytes : all + page;
}
