// What the C++ reader of forest.cuda says of bytes: for tests that hold it against the one in Python.
#include <string>
#include <vector>

#include "cuda/cuda_forest.h"

extern "C" __attribute__((visibility("default"))) const char *refused(const uint8_t *bytes, size_t size) {
  static std::string what;
  millwork::cuda::Forest forest;
  what = forest.read(std::vector<uint8_t>(bytes, bytes + size));
  return what.c_str();
}
