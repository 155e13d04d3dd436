// libtriton_millwork.so: packed forests served by Triton without Python in a request's way.
//
// A model's version folder holds the packed file; config.pbtxt says `backend: "millwork"`, and as parameters `threads`
// and, where labels are answered, `decision` and `cut` (passes/program.py). Tensors: input__0 FP32 [N, F], input__1
// [N, C] where the model takes categories, output__0 FP32 [N, K].
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "../millwork.h"
#include "json.h"
#include "triton.h"

#define MW_ENTRY extern "C" __attribute__((visibility("default")))

namespace {

using Error = TRITONSERVER_Error *;
using millwork::Json;

constexpr char kNumbers[] = "input__0", kCategories[] = "input__1", kAnswers[] = "output__0";
constexpr char kModelFile[] = "forest.packed";
constexpr size_t kAlone = 256;  // rows of a request from which on joining it with others gains less than its copy costs

// What a step of ours found wrong; Triton's errors become one of these as well.
struct Wrong {
  int code = 0;
  std::string what;
  explicit operator bool() const { return !what.empty(); }
};

Error to_triton(const Wrong &wrong) { return wrong ? TRITONSERVER_ErrorNew(wrong.code, wrong.what.c_str()) : nullptr; }

void drop(Error error) {
  if (error) TRITONSERVER_ErrorDelete(error);
}

// Whether a call of Triton's went well; its error is deleted.
bool well(Error error) {
  drop(error);
  return error == nullptr;
}

#define MW_TRY(call)                           \
  do {                                         \
    if (Error mw_error = (call)) return mw_error; \
  } while (0)

// Entry points let no exception out.
template <class F> Error guarded(F &&call) {
  try {
    return call();
  } catch (const std::exception &error) {
    return TRITONSERVER_ErrorNew(kInternal, error.what());
  } catch (...) {
    return TRITONSERVER_ErrorNew(kInternal, "an unknown exception");
  }
}

uint64_t now() {
  return uint64_t(std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count());
}

// ── a model ───────────────────────────────────────────────────────────────────────────────────────────────────────

enum class Decision { kNone, kSecond, kEach, kLargest };

struct Model {
  std::string name;
  mw_model *handle = nullptr;
  mw_shape shape{};
  int threads = 1;
  Decision decision = Decision::kNone;
  float cut = 0.5f;

  Model() = default;
  Model(const Model &) = delete;
  Model &operator=(const Model &) = delete;
  ~Model() { mw_close(handle); }

