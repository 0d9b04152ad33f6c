// Direct convolution for NEON without dot products: 4 neighbouring channels of a pixel, four times over, meet the
// weights of 4 outputs, smull and smlal to 8 sums of 16 bits an output pair, sadalp to 4 of 32, 2 an output, which are
// added at the end.
//
// Both factors are signed: codes of 8 bits get -128, which the start takes back. Products that fit into 16 bits
// together: 32767 / (2^(W-1) * (2^A - 1, or 128)): 2 for W7A8 and W8A7, 65 for W4A6. Of W8A8 two fit as well, unless
// both weights are -128 (128 * 128 + 127 * 128 = 32640), which is looked for. From 8 on they stay in 16 bits as long as
// they can.
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
  uint8x16_t flip;       // 128 of codes of 8 bits
  int most16;
  const Finish& finish;
  int channel;
};

using Sums = int32x4_t[kPixels][8];
using Shorts = int16x8_t[kPixels][8];

// 16 channels of each pixel.
inline __attribute__((always_inline)) void load_pixels(const uint8_t* in, ptrdiff_t pixel, uint8x16_t flip,
                                                       int8x16_t (&a)[kPixels]) {
#pragma GCC unroll 2
  for (int p = 0; p < kPixels; ++p) a[p] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(in + p * pixel), flip));
}

// 4 of them to all lanes.
template <int LANE>
inline int8x16_t spread(int8x16_t a) {
  const int32x4_t fours = vreinterpretq_s32_s8(a);
#ifdef UNETQ_ARM64
  return vreinterpretq_s8_s32(vdupq_laneq_s32(fours, LANE));
#else
  return vreinterpretq_s8_s32(vdupq_lane_s32(LANE < 2 ? vget_low_s32(fours) : vget_high_s32(fours), LANE % 2));
#endif
}

// Steps [STEP, STEP + N) of 4 that `w` and `a` are the beginning of, N = 1 or 2 together in 16 bits: 8 outputs.
template <int STEP, int N, int FIRST>
inline __attribute__((always_inline)) void add_eight(const int8_t* w, const int8x16_t (&one)[kPixels],
                                                     const int8x16_t (&other)[kPixels], Sums& acc) {
  const uint8_t* const from = reinterpret_cast<const uint8_t*>(w);
  uint8x16_t w0[2], w1[2];
  load_two<64 * STEP + 4 * FIRST>(from, w0);
  load_two<64 * (STEP + N - 1) + 4 * FIRST>(from, w1);
#pragma GCC unroll 2
  for (int k = 0; k < 2; ++k) {
    const int8x16_t u = vreinterpretq_s8_u8(w0[k]), v = vreinterpretq_s8_u8(w1[k]);
#pragma GCC unroll 2
    for (int p = 0; p < kPixels; ++p) {
      int16x8_t low = product_low(u, one[p]), high = product_high(u, one[p]);
      if constexpr (N == 2) {
        low = add_low(low, v, other[p]);
        high = add_high(high, v, other[p]);
      }
      int32x4_t &first = acc[p][FIRST / 2 + 2 * k], &second = acc[p][FIRST / 2 + 2 * k + 1];
      first = vpadalq_s16(first, low);
      second = vpadalq_s16(second, high);
    }
  }
}

template <int STEP, int N>
inline __attribute__((always_inline)) void add_steps(const int8_t* w, const int8x16_t (&a)[kPixels], Sums& acc) {
  int8x16_t one[kPixels], other[kPixels];
#pragma GCC unroll 2
  for (int p = 0; p < kPixels; ++p) {
    one[p] = spread<STEP>(a[p]);
    other[p] = spread<STEP + N - 1>(a[p]);
  }
  add_eight<STEP, N, 0>(w, one, other, acc);
  add_eight<STEP, N, 8>(w, one, other, acc);
}

// The same, one step that stays in 16 bits.
template <int STEP, int FIRST>
inline __attribute__((always_inline)) void add_eight(const int8_t* w, const int8x16_t (&a)[kPixels], Shorts& acc) {
  uint8x16_t two[2];
  load_two<64 * STEP + 4 * FIRST>(reinterpret_cast<const uint8_t*>(w), two);
#pragma GCC unroll 2
  for (int k = 0; k < 2; ++k) {
    const int8x16_t weights = vreinterpretq_s8_u8(two[k]);
#pragma GCC unroll 2
    for (int p = 0; p < kPixels; ++p) {
      int16x8_t &first = acc[p][FIRST / 2 + 2 * k], &second = acc[p][FIRST / 2 + 2 * k + 1];
      first = add_low(first, weights, a[p]);
      second = add_high(second, weights, a[p]);
    }
  }
}

template <int STEP>
inline __attribute__((always_inline)) void add_step(const int8_t* w, const int8x16_t (&a)[kPixels], Shorts& acc) {
  int8x16_t one[kPixels];
#pragma GCC unroll 2
  for (int p = 0; p < kPixels; ++p) one[p] = spread<STEP>(a[p]);
  add_eight<STEP, 0>(w, one, acc);
  add_eight<STEP, 8>(w, one, acc);
}

// `n` steps, all of them together in 16 bits.
__attribute__((noinline)) void add_many(const uint8_t* in, ptrdiff_t pixel, uint8x16_t flip, const int8_t* w, int n,
                                        int32_t* sums) {
  Shorts acc;
#pragma GCC unroll 2
  for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) acc[p][k] = vdupq_n_s16(0);
  }
  int8x16_t a[kPixels];
  for (; n >= 4; n -= 4, in += 16, w += 256) {
    load_pixels(in, pixel, flip, a);
    add_step<0>(w, a, acc);
    add_step<1>(w, a, acc);
    add_step<2>(w, a, acc);
    add_step<3>(w, a, acc);
  }
  if (n > 0) {
    load_pixels(in, pixel, flip, a);
    add_step<0>(w, a, acc);
    if (n > 1) add_step<1>(w, a, acc);
    if (n > 2) add_step<2>(w, a, acc);
  }
