// The C interface: checks at the boundary, plans, threads.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <vector>

#include "answers.h"
#include "encoders.h"
#include "millwork.h"
#include "model.h"
#include "workers.h"

using namespace millwork;

struct mw_model {
  Model model;
  Workers workers;
};

namespace {

constexpr uint32_t kUnmeasured = 24;      // rows from which on blocks are taken where nothing was measured
constexpr size_t kMemory = 384 * 1024;    // bytes of rows that are encoded at a time, about a core's cache
constexpr size_t kManyTrees = 16 * 1024;  // trees times rows from which on another thread is worth waking
constexpr size_t kMostRows = size_t(1) << 31;

// One thread's memory, kept from call to call.
struct Scratch {
  std::vector<int8_t> bytes;
  std::vector<double> sums;
  std::vector<float> extra;
  int8_t *aligned(size_t n) {
    if (bytes.size() < n + 64) bytes.resize(n + 64);
    return reinterpret_cast<int8_t *>((reinterpret_cast<uintptr_t>(bytes.data()) + 63) / 64 * 64);
  }
};
thread_local Scratch scratch;

struct Call {
  const Model &m;
  int kind, plan;
  const float *rows;
  size_t n, stride;
  const uint8_t *categories;
  const std::vector<size_t> *offsets;
  void *out;
};

// The last step of one row: sums at `step` apart.
template <class T> void finish(const Call &c, size_t row, const T *sums, size_t step) {
  const Model &m = c.m;
  const size_t width = makes_pairs(m.postprocess) ? 2 : m.outputs;
  T margins[16];
  std::vector<T> more;
  T *own = margins;
  if (m.average || m.base_last) {
    if (m.outputs > 16) more.resize(m.outputs), own = more.data();
    for (uint32_t k = 0; k < m.outputs; k++) {
      const T sum = sums[k * step];
      own[k] = (m.average ? sum / T(m.trees ? m.trees : 1) : sum) + T(m.base[k]);
    }
    sums = own, step = 1;
  }
  if (c.kind == MW_MARGINS) {
    double *out = static_cast<double *>(c.out) + row * m.outputs;
    for (uint32_t k = 0; k < m.outputs; k++) out[k] = double(sums[k * step]);
  } else {
    answer<T>(m, sums, step, static_cast<float *>(c.out) + row * width);
  }
}

// Sums before the first tree, `step` of each output.
template <class T> void begin(const Model &m, T *sums, size_t step) {
  for (uint32_t k = 0; k < m.outputs; k++)
    for (size_t r = 0; r < step; r++) sums[k * step + r] = m.average || m.base_last ? T(0) : T(m.base[k]);
}

// Rows first to last by the small-batch plan; `extra`: the columns that encoders make of them.
template <class T> void row_by_row(const Call &c, size_t first, size_t last, const float *extra) {
  const Model &m = c.m;
  const size_t wide = m.encoded - m.columns;
  int8_t *bytes = scratch.aligned(size_t(m.n_bytes) + 256);
  if (scratch.sums.size() < m.outputs) scratch.sums.resize(m.outputs);
  T *sums = reinterpret_cast<T *>(scratch.sums.data());
  for (size_t r = first; r < last; r++) {
    begin<T>(m, sums, 1);
    int32_t *leaf = c.kind == MW_LEAVES ? static_cast<int32_t *>(c.out) + r * m.trees : nullptr;
    m.isa->encode_row(m, c.rows + r * c.stride, extra + (r - first) * wide, bytes);
    m.isa->row(m, bytes, 0, m.trees, sums, leaf, nullptr);
    if (!leaf) finish<T>(c, r, sums, 1);
  }
}

// The same in blocks.
template <class T> void in_blocks(const Call &c, size_t first, size_t last, const float *extra) {
  const Model &m = c.m;
  const size_t n = last - first, count = (n + kBlock - 1) / kBlock;
  int8_t *bytes = scratch.aligned(count * m.n_bytes * kBlock);
  const size_t each = size_t(m.outputs) * kBlock;
  if (scratch.sums.size() < count * each) scratch.sums.resize(count * each);
  T *sums = reinterpret_cast<T *>(scratch.sums.data());
  for (size_t b = 0; b < count; b++) begin<T>(m, sums + b * each, kBlock);
  m.isa->encode(m, Rows{c.rows + first * c.stride, c.stride, extra, n}, bytes);
  int32_t *leaf = c.kind == MW_LEAVES ? static_cast<int32_t *>(c.out) + first * m.trees : nullptr;
  m.isa->blocks(m, bytes, count, sums, leaf, n);
  if (leaf) return;
  for (size_t r = 0; r < n; r++) finish<T>(c, first + r, sums + r / kBlock * each + r % kBlock, kBlock);
}

// The columns that encoders make of rows first to last, in this thread's scratch; null where there are none.
int extra_columns(const Call &c, size_t first, size_t last, const float *&extra) {
  const Model &m = c.m;
  extra = nullptr;
  if (!m.encoders) return MW_OK;
  scratch.extra.resize((last - first) * m.encoders->columns() + 1);
  extra = scratch.extra.data();
  const size_t from = (*c.offsets)[first], to = (*c.offsets)[last];
  const bool well = m.encoders->run(c.rows + first * c.stride, c.stride, c.categories + from, to - from, last - first,
                                    scratch.extra.data());
  return well ? MW_OK : MW_CATEGORIES;
}

size_t crossover_of(const Model &m) { return m.crossover ? m.crossover : kUnmeasured; }

// A small batch and many trees: the threads share the trees, and values are added afterwards in the trees' order.
template <class T> int over_trees(const Call &c, Workers &workers, int threads) {
  const Model &m = c.m;
  const float *extra;
  if (const int code = extra_columns(c, 0, c.n, extra)) return code;
  const size_t wide = m.encoded - m.columns, room = (size_t(m.n_bytes) + 256 + 63) / 64 * 64;
  int8_t *bytes = scratch.aligned(c.n * room);
  std::vector<T> values(c.n * m.trees), sums(m.outputs);
  for (size_t r = 0; r < c.n; r++) m.isa->encode_row(m, c.rows + r * c.stride, extra + r * wide, bytes + r * room);
  const size_t share = (size_t(m.trees) / (4 * size_t(threads)) + 64) / 64 * 64, parts = (m.trees + share - 1) / share;
  workers.run(parts, threads, [&](size_t i) {
    const uint32_t first = uint32_t(i * share), last = uint32_t(std::min<size_t>(m.trees, (i + 1) * share));
    for (size_t r = 0; r < c.n; r++)
      m.isa->row(m, bytes + r * room, first, last, nullptr, nullptr, values.data() + r * m.trees);
  });
  for (size_t r = 0; r < c.n; r++) {
    begin<T>(m, sums.data(), 1);
    const T *value = values.data() + r * m.trees;
    for (uint32_t t = 0; t < m.trees; t++) sums[m.outputs == 1 ? 0 : size_t(m.tree[t].output)] += value[t];
    finish<T>(c, r, sums.data(), 1);
  }
  return MW_OK;
}

// Rows first to last by the plan that suits their number.
int part(const Call &c, size_t first, size_t last) {
  const Model &m = c.m;
  const float *extra;
  if (const int code = extra_columns(c, first, last, extra)) return code;
  const size_t wide = m.encoded - m.columns, crossover = crossover_of(m);
  size_t middle = last;  // rows from here on go one by one
  if (c.plan == MW_PLAN_ROWS)
    middle = first;
  else if (c.plan == MW_PLAN_AUTO && (last - first) % kBlock < crossover)
    middle = last - (last - first) % kBlock;
  if (c.plan == MW_PLAN_AUTO && crossover > kBlock && last - first < crossover) middle = first;
  if (middle > first)
    m.doubles ? in_blocks<double>(c, first, middle, extra) : in_blocks<float>(c, first, middle, extra);
  if (middle == last) return MW_OK;
  const float *rest = extra ? extra + (middle - first) * wide : nullptr;
  m.doubles ? row_by_row<double>(c, middle, last, rest) : row_by_row<float>(c, middle, last, rest);
  return MW_OK;
}

// Rows that are done together: as many blocks as stay in the cache, an even share for each thread.
size_t rows_of_a_part(const Model &m, size_t n, int threads) {
  const size_t block = size_t(m.n_bytes) * kBlock + size_t(m.outputs) * kBlock * 8;
  size_t blocks = std::max<size_t>(1, kMemory / block);
  if (threads > 1) {
    const size_t share = (n + size_t(threads) * kBlock - 1) / (size_t(threads) * kBlock);
    blocks = std::max<size_t>(1, std::min(blocks, (share + 3) / 4));
  }
  if (blocks > 1) blocks -= blocks % 2;
  return blocks * kBlock;
}

int predict(const mw_model *handle, Call c, size_t category_bytes, int threads) {
  const Model &m = handle->model;
  std::vector<size_t> offsets;
  if (m.encoders) {
    if (!c.categories || !m.encoders->split(c.categories, category_bytes, c.n, offsets)) return MW_CATEGORIES;
    c.offsets = &offsets;
  } else if (c.categories || category_bytes) {
    return MW_CATEGORIES;
  }
  Workers &workers = const_cast<mw_model *>(handle)->workers;
  const bool small = c.plan == MW_PLAN_ROWS || (c.plan == MW_PLAN_AUTO && c.n < crossover_of(m));
  if (threads > 1 && small && c.kind != MW_LEAVES && m.width == 1 && size_t(m.trees) * c.n >= kManyTrees &&
      c.n <= kBlock)
    return m.doubles ? over_trees<double>(c, workers, threads) : over_trees<float>(c, workers, threads);
  const size_t step = rows_of_a_part(m, c.n, threads), parts = (c.n + step - 1) / step;
  if (parts == 1) return part(c, 0, c.n);
  std::atomic<int> code{MW_OK};
  const auto one = [&](size_t i) {
    int own = MW_MEMORY;
    try {
      own = part(c, i * step, std::min(c.n, (i + 1) * step));
    } catch (const std::bad_alloc &) {
    }
    if (own != MW_OK) code = own;
  };
  workers.run(parts, threads, one);
  return code;
}

const Isa *choose(const char *name) {
  for (const Isa *isa : {&kAvx512, &kAvx2, &kPortable})
    if (name && *name ? std::strcmp(name, isa->name) == 0 : isa->supported()) return isa->supported() ? isa : nullptr;
  return nullptr;
}

int open_bytes(const uint8_t *bytes, size_t size, const char *name, mw_model **out) {
  const Isa *isa = choose(name);
  if (!isa) return MW_ISA;
  Packed packed{};
  if (const int code = parse(bytes, size, packed)) return code;
  auto made = std::make_unique<mw_model>();
  made->model.isa = isa;
  if (const int code = build(packed, made->model)) return code;
  *out = made.release();
  return MW_OK;
}

// Calls so that no exception leaves the library.
template <class F> int guarded(F &&call) {
  try {
    return call();
  } catch (const std::bad_alloc &) {
    return MW_MEMORY;
  } catch (...) {
    return MW_CORRUPT;
  }
}

// A file's bytes, mapped while this lives.
struct Mapped {
  int file = -1;
  void *bytes = MAP_FAILED;
  size_t size = 0;
  ~Mapped() {
    if (bytes != MAP_FAILED) munmap(bytes, size);
    if (file >= 0) close(file);
  }
  bool map(const char *path) {
    struct stat about;
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &about) != 0 || !S_ISREG(about.st_mode) || about.st_size <= 0) return false;
    size = size_t(about.st_size);
    bytes = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
    return bytes != MAP_FAILED;
  }
};

}  // namespace