  size_t width() const {
    return decision == Decision::kSecond || decision == Decision::kLargest ? 1 : shape.answers;
  }
  Wrong open(const Json &config, const std::string &folder);
  void decide(const float *answers, size_t n, float *out) const;
};

const std::string &parameter(const Json &config, const char *name) { return config["parameters"][name]["string_value"].text; }

Wrong tensor(const Json &tensors, const char *name, const char *type, size_t width) {
  for (const auto &[none, one] : tensors.items) {
    if (one["name"].text != name) continue;
    const auto &dims = one["dims"].items;
    if (one["data_type"].text != type || dims.size() != 1 || dims[0].second.number(0) != long(width))
      return {kInvalidArgument, std::string(name) + " is not " + type + " [" + std::to_string(width) + "], as the packed forest has it"};
    return {};
  }
  return width ? Wrong{kInvalidArgument, std::string("the configuration lacks ") + name} : Wrong{};
}

Wrong Model::open(const Json &config, const std::string &folder) {
  const std::string &file = config["default_model_filename"].text;
  const std::string path = folder + "/" + (file.empty() ? kModelFile : file);
  if (const int code = mw_open(path.c_str(), nullptr, &handle))
    return {kInvalidArgument, path + ": " + mw_message(code)};
  mw_describe(handle, &shape);
  if (config["max_batch_size"].number(0) < 1) return {kInvalidArgument, "max_batch_size must be 1 or more"};
  const std::string &many = parameter(config, "threads");
  const long asked = many.empty() ? 1 : config["parameters"]["threads"]["string_value"].number(0);
  if (asked < 1 || asked > 1024) return {kInvalidArgument, "parameter threads is '" + many + "', not a number from 1 to 1024"};
  threads = int(asked);
  const std::string &how = parameter(config, "decision"), &at = parameter(config, "cut");
  if (how == "second" && shape.answers == 2) decision = Decision::kSecond;
  else if (how == "each") decision = Decision::kEach;
  else if (how == "largest") decision = Decision::kLargest;
  else if (!how.empty()) return {kInvalidArgument, "parameter decision is '" + how + "', which this forest has no answers for"};
  if (!at.empty()) {
    char *end = nullptr;
    cut = std::strtof(at.c_str(), &end);
    if (*end) return {kInvalidArgument, "parameter cut is '" + at + "', not a number"};
  }
  if (Wrong wrong = tensor(config["input"], kNumbers, "TYPE_FP32", shape.features)) return wrong;
  if (Wrong wrong = tensor(config["input"], kCategories, shape.integers ? "TYPE_INT64" : "TYPE_STRING", shape.categories)) return wrong;
  return tensor(config["output"], kAnswers, "TYPE_FP32", width());
}

void Model::decide(const float *answers, size_t n, float *out) const {
  const size_t k = shape.answers;
  for (size_t r = 0; r < n; r++, answers += k) {
    if (decision == Decision::kSecond) {
      out[r] = answers[1] > cut ? 1.0f : 0.0f;
    } else if (decision == Decision::kEach) {
      for (size_t i = 0; i < k; i++) out[r * k + i] = answers[i] > cut ? 1.0f : 0.0f;
    } else {
      size_t best = 0;
      for (size_t i = 1; i < k; i++)
        if (answers[i] > answers[best]) best = i;
      out[r] = float(best);
    }
  }
}

// ── an instance ───────────────────────────────────────────────────────────────────────────────────────────────────

// One input of one request: its own memory where it lies in one piece, else in `held`.
struct Input {
  const uint8_t *bytes = nullptr;
  size_t size = 0;
  std::vector<uint8_t> held;

  Wrong read(TRITONBACKEND_Request *request, const char *name, int type, size_t width, size_t &rows);
};

Wrong Input::read(TRITONBACKEND_Request *request, const char *name, int type, size_t width, size_t &rows) {
  TRITONBACKEND_Input *input = nullptr;
  int given = 0;
  const int64_t *shape = nullptr;
  uint32_t dims = 0, buffers = 0;
  uint64_t total = 0;
  if (!well(TRITONBACKEND_RequestInput(request, name, &input))) return {kInvalidArgument, std::string("the request lacks ") + name};
  if (!well(TRITONBACKEND_InputProperties(input, nullptr, &given, &shape, &dims, &total, &buffers)))
    return {kInternal, std::string(name) + " can't be read"};
  if (given != type || dims != 2 || shape[0] < 0 || shape[1] != int64_t(width))
    return {kInvalidArgument, std::string(name) + " isn't of the model's type and of shape [rows, " + std::to_string(width) + "]"};
  if (rows != SIZE_MAX && rows != size_t(shape[0])) return {kInvalidArgument, "the inputs differ in rows"};
  rows = size_t(shape[0]);
  const size_t item = type == kFp32 ? 4 : type == kInt64 ? 8 : 1;
  if (type != kBytes && (rows > total || total != rows * width * item))
    return {kInvalidArgument, std::string(name) + " has " + std::to_string(total) + " bytes instead of " + std::to_string(rows * width * item)};
  held.clear(), size = 0, bytes = nullptr;
  for (uint32_t i = 0; i < buffers; i++) {
    const void *part = nullptr;
    uint64_t length = 0;
    int memory = kCpu;
    int64_t device = 0;
    if (!well(TRITONBACKEND_InputBuffer(input, i, &part, &length, &memory, &device)))
      return {kInternal, std::string(name) + " can't be read"};
    if (memory == kGpu) return {kUnsupported, std::string(name) + " lies in a GPU's memory, and this model runs on the CPU"};
    if (length > total - size) return {kInvalidArgument, std::string(name) + " has more bytes than it says"};
    const bool whole = length == total && reinterpret_cast<uintptr_t>(part) % item == 0;
    if (whole) {
      bytes = static_cast<const uint8_t *>(part);
    } else if (length) {
      held.resize(total);
      std::memcpy(held.data() + size, part, length);
      bytes = held.data();
    }
    size += length;
  }
  if (size != total) return {kInvalidArgument, std::string(name) + " has fewer bytes than it says"};
  return {};
}

// One request while it is answered.
struct Work {
  TRITONBACKEND_Request *request = nullptr;
  TRITONBACKEND_Response *response = nullptr;
  Input numbers, categories;
  size_t rows = 0;
  float *out = nullptr;  // null where the answer isn't asked for
  Wrong wrong;
};

struct Instance {
  TRITONBACKEND_ModelInstance *triton = nullptr;
  const Model *model = nullptr;
  std::vector<Work> work;  // kept for their memory
  std::vector<float> rows, answers;
  std::vector<uint8_t> categories;
  std::vector<Work *> joined;

