#include "cuda_runner.h"

#include <algorithm>
#include <cstring>

namespace millwork::cuda {
namespace {

constexpr size_t kPart = 1 << 17;  // rows whose ranks are in memory at a time
constexpr uint32_t kTileBytes = 128, kThreads = 256, kFewThreads = 128, kStage = 32768, kWarps = 8;
constexpr size_t kMostValues = size_t(1) << 28;

constexpr size_t over(size_t a, size_t b) { return (a + b - 1) / b; }

uint32_t rows_of_word(const Numbers &n) { return 4 / n.rank_bytes; }
size_t sum_bytes(const Numbers &n) { return n.doubles ? 8 : 4; }

std::array<std::string, Resident::kKernels> kernel_names(const Numbers &n) {
  const std::string ranks = n.rank_bytes == 1 ? "u8" : "u16", sums = n.doubles ? "f64" : "f32";
  const std::string both = ranks + "_" + sums, wide = both + (n.wide ? "_wide" : "");
  return {"mw_few_" + both, "mw_rank_" + ranks, "mw_rows_" + wide, "mw_tiles_" + wide, "mw_finish_" + sums};
}

}  // namespace

// ── the forest on the GPU ─────────────────────────────────────────────────────────────────────────────────────────

Resident::Resident(std::shared_ptr<const Forest> own, const std::vector<uint8_t> &fatbin, int number)
    : forest(std::move(own)), device(number) {
  const Driver &driver = device.driver;
  Handle stream = nullptr;
  device.enter();
  try {
    load(fatbin);
    driver.check(driver.stream_create(&stream, kStreamNonBlocking), "a stream of the GPU");
    upload(stream);
    driver.check(driver.stream_wait(stream), "the forest's way to the GPU");
  } catch (...) {
    if (stream) driver.stream_destroy(stream);
    if (module_) driver.module_unload(module_);
    throw;
  }
  driver.stream_destroy(stream);
}

Resident::~Resident() {
  try {
    device.enter();
    device.driver.module_unload(module_);
  } catch (const CudaError &) {  // the driver has ended, and all of this with it
  }
}

void Resident::load(const std::vector<uint8_t> &fatbin) {
  const Driver &driver = device.driver;
  const int code = driver.module_load(&module_, fatbin.data());
  if (code == kNoBinaryForGpu)
    throw CudaError("forest.fatbin has no code for " + device.name + " (compute capability " +
                    std::to_string(device.capability / 10) + "." + std::to_string(device.capability % 10) + ")");
  driver.check(code, "forest.fatbin");
  const auto names = kernel_names(forest->numbers);
  for (size_t i = 0; i < names.size(); i++) {
    int fixed = 0;
    driver.check(driver.module_function(&kernels_[i], module_, names[i].c_str()), names[i].c_str());
    driver.check(driver.function_get(&fixed, kFunctionStaticShared, kernels_[i]), names[i].c_str());
    driver.check(driver.function_set(kernels_[i], kFunctionMostDynamicShared, device.shared_bytes - fixed),
                 names[i].c_str());
  }
}

void Resident::upload(Handle stream) {
  const Numbers &n = forest->numbers;
  Address *into[] = {&given.search,      &given.feature, &given.column,   &given.member,     &given.set_start,
                     &given.sentinel,    &given.tree,    &given.tree_at,  &given.tree_id,    &given.tree_slot,
                     &given.slot_target, &given.deep,    &given.leaf_row, &given.leaf_value, &given.output_start,
                     &given.base,        &given.group};
  static_assert(sizeof into / sizeof *into == kSections - 1);
  for (uint32_t kind = 1; kind < kSections; kind++) {
    const Bytes bytes = forest->section(Section(kind));
    rooms_.push_back(std::make_unique<Room>(device, false));
    rooms_.back()->grow(std::max<size_t>(bytes.size, 16), stream);
    *into[kind - 1] = rooms_.back()->address();
    if (bytes.size)
      device.driver.check(
          device.driver.copy(rooms_.back()->address(), reinterpret_cast<Address>(bytes.data), bytes.size, stream),
          "the forest's way to the GPU");
  }
  given.inputs = n.inputs, given.columns = n.columns, given.trees = n.trees, given.outputs = n.outputs;
  given.leaf_stride = n.leaf_stride, given.postprocess = n.postprocess, given.wide = n.wide;
  given.or_equal = n.or_equal, given.average = n.average, given.base_last = n.base_last;
  given.features = uint32_t(forest->section(kFeature).size / (6 * 4));
  given.sentinels = uint32_t(forest->section(kSentinel).size / 4);
  given.groups = uint32_t(forest->section(kGroup).size / 4 - 1);
}

// ── calls ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Runner::Runner(std::shared_ptr<const Resident> resident, size_t crossover)
    : resident_(std::move(resident)), driver_(resident_->device.driver), numbers_(resident_->forest->numbers),
      crossover_(crossover), rows_(device(), false), answers_(device(), false), pinned_rows_(device(), true),
      pinned_answers_(device(), true), ranks_(device(), false), values_(device(), false), sums_(device(), false),
      arrived_(device(), false) {
  device().enter();
  driver_.check(driver_.stream_create(&stream_, kStreamNonBlocking), "a stream of the GPU");
}

void Runner::reserve_small(size_t most) {
  const size_t n = std::max<size_t>(std::min(most, kGraphRows), 1);
  reserve(n, {true, true, true, true});
  reserve_work(std::min(n, std::max<size_t>(crossover_, 1)));
}

Runner::~Runner() {
  try {
    device().enter();
    driver_.stream_wait(stream_);
    forget();
    driver_.stream_destroy(stream_);
  } catch (const CudaError &) {  // the driver has ended
  }
}

void Runner::reserve(size_t n, const Needs &needs) {
  device().enter();
  const size_t given = n * numbers_.inputs * sizeof(float), wanted = n * numbers_.answers * sizeof(float);
  if (needs.rows) make_room(rows_, given);
  if (needs.answers) make_room(answers_, wanted);
  if (needs.pinned_rows) make_room(pinned_rows_, given);
  if (needs.pinned_answers) make_room(pinned_answers_, wanted);
  reserve_work(std::min(n, kPart));
  if (n > kPart && n % kPart) reserve_work(n % kPart);  // the last part may take another plan
}

void Runner::reserve_work(size_t n) {
  const Launch first = launches(n).front();
  const bool is_few = first.kernel == Resident::kFew;
  make_room(ranks_, is_few ? 16 : size_t(first.x) * numbers_.columns * kTileBytes);
  make_room(values_, is_few ? (first.x * values() << first.few) * sum_bytes(numbers_) : 16);
  make_room(sums_, n * numbers_.outputs * sum_bytes(numbers_));
  make_room(arrived_, is_few ? first.x * sizeof(uint32_t) : 16);
}

// What grows ends all graphs: they have its address.
void Runner::make_room(Room &room, size_t bytes) {
  bytes = std::max<size_t>(bytes, 16);
  if (room.has(bytes)) return;
  forget();
  room.grow(bytes, stream_);
}

void Runner::copy(Address to, Address from, size_t bytes) {
  if (bytes) driver_.check(driver_.copy(to, from, bytes, stream_), "a copy");
}

void Runner::enqueue(Address rows, size_t n, Address out) {
  for (size_t at = 0; at < n; at += kPart)
    part(rows + at * numbers_.inputs * sizeof(float), std::min(kPart, n - at),
         out + at * numbers_.answers * sizeof(float));
}

void Runner::part(Address rows, size_t n, Address out) {
  Given given = resident_->given;
  given.rows = rows, given.out = out, given.n = n, given.stride = numbers_.inputs;
  given.ranks = ranks_.address(), given.values = values_.address();
  given.sums = sums_.address(), given.arrived = arrived_.address();
  for (const Launch &one : launches(n)) {
    given.staged = one.staged, given.few = one.few, given.room = one.shared;
    void *parameters[] = {&given};  // copied by the call
    driver_.check(driver_.launch(resident_->kernel(one.kernel), one.x, one.y, 1, one.threads, 1, 1, one.shared, stream_,
                                 parameters, nullptr),
                  "a kernel");
  }
}

std::vector<Runner::Launch> Runner::launches(size_t n) const {
  Launch alone{};
  if (n <= crossover_ && few(n, alone)) return {alone};
  const uint32_t per = rows_of_word(numbers_);
  const size_t tile = 32 * per, tiles = over(n, tile), processors = size_t(device().processors),
               shared = size_t(device().shared_bytes);
  const bool tiled = tiles >= kWarps * processors;
  const size_t split = tiled ? 1 : per, bytes_of_tile = size_t(numbers_.columns) * kTileBytes;
  size_t each = std::max<size_t>(1, std::min(kWarps / split, over(tiles, processors)));
  while (each > 1 && kTreeBytes + each * bytes_of_tile > shared) each /= 2;
  const bool staged = kTreeBytes + each * bytes_of_tile <= shared;
  const Launch rank{Resident::kRank, uint32_t(tiles), 1, kThreads, uint32_t(tile * 33 * 4), 0, 0};
  const uint32_t blocks = uint32_t(over(tiles, each)),
                 parts = numbers_.wide ? uint32_t(over(numbers_.outputs, kWide)) : 1;
  const uint32_t threads = uint32_t(32 * each * split),
                 held = uint32_t(kTreeBytes + (staged ? each * bytes_of_tile : 0));
  const Launch walk{tiled ? Resident::kTiles : Resident::kRows, blocks, parts, threads, held, staged, 0};
  return {rank, walk, {Resident::kFinish, uint32_t(over(n, kThreads)), 1, kThreads, 0, 0, 0}};
}

// The small-batch plan; false where their ranks or their values take too much memory.
bool Runner::few(size_t n, Launch &out) const {
  const size_t trees = numbers_.trees, size = size_t(numbers_.columns) * numbers_.rank_bytes;
  uint32_t shift = 0;
  while (shift < 3 && size_t(1) << shift < n) shift++;
  while (shift && size << shift > kStage) shift--;
  const size_t tiles = over(n, size_t(1) << shift);
  if (size > kStage || !trees || (tiles * values() << shift) * 8 > kMostValues) return false;
  const size_t blocks =
      std::max<size_t>(1, std::min(over(trees << shift, kFewThreads), 4 * size_t(device().processors) / tiles));
  const size_t shared =
      std::max({size << shift, std::min<size_t>(kStage, (values() << shift) * sum_bytes(numbers_)), size_t(64)});
  out = {Resident::kFew, uint32_t(tiles), uint32_t(blocks), kFewThreads, uint32_t(over(shared, 16) * 16), 0, shift};
  return true;
}

// Values that are added for a row.
size_t Runner::values() const { return size_t(numbers_.trees) * (numbers_.wide ? numbers_.outputs : 1); }

// The first call of a size is launched plainly: what the driver loads late is loaded then, and not while the graph is
// recorded, for those to come.
void Runner::replay(size_t n) {
  const auto kept = graphs_.find(n);
  if (kept != graphs_.end() && kept->second)
    return driver_.check(driver_.graph_launch(kept->second, stream_), "a CUDA graph");
  there_and_back(n);
  if (kept != graphs_.end() || graphs_.size() >= kGraphs) return;
  wait();
  Handle &graph = graphs_[n];
  graph = record(n);
}

void Runner::there_and_back(size_t n) {
  copy(rows_.address(), pinned_rows_.address(), n * numbers_.inputs * sizeof(float));
  enqueue(rows_.address(), n, answers_.address());
  copy(pinned_answers_.address(), answers_.address(), n * numbers_.answers * sizeof(float));
}

// None where the GPU has no room for one, or something keeps it from being recorded.
Handle Runner::record(size_t n) {
  Handle graph = nullptr, made = nullptr;
  if (driver_.capture_begin(stream_, kCaptureThreadLocal)) return nullptr;
  try {
    there_and_back(n);
  } catch (...) {
    driver_.capture_end(stream_, &graph);
    if (graph) driver_.graph_destroy(graph);
    throw;
  }
  if (driver_.capture_end(stream_, &graph)) return nullptr;
  if (driver_.graph_instantiate(&made, graph, 0)) made = nullptr;
  driver_.graph_destroy(graph);
  return made;
}

void Runner::wait() { driver_.check(driver_.stream_wait(stream_), "the GPU"); }

void Runner::forget() {
  for (const auto &[n, graph] : graphs_)
    if (graph) driver_.graph_forget(graph);
  graphs_.clear();
}

}  // namespace millwork::cuda