extern "C" {

uint32_t mw_interface(void) { return MW_INTERFACE; }

const char *mw_message(int code) {
  switch (code) {
    case MW_OK: return "all is well";
    case MW_NULL: return "a pointer is missing";
    case MW_UNALIGNED: return "the rows, categories or answers aren't aligned to their numbers";
    case MW_SIZE: return "a size doesn't fit the model, or is too large";
    case MW_NO_FILE: return "the file can't be opened or read";
    case MW_NOT_PACKED: return "not a packed forest of this version";
    case MW_TRUNCATED: return "the packed forest is shorter or longer than it says";
    case MW_CHECKSUM: return "the packed forest has changed since it was written";
    case MW_CORRUPT: return "the packed forest holds a value outside its range";
    case MW_MEMORY: return "there is not enough memory";
    case MW_ISA: return "this instruction set isn't known, or this CPU lacks it";
    case MW_CATEGORIES: return "the categories are missing or malformed, or the model takes none";
    default: return "not a code of this library";
  }
}

int mw_open_bytes(const void *bytes, size_t size, const char *isa, mw_model **model) {
  if (!bytes || !model) return MW_NULL;
  if (reinterpret_cast<uintptr_t>(bytes) % 8) return MW_UNALIGNED;
  return guarded([&] { return open_bytes(static_cast<const uint8_t *>(bytes), size, isa, model); });
}

int mw_open(const char *path, const char *isa, mw_model **model) {
  if (!path || !model) return MW_NULL;
  return guarded([&] {
    Mapped mapped;
    if (!mapped.map(path)) return int(MW_NO_FILE);
    return open_bytes(static_cast<const uint8_t *>(mapped.bytes), mapped.size, isa, model);
  });
}

void mw_close(mw_model *model) { delete model; }

void mw_set_crossover(mw_model *model, uint32_t rows) {
  if (model) model->model.crossover = rows;
}

int mw_describe(const mw_model *handle, mw_shape *shape) {
  if (!handle || !shape) return MW_NULL;
  const Model &m = handle->model;
  *shape = {m.columns,
            m.encoders ? m.encoders->features() : 0,
            m.encoders && m.encoders->integers(),
            makes_pairs(m.postprocess) ? 2 : m.outputs,
            m.outputs,
            m.trees,
            m.nodes,
            m.crossover};
  return MW_OK;
}

const char *mw_isa(const mw_model *model) { return model ? model->model.isa->name : ""; }

int mw_predict(const mw_model *model, int kind, int plan, int threads, const float *rows, size_t n, size_t stride,
               const void *categories, size_t category_bytes, void *out) {
  if (!model) return MW_NULL;
  const Model &m = model->model;
  if (kind < MW_ANSWERS || kind > MW_LEAVES || plan < MW_PLAN_AUTO || plan > MW_PLAN_BLOCKS || threads < 1)
    return MW_SIZE;
  if (n >= kMostRows || stride < m.columns || stride > kMostRows) return MW_SIZE;
  if (n == 0) return MW_OK;
  if ((!rows && m.columns) || (!out && !(kind == MW_LEAVES && !m.trees))) return MW_NULL;
  const size_t item = kind == MW_MARGINS ? 8 : 4;
  if (reinterpret_cast<uintptr_t>(rows) % 4 || reinterpret_cast<uintptr_t>(out) % item) return MW_UNALIGNED;
  const Call call{m, kind, plan, rows, n, stride, static_cast<const uint8_t *>(categories), nullptr, out};
  return guarded([&] { return predict(model, call, category_bytes, threads); });
}
}