  void execute(TRITONBACKEND_Request **requests, uint32_t count);

 private:
  void begin(Work &one, TRITONBACKEND_Request *request);
  Wrong read(Work &one);
  Wrong room(Work &one);
  Wrong predict(const float *numbers, size_t n, const uint8_t *texts, size_t size, float *out);
  void alone(Work &one);
  Wrong together();
};

// What goes wrong in `step` goes to the request's client; so does want of memory.
template <class F> Wrong attempt(F &&step) {
  try {
    return step();
  } catch (const std::exception &) {
    return {kInternal, "no memory"};  // short enough to need none
  }
}

void Instance::begin(Work &one, TRITONBACKEND_Request *request) {
  one.request = request, one.response = nullptr, one.out = nullptr, one.rows = 0, one.wrong.what.clear();
  drop(TRITONBACKEND_ResponseNew(&one.response, request));
  one.wrong = attempt([&] {
    const Wrong wrong = read(one);
    return wrong ? wrong : room(one);
  });
}

Wrong Instance::read(Work &one) {
  if (!one.response) return {kInternal, "there is no response to be had"};
  bool cancelled = false;
  if (TRITONBACKEND_RequestIsCancelled) drop(TRITONBACKEND_RequestIsCancelled(one.request, &cancelled));
  if (cancelled) return {kCancelled, "the client has cancelled the request"};
  size_t rows = SIZE_MAX;
  if (model->shape.features)
    if (Wrong wrong = one.numbers.read(one.request, kNumbers, kFp32, model->shape.features, rows)) return wrong;
  if (model->shape.categories)
    if (Wrong wrong = one.categories.read(one.request, kCategories, model->shape.integers ? kInt64 : kBytes, model->shape.categories, rows)) return wrong;
  one.rows = rows == SIZE_MAX ? 0 : rows;
  return {};
}

// The response's tensor, in memory that Triton sends it from.
Wrong Instance::room(Work &one) {
  uint32_t wanted = 0;
  bool asked = false;
  drop(TRITONBACKEND_RequestOutputCount(one.request, &wanted));
  for (uint32_t i = 0; i < wanted; i++) {
    const char *name = nullptr;
    asked = asked || (well(TRITONBACKEND_RequestOutputName(one.request, i, &name)) && name && std::strcmp(name, kAnswers) == 0);
  }
  if (!asked) return {};
  TRITONBACKEND_Output *output = nullptr;
  const int64_t shape[] = {int64_t(one.rows), int64_t(model->width())};
  const uint64_t bytes = uint64_t(one.rows) * model->width() * sizeof(float);
  void *buffer = nullptr;
  int memory = kCpu;
  int64_t device = 0;
  if (!well(TRITONBACKEND_ResponseOutput(one.response, &output, kAnswers, kFp32, shape, 2)) ||
      !well(TRITONBACKEND_OutputBuffer(output, &buffer, bytes, &memory, &device)))
    return {kInternal, "there is no memory for the answer"};
  if (memory == kGpu) return {kUnsupported, "the answer is wanted in a GPU's memory, and this model runs on the CPU"};
  if (bytes && (!buffer || reinterpret_cast<uintptr_t>(buffer) % alignof(float))) return {kInternal, "the answer's memory isn't aligned"};
  one.out = static_cast<float *>(buffer);
  return {};
}

Wrong Instance::predict(const float *numbers, size_t n, const uint8_t *texts, size_t size, float *out) {
  const mw_shape &shape = model->shape;
  const bool decides = model->decision != Decision::kNone;
  if (decides && answers.size() < n * shape.answers) answers.resize(n * shape.answers);
  float *into = decides ? answers.data() : out;
  static const uint8_t nothing = 0;
  const void *given = shape.categories ? (texts ? texts : &nothing) : nullptr;
  const int code = mw_predict(model->handle, MW_ANSWERS, MW_PLAN_AUTO, model->threads, numbers, n, shape.features, given,
                              shape.categories ? size : 0, into);
  if (code) return {code == MW_MEMORY ? kInternal : kInvalidArgument, mw_message(code)};
  if (decides) model->decide(into, n, out);
  return {};
}

void Instance::alone(Work &one) {
  one.wrong = attempt([&] {
    return predict(reinterpret_cast<const float *>(one.numbers.bytes), one.rows, one.categories.bytes, one.categories.size, one.out);
  });
}

// The small requests as one call; or what is wrong with one of them.
Wrong Instance::together() {
  size_t n = 0;
  for (const Work *one : joined) n += one->rows;
  const size_t features = model->shape.features, width = model->width();
  if (rows.size() < n * features + n * width) rows.resize(n * features + n * width);
  float *numbers = rows.data(), *out = rows.data() + n * features;
  categories.clear();
  size_t at = 0;
  for (const Work *one : joined) {
    if (features) std::memcpy(numbers + at * features, one->numbers.bytes, one->numbers.size);
    if (one->categories.size) categories.insert(categories.end(), one->categories.bytes, one->categories.bytes + one->categories.size);
    at += one->rows;
  }
  if (const Wrong wrong = predict(numbers, n, categories.data(), categories.size(), out)) return wrong;
  for (const Work *one : joined) {
    std::memcpy(one->out, out, one->rows * width * sizeof(float));
    out += one->rows * width;
  }
  return {};
}

void Instance::execute(TRITONBACKEND_Request **requests, uint32_t count) {
  const uint64_t started = now();
  if (work.size() < count) work.resize(count);
  joined.clear();
  joined.reserve(count);
  uint64_t total = 0;
  for (uint32_t i = 0; i < count; i++) {
    begin(work[i], requests[i]);
    if (work[i].wrong || !work[i].out || !work[i].rows) continue;
    total += work[i].rows;
    if (work[i].rows < kAlone) joined.push_back(&work[i]);
  }
  const uint64_t computing = now();
  if (joined.size() == 1 || (!joined.empty() && attempt([&] { return together(); })))
    for (Work *one : joined) alone(*one);  // where one of several is malformed, only that one shall fail
  for (uint32_t i = 0; i < count; i++)
    if (!work[i].wrong && work[i].out && work[i].rows >= kAlone) alone(work[i]);
  const uint64_t computed = now();
  for (uint32_t i = 0; i < count; i++) {
    if (!work[i].response) continue;
    Error error = to_triton(work[i].wrong);
    drop(TRITONBACKEND_ResponseSend(work[i].response, kFinal, error));
    drop(error);
  }
  const uint64_t ended = now();
  for (uint32_t i = 0; i < count; i++)
    drop(TRITONBACKEND_ModelInstanceReportStatistics(triton, work[i].request, !work[i].wrong, started, computing, computed, ended));
  if (total) drop(TRITONBACKEND_ModelInstanceReportBatchStatistics(triton, total, started, computing, computed, ended));
  for (uint32_t i = 0; i < count; i++) drop(TRITONBACKEND_RequestRelease(work[i].request, kReleaseAll));
}

Error model_config(TRITONBACKEND_Model *triton, Json &out) {
  TRITONSERVER_Message *message = nullptr;
  const char *base = nullptr;
  size_t size = 0;
  MW_TRY(TRITONBACKEND_ModelConfig(triton, 1, &message));
  Error error = TRITONSERVER_MessageSerializeToJson(message, &base, &size);
  if (!error && !Json::read(base, base + size, out)) error = TRITONSERVER_ErrorNew(kInternal, "the configuration isn't JSON");
  drop(TRITONSERVER_MessageDelete(message));  // base is its memory
  return error;
}

void log_opened(const Model &model, uint64_t version) {
  char line[512];
  std::snprintf(line, sizeof line, "millwork: %.200s version %llu: %u trees, %u features, %u categories, %s, %d thread%s", model.name.c_str(),
                static_cast<unsigned long long>(version), model.shape.trees, model.shape.features, model.shape.categories,
                mw_isa(model.handle), model.threads, model.threads == 1 ? "" : "s");
  drop(TRITONSERVER_LogMessage(kLogInfo, "millwork", 0, line));
}

}  // namespace

