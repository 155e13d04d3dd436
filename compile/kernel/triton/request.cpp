#include "request.h"

#include <cstring>

#include "../sections.h"

namespace millwork {
namespace {

// Whether the bytes are so many rows of strings, each behind its length, and end with the last one.
bool are_strings(const uint8_t *bytes, size_t size, size_t rows, size_t width) {
  size_t found = 0;
  for (size_t place = 0; place < size; found++) {
    if (size - place < 4) return false;
    const size_t length = at<uint32_t>(bytes, place);
    if (length > size - place - 4) return false;
    place += 4 + length;
  }
  return found % width == 0 && found / width == rows;
}

}  // namespace

Wrong Input::read(TRITONBACKEND_Request *request, const char *name, int type, size_t width, const Where &where,
                  size_t &rows) {
  TRITONBACKEND_Input *input = nullptr;
  int given = 0;
  const int64_t *shape = nullptr;
  uint32_t dims = 0, buffers = 0;
  uint64_t total = 0;
  if (!well(TRITONBACKEND_RequestInput(request, name, &input)))
    return {kInvalidArgument, std::string("the request lacks ") + name};
  if (!well(TRITONBACKEND_InputProperties(input, nullptr, &given, &shape, &dims, &total, &buffers)))
    return {kInternal, std::string(name) + " can't be read"};
  if (given != type || dims != 2 || shape[0] < 0 || shape[1] != int64_t(width))
    return {kInvalidArgument,
            std::string(name) + " isn't of the model's type and of shape [rows, " + std::to_string(width) + "]"};
  if (rows != SIZE_MAX && rows != size_t(shape[0])) return {kInvalidArgument, "the inputs differ in rows"};
  rows = size_t(shape[0]);
  const size_t item = type == kFp32 ? 4 : type == kInt64 ? 8 : 1;
  if (type != kBytes && (rows > total || total != rows * width * item))
    return {kInvalidArgument, std::string(name) + " has " + std::to_string(total) + " bytes instead of " +
                                  std::to_string(rows * width * item)};
  pieces.clear(), size = 0;
  for (uint32_t i = 0; i < buffers; i++) {
    const void *part = nullptr;
    uint64_t length = 0;
    Where at = where;  // the memory that we would rather have it in, then the one that it is in
    if (!well(TRITONBACKEND_InputBuffer(input, i, &part, &length, &at.memory, &at.device)))
      return {kInternal, std::string(name) + " can't be read"};
    if (length > total - size) return {kInvalidArgument, std::string(name) + " has more bytes than it says"};
    if (length) pieces.push_back({static_cast<const uint8_t *>(part), size_t(length), at});
    size += length;
  }
  if (size != total) return {kInvalidArgument, std::string(name) + " has fewer bytes than it says"};
  if (where.memory == kGpu) return {};
  if (Wrong wrong = join(name, item)) return wrong;
  // Several requests become one call, where a string too few would be taken from the next one.
  if (type == kBytes && !are_strings(bytes, size, rows, width))
    return {kInvalidArgument,
            std::string(name) + " isn't " + std::to_string(width) + " strings a row, each behind its length"};
  return {};
}

Wrong Input::join(const char *name, size_t item) {
  held.clear(), bytes = nullptr;
  // Strings always: a client may change its shared memory once they are checked.
  const bool copied = pieces.size() > 1 || item == 1;
  if (copied) held.reserve(size);
  for (const Piece &piece : pieces) {
    if (piece.at.memory == kGpu)
      return {kUnsupported, std::string(name) + " lies in a GPU's memory, and this model runs on the CPU"};
    if (!copied && reinterpret_cast<uintptr_t>(piece.bytes) % item == 0) {
      bytes = piece.bytes;
      return {};
    }
    held.insert(held.end(), piece.bytes, piece.bytes + piece.size);
    bytes = held.data();
  }
  return {};
}

Wrong Work::room(size_t width, const Where &wanted, bool gpu) {
  uint32_t outputs = 0;
  bool asked = false;
  drop(TRITONBACKEND_RequestOutputCount(request, &outputs));
  for (uint32_t i = 0; i < outputs; i++) {
    const char *name = nullptr;
    asked =
        asked || (well(TRITONBACKEND_RequestOutputName(request, i, &name)) && name && std::strcmp(name, kAnswers) == 0);
  }
  if (!asked) return {};
  TRITONBACKEND_Output *output = nullptr;
  const int64_t shape[] = {int64_t(rows), int64_t(width)};
  const uint64_t bytes = uint64_t(rows) * width * sizeof(float);
  void *buffer = nullptr;
  out_at = wanted;
  if (!well(TRITONBACKEND_ResponseOutput(response, &output, kAnswers, kFp32, shape, 2)) ||
      !well(TRITONBACKEND_OutputBuffer(output, &buffer, bytes, &out_at.memory, &out_at.device)))
    return {kInternal, "there is no memory for the answer"};
  if (out_at.memory == kGpu && !gpu)
    return {kUnsupported, "the answer is wanted in a GPU's memory, and this model runs on the CPU"};
  if (bytes && (!buffer || reinterpret_cast<uintptr_t>(buffer) % alignof(float)))
    return {kInternal, "the answer's memory isn't aligned"};
  out = static_cast<float *>(buffer);
  return {};
}

}  // namespace millwork
