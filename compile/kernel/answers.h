// From margins to answers, in the framework's own steps: float32 for XGBoost, double for CatBoost, rounded once at
// last.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "model.h"
#include "postprocess.h"

namespace millwork {

// e^x rounded to T. A float's is computed in double: it is then right but for the rounding.
inline float exponential(float x) { return float(std::exp(double(x))); }
inline double exponential(double x) { return std::exp(x); }

template <class T> T sigmoid(T x) {
  // XGBoost cuts at 88.7, so that e^-x is finite.
  const T negative = sizeof(T) == 4 && -x > T(88.7) ? T(88.7) : -x;
  return T(1) / (T(1) + exponential(negative));
}

// `margin` [K] of one row, read at `step` apart, to answers [K'].
template <class T> void answer(const Model &m, const T *margin, size_t step, float *out) {
  const uint32_t k = m.outputs;
  T v = margin[0];
  switch (m.postprocess) {
    case kBinary: v = sigmoid(v); break;
    case kBinaryHinge: v = v > 0 ? T(1) : T(0); break;
    default: break;
  }
  if (makes_pairs(m.postprocess)) {
    out[0] = float(T(1) - v);
    out[1] = float(v);
    return;
  }
  switch (m.postprocess) {
    case kSigmoid:
      for (uint32_t i = 0; i < k; i++) out[i] = float(sigmoid(margin[i * step]));
      return;
    case kExp:
      for (uint32_t i = 0; i < k; i++) out[i] = float(exponential(margin[i * step]));
      return;
    case kHinge:
      for (uint32_t i = 0; i < k; i++) out[i] = margin[i * step] > 0 ? 1.0f : 0.0f;
      return;
    case kSoftmax: {
      T top = margin[0];
      for (uint32_t i = 1; i < k; i++) top = margin[i * step] > top ? margin[i * step] : top;
      double sum = 0;
      for (uint32_t i = 0; i < k; i++) sum += double(exponential(T(margin[i * step] - top)));
      for (uint32_t i = 0; i < k; i++) out[i] = float(exponential(T(margin[i * step] - top)) / T(sum));
      return;
    }
    case kMeanVariance:
      out[0] = float(margin[0]);
      out[1] = float(exponential(T(2) * margin[step]));
      return;
    default:
      for (uint32_t i = 0; i < k; i++) out[i] = float(margin[i * step]);
  }
  if (m.postprocess == kSort)
    for (uint32_t i = 1; i < k; i++) {
      const float own = out[i];
      uint32_t at = i;
      for (; at > 0 && out[at - 1] > own; at--) out[at] = out[at - 1];
      out[at] = own;
    }
}

}  // namespace millwork
