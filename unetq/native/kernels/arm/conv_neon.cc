// Direct convolution for NEON without dot products: 4 neighbouring channels of a pixel, twice, meet the weights of 2
// outputs, smull and smlal to 8 sums of 16 bits, sadalp to 4 of 32, 2 an output, which are added at the end.
//
// Both factors are signed: codes of 8 bits get -128, which the start takes back. Products that fit into 16 bits
// together: 32767 / (2^(W-1) * (2^A - 1, or 128)): 1 for W8A8, 2 for W7A8 and W8A7, 65 for W4A6. From 8 on they stay in
// 16 bits as long as they can.
#include "neon.h"

namespace unetq {

namespace {

#ifdef UNETQ_ARM64
constexpr int kPixels = 2;  // x 8 sums of 2 outputs: 16 of 32 registers
#else
constexpr int kPixels = 1;  // of 16
#endif

struct Frame {
  const ConvRows& job;
  const int8_t* w;
  const int32_t* start;  // [16]
  uint8x8_t flip;        // 128 of codes of 8 bits
  int most16;
  const Finish& finish;
  int channel;
};

// 4 bytes, twice.
inline int8x8_t load_four(const uint8_t* from, uint8x8_t flip) {
  uint32_t four;
  __builtin_memcpy(&four, from, 4);
  return vreinterpret_s8_u8(veor_u8(vreinterpret_u8_u32(vdup_n_u32(four)), flip));
}

inline int8x8_t half(const int8_t* w, int k) { return vld1_s8(w + 8 * k); }

// `n` steps from `in` on, STEPS together in 16 bits.
template <int STEPS>
inline __attribute__((always_inline)) void add_steps(const Frame& frame, const uint8_t* in, const int8_t* w, int n,
                                                     int32x4_t (&acc)[kPixels][8]) {
  const ptrdiff_t pixel = frame.job.in_pixel;
  for (; n > 0; n -= STEPS, in += 4 * STEPS, w += 64 * STEPS) {
    int8x8_t a[kPixels][STEPS];
#pragma GCC unroll 2
    for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 2
      for (int i = 0; i < STEPS; ++i) a[p][i] = load_four(in + p * pixel + 4 * i, frame.flip);
    }
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) {
#pragma GCC unroll 2
      for (int p = 0; p < kPixels; ++p) {
        int16x8_t sum = vmull_s8(half(w, k), a[p][0]);
        if constexpr (STEPS == 2) sum = vmlal_s8(sum, half(w + 64, k), a[p][1]);
        acc[p][k] = vpadalq_s16(acc[p][k], sum);
      }
    }
  }
}

// `n` steps, all of them together in 16 bits.
__attribute__((noinline)) void add_many(const uint8_t* in, ptrdiff_t pixel, uint8x8_t flip, const int8_t* w, int n,
                                        int32_t* sums) {
  int16x8_t acc[kPixels][8];
#pragma GCC unroll 2
  for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) acc[p][k] = vdupq_n_s16(0);
  }
  for (int j = 0; j < n; ++j, in += 4, w += 64) {
    int8x8_t a[kPixels];
#pragma GCC unroll 2
    for (int p = 0; p < kPixels; ++p) a[p] = load_four(in + p * pixel, flip);
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) {
#pragma GCC unroll 2
      for (int p = 0; p < kPixels; ++p) acc[p][k] = vmlal_s8(acc[p][k], half(w, k), a[p]);
    }
  }
#pragma GCC unroll 2
  for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k, sums += 4) vst1q_s32(sums, vpadalq_s16(vld1q_s32(sums), acc[p][k]));
  }
}

void finish_pixels(const Frame& frame, const int32_t* sums, int y, int x) {
  int32x4_t acc[kPixels][4];
#pragma GCC unroll 2
  for (int p = 0; p < kPixels; ++p, sums += 32) {
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      const int32x4_t sum = pairs_of(vld1q_s32(sums + 8 * g), vld1q_s32(sums + 8 * g + 4));
      acc[p][g] = vaddq_s32(sum, vld1q_s32(frame.start + 4 * g));
    }
  }
  put_pixels<kPixels>(frame.job, frame.finish, acc, frame.channel, y, x);
}

__attribute__((noinline)) void tile_many(const Frame& frame, int y, int x) {
  const ConvRows& job = frame.job;
  int32_t sums[kPixels * 32] = {};
  const int8_t* w = frame.w;
  for (int r = 0; r < job.tap_rows; ++r) {
    for (int s = 0; s < job.tap_segments; ++s) {
      const uint8_t* in = job.in + (y + r) * job.in_row + (x + s) * job.in_pixel;
      for (int j = 0; j < job.steps; j += frame.most16) {
        const int n = job.steps - j < frame.most16 ? job.steps - j : frame.most16;
        add_many(in + 4 * j, job.in_pixel, frame.flip, w, n, sums);
        w += 64 * n;
      }
    }
  }
  finish_pixels(frame, sums, y, x);
}

template <int STEPS>
__attribute__((noinline)) void tile(const Frame& frame, int y, int x) {
  const ConvRows& job = frame.job;
  int32x4_t acc[kPixels][8];
#pragma GCC unroll 2
  for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) acc[p][k] = vdupq_n_s32(0);
  }
  const int8_t* w = frame.w;
  for (int r = 0; r < job.tap_rows; ++r) {
    for (int s = 0; s < job.tap_segments; ++s, w += 64 * job.steps) {
      const uint8_t* in = job.in + (y + r) * job.in_row + (x + s) * job.in_pixel;
      const int whole = job.steps / STEPS * STEPS;
      add_steps<STEPS>(frame, in, w, whole, acc);
      if (whole < job.steps) add_steps<1>(frame, in + 4 * whole, w + 64 * whole, 1, acc);
    }
  }
  int32_t sums[kPixels * 32];
#pragma GCC unroll 2
  for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) vst1q_s32(sums + 32 * p + 4 * k, acc[p][k]);
  }
  finish_pixels(frame, sums, y, x);
}

}  // namespace

void conv_neon(const ConvRows& job) {
  const int steps = job.tap_rows * job.tap_segments * job.steps;
  const int wbits = job.bits - job.abits;
  const int w_most = wbits == 1 ? 1 : 1 << (wbits - 1), a_most = job.abits == 8 ? 128 : (1 << job.abits) - 1;
  const int most16 = 32767 / (w_most * a_most);
  const auto tile_of = most16 == 1 ? tile<1> : (most16 < 8 || job.steps < 3 ? tile<2> : tile_many);
  for (int channel = 0; channel < job.channels; channel += 16) {
    const int8_t* w = static_cast<const int8_t*>(job.weights) + static_cast<ptrdiff_t>(channel / 16) * steps * 64;
    int32_t start[16];
    __builtin_memcpy(start, job.start + channel, sizeof(start));
    if (job.abits == 8) {
      for (int i = 0; i < 64 * steps; ++i) start[i % 64 / 4] += 128 * w[i];
    }
    const Finish finish(job, channel);
    const Frame frame = {job, w, start, vdup_n_u8(job.abits == 8 ? 128 : 0), most16, finish, channel};
    for (int y = job.y0; y < job.y1; ++y) {
      for (int x = 0; x < job.width; x += kPixels) tile_of(frame, y, x);
    }
  }
}

}  // namespace unetq
