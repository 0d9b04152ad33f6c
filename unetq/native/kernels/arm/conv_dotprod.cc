// Direct convolution for CPUs with sdot, which multiplies 4 neighbouring channels of a pixel, a lane of 16, with the
// weights of 4 outputs: 16 multiply-accumulates an instruction.
//
// A tile is P pixels of a row times 16 outputs. Both factors are signed: codes of 8 bits get -128, which the sum of the
// weights, added up once a call, takes back in the accumulators' start.
#include "dot_dotprod.h"

namespace unetq {

namespace {

struct Frame {
  const ConvRows& job;
  const int8_t* w;
  const int32_t* start;  // [16]
  uint8x16_t flip;       // 128 of codes of 8 bits
  const Finish& finish;
  int channel;
};

template <int P>
inline __attribute__((always_inline)) void load_pixels(const uint8_t* in, ptrdiff_t pixel, uint8x16_t flip,
                                                       int8x16_t (&a)[P]) {
#pragma GCC unroll 5
  for (int p = 0; p < P; ++p) a[p] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(in + p * pixel), flip));
}

template <int P>
__attribute__((noinline)) void tile(const Frame& frame, int y, int x) {
  const ConvRows& job = frame.job;
  int32x4_t acc[4 * P];
#pragma GCC unroll 4
  for (int g = 0; g < 4; ++g) {
    const int32x4_t start = vld1q_s32(frame.start + 4 * g);
#pragma GCC unroll 5
    for (int p = 0; p < P; ++p) acc[4 * p + g] = start;
  }
  const int8_t* w = frame.w;
  for (int r = 0; r < job.tap_rows; ++r) {
    for (int s = 0; s < job.tap_segments; ++s) {
      const uint8_t* in = job.in + (y + r) * job.in_row + (x + s) * job.in_pixel;
      int j = job.steps;
      int8x16_t a[P];
      for (; j >= 4; j -= 4, in += 16, w += 256) {
        load_pixels<P>(in, job.in_pixel, frame.flip, a);
        add_lane<P, 0>(w, a, acc);
        add_lane<P, 1>(w, a, acc);
        add_lane<P, 2>(w, a, acc);
        add_lane<P, 3>(w, a, acc);
      }
      if (j == 0) continue;
      load_pixels<P>(in, job.in_pixel, frame.flip, a);
      add_lane<P, 0>(w, a, acc);
      if (j > 1) add_lane<P, 1>(w, a, acc);
      if (j > 2) add_lane<P, 2>(w, a, acc);
      w += 64 * j;
    }
  }
  int32x4_t sums[P][4];
#pragma GCC unroll 5
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) sums[p][g] = acc[4 * p + g];
  }
  put_pixels<P>(job, frame.finish, sums, frame.channel, y, x);
}

// Sums of the weights of 16 outputs, times 128.
void add_flips(const int8_t* w, int steps, int32_t* start) {
  int32x4_t sums[4];
  for (int g = 0; g < 4; ++g) sums[g] = vld1q_s32(start + 4 * g);
  for (int j = 0; j < steps; ++j, w += 64) {
    for (int g = 0; g < 4; ++g) {
      // 128 = -(-128), the byte that there is.
      sums[g] = vsubq_s32(sums[g], vdotq_s32(vdupq_n_s32(0), vld1q_s8(w + 16 * g), vdupq_n_s8(-128)));
    }
  }
  for (int g = 0; g < 4; ++g) vst1q_s32(start + 4 * g, sums[g]);
}

using TileFn = void (*)(const Frame&, int y, int x);

constexpr int kMost = 5;  // pixels x 16 outputs: 20 of 32 registers; of 24 gcc 12 keeps some in memory
constexpr TileFn kTiles[kMost] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>};

}  // namespace

void conv_dotprod(const ConvRows& job) {
  const int steps = job.tap_rows * job.tap_segments * job.steps;
  for (int channel = 0; channel < job.channels; channel += 16) {
    const int8_t* w = static_cast<const int8_t*>(job.weights) + static_cast<ptrdiff_t>(channel / 16) * steps * 64;
    int32_t start[16];
    __builtin_memcpy(start, job.start + channel, sizeof(start));
    if (job.abits == 8) add_flips(w, steps, start);
    const Finish finish(job, channel);
    const Frame frame = {job, w, start, vdupq_n_u8(job.abits == 8 ? 128 : 0), finish, channel};
    for (int y = job.y0; y < job.y1; ++y) {
      for (int x = 0; x < job.width; x += kMost) {
        kTiles[job.width - x < kMost ? job.width - x - 1 : kMost - 1](frame, y, x);
      }
    }
  }
}

}  // namespace unetq