MW_ENTRY Error TRITONBACKEND_Initialize(TRITONBACKEND_Backend *) {
  return guarded([&]() -> Error {
    uint32_t major = 0, minor = 0;
    MW_TRY(TRITONBACKEND_ApiVersion(&major, &minor));
    if (major == 1) return nullptr;
    return TRITONSERVER_ErrorNew(kUnsupported, "millwork's backend speaks version 1 of Triton's backend interface");
  });
}

MW_ENTRY Error TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model *triton) {
  return guarded([&]() -> Error {
    const char *name = "", *location = "";
    uint64_t version = 0;
    int kind = 0;
    MW_TRY(TRITONBACKEND_ModelName(triton, &name));
    MW_TRY(TRITONBACKEND_ModelVersion(triton, &version));
    MW_TRY(TRITONBACKEND_ModelRepository(triton, &kind, &location));
    if (kind != kFileSystem) return TRITONSERVER_ErrorNew(kUnsupported, "the model's files aren't in a file system");
    Json config;
    MW_TRY(model_config(triton, config));
    auto model = std::make_unique<Model>();
    model->name = name;
    if (const Wrong wrong = model->open(config, std::string(location) + "/" + std::to_string(version)))
      return to_triton({wrong.code, "millwork: " + model->name + ": " + wrong.what});
    log_opened(*model, version);
    MW_TRY(TRITONBACKEND_ModelSetState(triton, model.get()));
    model.release();
    return nullptr;
  });
}

