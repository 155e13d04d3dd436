// A request while it is answered: its inputs where Triton has them, and the memory that its answer goes to.
#pragma once
#include <string>
#include <vector>

#include "triton.h"

namespace millwork {

constexpr char kNumbers[] = "input__0", kCategories[] = "input__1", kAnswers[] = "output__0";

// What a step of ours found wrong; Triton's errors become one of these as well.
struct Wrong {
  int code = 0;
  std::string what;
  explicit operator bool() const { return !what.empty(); }
};

inline TRITONSERVER_Error *to_triton(const Wrong &wrong) {
  return wrong ? TRITONSERVER_ErrorNew(wrong.code, wrong.what.c_str()) : nullptr;
}

inline void drop(TRITONSERVER_Error *error) {
  if (error) TRITONSERVER_ErrorDelete(error);
}

// Whether a call of Triton's went well; its error is deleted.
inline bool well(TRITONSERVER_Error *error) {
  drop(error);
  return error == nullptr;
}

// Where an instance works: kCpu, or kGpu and which one.
struct Where {
  int memory = kCpu;
  int64_t device = 0;
};

// Some of an input's bytes, which lie in one piece.
struct Piece {
  const uint8_t *bytes;
  size_t size;
  Where at;
};

// One input of one request. On a CPU it is in one piece: numbers where they lie so, all else in `held`.
struct Input {
  const uint8_t *bytes = nullptr;
  size_t size = 0;
  std::vector<uint8_t> held;
  std::vector<Piece> pieces;  // as Triton has them

  // `rows`: those of the inputs before it, or SIZE_MAX; then its own.
  Wrong read(TRITONBACKEND_Request *request, const char *name, int type, size_t width, const Where &where,
             size_t &rows);

 private:
  Wrong join(const char *name, size_t item);
};

struct Work {
  TRITONBACKEND_Request *request = nullptr;
  TRITONBACKEND_Response *response = nullptr;
  Input numbers, categories;
  size_t rows = 0;
  float *out = nullptr;  // null where the answer isn't asked for
  Where out_at;
  Wrong wrong;

  // The response's tensor [rows, width], in memory that Triton sends it from: `wanted` if it has it. `gpu`: whether it
  // may be a GPU's.
  Wrong room(size_t width, const Where &wanted, bool gpu);
};

}  // namespace millwork
