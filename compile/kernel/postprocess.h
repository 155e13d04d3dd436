// What is made of a forest's margins. Both kinds of file hold its number, which is its place in POSTPROCESSES of
// passes/program.py. cuda/forest.cu has the same list: it is compiled alone. Tests compare the three.
#pragma once
#include <cstdint>

namespace millwork {

enum Postprocess : uint8_t {
  kIdentity = 0,
  kSigmoid = 1,
  kBinary = 2,
  kSoftmax = 3,
  kExp = 4,
  kHinge = 5,
  kBinaryHinge = 6,
  kBinaryRaw = 7,
  kSort = 8,
  kMeanVariance = 9,
  kPostprocesses
};

// Whether it makes two answers, 1 - v and v, of one margin.
inline bool makes_pairs(uint32_t postprocess) {
  return postprocess == kBinary || postprocess == kBinaryHinge || postprocess == kBinaryRaw;
}

}  // namespace millwork
