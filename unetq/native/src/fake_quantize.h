// Fake quantization of training: values to the nearest code times a step, and back the gradients of LSQ (arXiv
// 1902.08153).
#pragma once

#include <cstdint>

namespace unetq {

struct CodeRange {
  float step, lo, hi;  // lowest and highest code, magnitudes up to 255
};

// y = step * rint(clamp(x / step, lo, hi)), half to even. bfloat16 is given by its upper bits; y is rounded to it.
template <typename Value>  // float, or uint16_t for bfloat16
void fake_quantize(const Value* x, Value* y, int64_t count, const CodeRange& range, int threads);

// grad_x = grad where lo < x / step < hi, else 0. Returns the gradient of the step: the sum of grad times round(v) - v
// inside, lo below and hi above, v = x / step; the same for any number of threads.
template <typename Value>
double fake_quantize_backward(const Value* x, const Value* grad, Value* grad_x, int64_t count, const CodeRange& range,
                              int threads);

}  // namespace unetq
