// The scalar end of a convolution: accumulators to codes or logits. Vector kernels do the same operations lane by lane.
// Static: each file has its own copy, compiled with its own flags.
#pragma once

#include "kernel.h"

namespace unetq {

static inline float scale(uint32_t acc, float m, float b) {
  const float product =
      static_cast<float>(static_cast<int32_t>(acc)) * m;  // -ffp-contract=off: never fused with the sum
  return product + b;
}

// Half to even for |x| < 2^22, without the library call that rintf is before SSE 4.1: the sum has no bits for a
// fraction.
static inline int round_even(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  return static_cast<int>((x + kMagic) - kMagic);
}

static inline uint8_t requantize(float value, float lo, float hi, int zero) {
  const float clamped = value < lo ? lo : (value > hi ? hi : value);
  return static_cast<uint8_t>(round_even(clamped) + zero);
}

// Puts one accumulator where it belongs.
static inline void store(const ConvRows& job, int y, int x, int channel, uint32_t acc) {
  const float value = scale(acc, job.m[channel], job.b[channel]);
  if (job.out != nullptr) {
    job.out[y * job.out_row + x * job.out_pixel + channel] = requantize(value, job.lo, job.hi, job.zero);
  } else {
    job.logits[channel * job.logits_plane + y * job.logits_row + x * job.logits_pixel] = value;
  }
}

}  // namespace unetq
