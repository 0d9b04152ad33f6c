// Convolution with few output channels (the head) for NEON: lanes hold channels of a pixel, 16 at a time, not outputs,
// and each output's sums of 4 pixels are added across lanes at the end. In an unnamed namespace: each file has its own
// copy, compiled with its own flags, and brings `M`, which multiplies.
#pragma once

#include "neon.h"

namespace unetq {

namespace {

constexpr int kDotPixels = 4;

// One output of 4 pixels. Logits of 32-bit ARM are made without NEON, which would take denormal numbers for 0.
inline void finish_dots(const ConvRows& job, int32x4_t sums, int channel, int y, int x) {
  const int left = job.width - x, pixels = left < kDotPixels ? left : kDotPixels;
#ifdef UNETQ_ARM64
  if (job.out == nullptr && job.logits_pixel == 1 && pixels == kDotPixels) {
    float* to = job.logits + channel * job.logits_plane + y * job.logits_row + x;
    vst1q_f32(to, vaddq_f32(vmulq_f32(vcvtq_f32_s32(sums), vdupq_n_f32(job.m[channel])), vdupq_n_f32(job.b[channel])));
    return;
  }
#endif
  int32_t acc[kDotPixels];
  vst1q_s32(acc, sums);
  for (int p = 0; p < pixels; ++p) store(job, y, x + p, channel, static_cast<uint32_t>(acc[p]));
}

// Both factors are signed: codes of 8 bits get -128, which the start takes back.
template <typename M>
void dots_rows(const ConvRows& job) {
  // A tap's weights fill a multiple of 64 bytes, but only the channels that exist count.
  const int chunks = (job.in_channels + 15) / 16;
  const ptrdiff_t tap = static_cast<ptrdiff_t>(job.steps) * 4;
  const int taps = job.tap_rows * job.tap_segments;
  const uint8x16_t flip = vdupq_n_u8(job.abits == 8 ? 128 : 0);
  for (int channel = 0; channel < job.channels; ++channel) {
    const int8_t* const weights = static_cast<const int8_t*>(job.weights) + channel * tap * taps;
    int32_t start = job.start[channel];
    for (int t = 0; job.abits == 8 && t < taps; ++t) {
      for (int i = 0; i < 16 * chunks; ++i) start += 128 * weights[t * tap + i];
    }
    for (int y = job.y0; y < job.y1; ++y) {
      for (int x = 0; x < job.width; x += kDotPixels) {
        const int8_t* w = weights;
        int32x4_t acc[kDotPixels];
#pragma GCC unroll 4
        for (int p = 0; p < kDotPixels; ++p) acc[p] = vdupq_n_s32(0);
        for (int r = 0; r < job.tap_rows; ++r) {
          for (int s = 0; s < job.tap_segments; ++s, w += tap) {
            const uint8_t* in = job.in + (y + r) * job.in_row + (x + s) * job.in_pixel;
            for (int chunk = 0; chunk < chunks; ++chunk, in += 16) {
              const int8x16_t of = vld1q_s8(w + 16 * chunk);
#pragma GCC unroll 4
              for (int p = 0; p < kDotPixels; ++p) {
                const uint8x16_t a = veorq_u8(vld1q_u8(in + p * job.in_pixel), flip);
                acc[p] = M::add(acc[p], vreinterpretq_s8_u8(a), of);
              }
            }
          }
        }
        const int32x4_t sums = sums_of(acc[0], acc[1], acc[2], acc[3]);
        finish_dots(job, vaddq_s32(sums, vdupq_n_s32(start)), channel, y, x);
      }
    }
  }
}

}  // namespace

}  // namespace unetq
