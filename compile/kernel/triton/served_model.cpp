#include "served_model.h"

#include <cstdlib>
#include <fstream>

namespace millwork {
namespace {

constexpr char kModelFile[] = "forest.packed", kKernels[] = "forest.fatbin";

const std::string &parameter(const Json &config, const char *name) {
  return config["parameters"][name]["string_value"].text;
}

// A parameter that is a whole number from `least` to `most`; `out` stays where there is none.
template <class T> Wrong number(const Json &config, const char *name, long least, long most, T &out) {
  const std::string &text = parameter(config, name);
  if (text.empty()) return {};
  const long value = config["parameters"][name]["string_value"].number(least - 1);
  if (value < least || value > most)
    return {kInvalidArgument, std::string("parameter ") + name + " is '" + text + "', not a number from " +
                                  std::to_string(least) + " to " + std::to_string(most)};
  out = T(value);
  return {};
}

Wrong tensor(const Json &tensors, const char *name, const char *type, size_t width) {
  for (const auto &[none, one] : tensors.items) {
    if (one["name"].text != name) continue;
    const auto &dims = one["dims"].items;
    if (one["data_type"].text != type || dims.size() != 1 || dims[0].second.number(0) != long(width))
      return {kInvalidArgument,
              std::string(name) + " is not " + type + " [" + std::to_string(width) + "], as the forest has it"};
    return {};
  }
  return width ? Wrong{kInvalidArgument, std::string("the configuration lacks ") + name} : Wrong{};
}

bool read_file(const std::string &path, std::vector<uint8_t> &out) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = file ? std::streamoff(file.tellg()) : -1;
  if (size < 0) return false;
  out.resize(size_t(size));
  file.seekg(0);
  return size == 0 || bool(file.read(reinterpret_cast<char *>(out.data()), size));
}

// Whether it is a forest for GPUs by its first bytes, without reading on.
bool for_gpus(const std::string &path) {
  std::vector<uint8_t> begin(8);
  std::ifstream file(path, std::ios::binary);
  return file.read(reinterpret_cast<char *>(begin.data()), 8) && cuda::Forest::is_one(begin);
}

}  // namespace

Wrong ServedModel::open(const Json &config, const std::string &folder) {
  const std::string &file = config["default_model_filename"].text;
  if (Wrong wrong = open_file(folder + "/" + (file.empty() ? kModelFile : file), folder)) return wrong;
  const long most = config["max_batch_size"].number(0);
  if (most < 1) return {kInvalidArgument, "max_batch_size must be 1 or more"};
  max_batch = size_t(most);
  if (Wrong wrong = read_parameters(config)) return wrong;
  if (Wrong wrong = tensor(config["input"], kNumbers, "TYPE_FP32", shape.features)) return wrong;
  if (Wrong wrong =
          tensor(config["input"], kCategories, shape.integers ? "TYPE_INT64" : "TYPE_STRING", shape.categories))
    return wrong;
  return tensor(config["output"], kAnswers, "TYPE_FP32", width());
}

Wrong ServedModel::open_file(const std::string &path, const std::string &folder) {
  if (!for_gpus(path)) {
    if (const int code = mw_open(path.c_str(), nullptr, &handle))
      return {kInvalidArgument, path + ": " + mw_message(code)};
    mw_describe(handle, &shape);
    return {};
  }
  std::vector<uint8_t> bytes;
  if (!read_file(path, bytes)) return {kInvalidArgument, path + ": it can't be read"};
  auto found = std::make_shared<cuda::Forest>();
  if (const std::string what = found->read(std::move(bytes)); !what.empty())
    return {kInvalidArgument, path + ": " + what};
  const std::string kernels = folder + "/" + kKernels;
  if (!read_file(kernels, fatbin_) || fatbin_.empty())
    return {kInvalidArgument, kernels + " can't be read: a forest for GPUs needs its kernels beside it"};
  if (!cuda::is_whole(fatbin_)) return {kInvalidArgument, kernels + " isn't as long as it says"};
  fatbin_.push_back(0);  // the end of a text, where it is PTX
  shape.features = found->numbers.inputs, shape.answers = found->numbers.answers, shape.trees = found->numbers.trees;
  forest = std::move(found);
  return {};
}

Wrong ServedModel::read_parameters(const Json &config) {
  if (Wrong wrong = number(config, "threads", 1, 1024, threads)) return wrong;
  if (Wrong wrong = number(config, "device", 0, 1023, device)) return wrong;
  if (Wrong wrong = number(config, "crossover", 0, 1 << 30, crossover)) return wrong;
  if (handle && !parameter(config, "crossover").empty()) mw_set_crossover(handle, uint32_t(crossover));
  const std::string &how = parameter(config, "decision"), &at = parameter(config, "cut");
  if (how == "second" && shape.answers == 2)
    decision = Decision::kSecond;
  else if (how == "each")
    decision = Decision::kEach;
  else if (how == "largest")
    decision = Decision::kLargest;
  else if (!how.empty())
    return {kInvalidArgument, "parameter decision is '" + how + "', which this forest has no answers for"};
  if (!at.empty()) {
    char *end = nullptr;
    cut = std::strtof(at.c_str(), &end);
    if (*end) return {kInvalidArgument, "parameter cut is '" + at + "', not a number"};
  }
  return {};
}

void ServedModel::decide(const float *answers, size_t n, float *out) const {
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

std::shared_ptr<const cuda::Resident> ServedModel::resident(int gpu) {
  const std::lock_guard<std::mutex> held(lock_);
  if (auto kept = residents_[gpu].lock()) return kept;
  auto made = std::make_shared<const cuda::Resident>(forest, fatbin_, gpu);
  residents_[gpu] = made;
  return made;
}

}  // namespace millwork