MW_ENTRY Error TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model *triton) {
  void *state = nullptr;
  MW_TRY(TRITONBACKEND_ModelState(triton, &state));
  delete static_cast<Model *>(state);
  return nullptr;
}

MW_ENTRY Error TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance *triton) {
  return guarded([&]() -> Error {
    int kind = 0;
    TRITONBACKEND_Model *model = nullptr;
    void *state = nullptr;
    MW_TRY(TRITONBACKEND_ModelInstanceKind(triton, &kind));
    if (kind == kInstanceGpu)
      return TRITONSERVER_ErrorNew(kUnsupported, "millwork's backend has no kernel for a GPU: set instance_group.kind to KIND_CPU");
    MW_TRY(TRITONBACKEND_ModelInstanceModel(triton, &model));
    MW_TRY(TRITONBACKEND_ModelState(model, &state));
    auto instance = std::make_unique<Instance>();
    instance->triton = triton;
    instance->model = static_cast<const Model *>(state);
    MW_TRY(TRITONBACKEND_ModelInstanceSetState(triton, instance.get()));
    instance.release();
    return nullptr;
  });
}

MW_ENTRY Error TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance *triton) {
  void *state = nullptr;
  MW_TRY(TRITONBACKEND_ModelInstanceState(triton, &state));
  delete static_cast<Instance *>(state);
  return nullptr;
}

// Never twice at a time for one instance. Once it has begun to answer it returns no error: Triton would take the
// requests back.
MW_ENTRY Error TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance *triton, TRITONBACKEND_Request **requests, uint32_t count) {
  return guarded([&]() -> Error {
    void *state = nullptr;
    MW_TRY(TRITONBACKEND_ModelInstanceState(triton, &state));
    static_cast<Instance *>(state)->execute(requests, count);
    return nullptr;
  });
}