#pragma GCC unroll 2
  for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k, sums += 4) vst1q_s32(sums, vpadalq_s16(vld1q_s32(sums), acc[p][k]));
  }
}

inline __attribute__((always_inline)) void finish_pixels(const Frame& frame, const Sums& sums, int y, int x) {
  int32x4_t acc[kPixels][4];
#pragma GCC unroll 2
  for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      acc[p][g] = vaddq_s32(pairs_of(sums[p][2 * g], sums[p][2 * g + 1]), vld1q_s32(frame.start + 4 * g));
    }
  }
  put_pixels<kPixels>(frame.job, frame.finish, acc, frame.channel, y, x);
}

__attribute__((noinline)) void tile_many(const Frame& frame, int y, int x) {
  const ConvRows& job = frame.job;
  const int most = frame.most16 / 4 * 4;
  int32_t sums[kPixels * 32] = {};
  const int8_t* w = frame.w;
  for (int r = 0; r < job.tap_rows; ++r) {
    for (int s = 0; s < job.tap_segments; ++s) {
      const uint8_t* in = job.in + (y + r) * job.in_row + (x + s) * job.in_pixel;
      for (int j = 0; j < job.steps; j += most) {
        const int n = job.steps - j < most ? job.steps - j : most;
        add_many(in + 4 * j, job.in_pixel, frame.flip, w, n, sums);
        w += 64 * n;
      }
    }
  }
  Sums acc;
#pragma GCC unroll 2
  for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) acc[p][k] = vld1q_s32(sums + 32 * p + 4 * k);
  }
  finish_pixels(frame, acc, y, x);
}

template <int N>
__attribute__((noinline)) void tile(const Frame& frame, int y, int x) {
  const ConvRows& job = frame.job;
  Sums acc;
#pragma GCC unroll 2
  for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) acc[p][k] = vdupq_n_s32(0);
  }
  const int8_t* w = frame.w;
  for (int r = 0; r < job.tap_rows; ++r) {
    for (int s = 0; s < job.tap_segments; ++s) {
      const uint8_t* in = job.in + (y + r) * job.in_row + (x + s) * job.in_pixel;
      int8x16_t a[kPixels];
      int j = job.steps;
      for (; j >= 4; j -= 4, in += 16, w += 256) {
        load_pixels(in, job.in_pixel, frame.flip, a);
        add_steps<0, N>(w, a, acc);
        if constexpr (N == 1) add_steps<1, 1>(w, a, acc);
        add_steps<2, N>(w, a, acc);
        if constexpr (N == 1) add_steps<3, 1>(w, a, acc);
      }
      if (j == 0) continue;
      load_pixels(in, job.in_pixel, frame.flip, a);
      if (j == 1) {
        add_steps<0, 1>(w, a, acc);
      } else {
        add_steps<0, N>(w, a, acc);
        if constexpr (N == 1) add_steps<1, 1>(w, a, acc);
        if (j == 3) add_steps<2, 1>(w, a, acc);
      }
      w += 64 * j;
    }
  }
  finish_pixels(frame, acc, y, x);
}

// Adds 128 times the sum of each output's weights to the start. Returns whether a weight and the one a step behind it
// are both -128.
bool add_flips(const int8_t* w, int steps, int32_t* start) {
  const int8x16_t least = vdupq_n_s8(-128);
  uint8x16_t twice = vdupq_n_u8(0);
  for (int g = 0; g < 4; ++g, w += 16) {
    int32x4_t sums = vdupq_n_s32(0);
    uint8x16_t before = vdupq_n_u8(0);
    for (int j = 0; j < steps; ++j) {
      const int8x16_t weights = vld1q_s8(w + 64 * j);
      const uint8x16_t found = vceqq_s8(weights, least);
      twice = vorrq_u8(twice, vandq_u8(found, before));
      before = found;
      sums = vpadalq_s16(sums, vpaddlq_s8(weights));
    }
    vst1q_s32(start + 4 * g, vaddq_s32(vld1q_s32(start + 4 * g), vshlq_n_s32(sums, 7)));
  }
  const uint64x2_t any = vreinterpretq_u64_u8(twice);
  return (vgetq_lane_u64(any, 0) | vgetq_lane_u64(any, 1)) != 0;
}

}  // namespace

void conv_neon(const ConvRows& job) {
  const int steps = job.tap_rows * job.tap_segments * job.steps;
  const int wbits = job.bits - job.abits;
  const int w_most = wbits == 1 ? 1 : 1 << (wbits - 1), a_most = job.abits == 8 ? 128 : (1 << job.abits) - 1;
  const int most16 = 32767 / (w_most * a_most);
  const bool many = most16 >= 8 && job.steps >= 3;
  for (int channel = 0; channel < job.channels; channel += 16) {
    const int8_t* w = static_cast<const int8_t*>(job.weights) + static_cast<ptrdiff_t>(channel / 16) * steps * 64;
    int32_t start[16];
    __builtin_memcpy(start, job.start + channel, sizeof(start));
    const bool twice = job.abits == 8 && add_flips(w, steps, start);
    const auto tile_of = many ? tile_many : (most16 == 1 && twice ? tile<1> : tile<2>);
    const Finish finish(job, channel);
    const Frame frame = {job, w, start, vdupq_n_u8(job.abits == 8 ? 128 : 0), most16, finish, channel};
    for (int y = job.y0; y < job.y1; ++y) {
      for (int x = 0; x < job.width; x += kPixels) tile_of(frame, y, x);
    }
  }
}

}  // namespace unetq
