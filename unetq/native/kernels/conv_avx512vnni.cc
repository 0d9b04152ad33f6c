// Direct convolution for AVX-512 VNNI. vpdpbusd multiplies 4 neighbouring channels of a pixel, broadcast to all lanes,
// with the weights of 16 output channels: 64 multiply-accumulates an instruction, exact for all 8-bit codes.
//
// A tile is P pixels of a row times G blocks of 16 output channels. Two products and two loads issue a cycle, so a step
// must not load more than it multiplies: it needs P broadcasts + G weight vectors for P * G products. P = 12, G = 2
// fills 24 of the 32 registers and reads half the weights of a 6 x 4 tile: they come from the second-level cache where
// channels are many.
#include <immintrin.h>

#include "finish_avx512.h"
#include "kernel.h"

namespace unetq {

namespace {

// What stays the same for all tiles of a call.
struct Frame {
  const ConvRows& job;
  size_t block;    // bytes of the weights of 16 output channels
  bool saturates;  // lo and zero are 0: packing with saturation clamps from below
};

// To the right end, through memory: unrolled for every register it would not fit the instruction cache.
template <int P, int G>
inline void finish(const Frame& frame, const __m512i (&acc)[P][G], int channel, int y, int x) {
  const ConvRows& job = frame.job;
  alignas(64) __m512i results[(P * G + 3) / 4 * 4];
#pragma GCC unroll 24
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 2
    for (int g = 0; g < G; ++g) results[p * G + g] = acc[p][g];
  }
  for (int i = P * G; i % 4 != 0; ++i) results[i] = _mm512_setzero_si512();
  const int left = job.width - x;
  finish_pixels<G>(job, frame.saturates, results, channel, y, x, left < P ? left : P);
}

// gcc 12 keeps the accumulators in registers only in a small function of its own.
template <int P, int G>
__attribute__((noinline)) void tile(const Frame& frame, int channel, int y, int x) {
  const ConvRows& job = frame.job;
  __m512i acc[P][G];
#pragma GCC unroll 2
  for (int g = 0; g < G; ++g) {
    const __m512i start = _mm512_loadu_si512(job.start + channel + 16 * g);
#pragma GCC unroll 24
    for (int p = 0; p < P; ++p) acc[p][g] = start;
  }
  const int8_t* w = static_cast<const int8_t*>(job.weights) + static_cast<size_t>(channel / 16) * frame.block;
  const ptrdiff_t pixel = job.in_pixel, pixel3 = 3 * pixel, quad = 4 * pixel;
  for (int r = 0; r < job.tap_rows; ++r) {
    for (int s = 0; s < job.tap_segments; ++s) {
      const uint8_t* in = job.in + (y + r) * job.in_row + (x + s) * pixel;
      for (int j = 0; j < job.steps; ++j, in += 4, w += 64) {
        __m512i weights[G];
#pragma GCC unroll 2
        for (int g = 0; g < G; ++g) weights[g] = _mm512_loadu_si512(w + g * frame.block);
#pragma GCC unroll 24
        for (int p = 0; p < P; ++p) {
          const uint8_t* from = in + p / 4 * quad + (p % 4 == 3 ? pixel3 : p % 4 * pixel);
          int32_t four;
          __builtin_memcpy(&four, from, 4);
          const __m512i bytes = _mm512_set1_epi32(four);
#pragma GCC unroll 2
          for (int g = 0; g < G; ++g) acc[p][g] = _mm512_dpbusd_epi32(acc[p][g], bytes, weights[g]);
        }
      }
    }
  }
  finish<P, G>(frame, acc, channel, y, x);
}

// One block of outputs of a 3x3 convolution over dense pixels of whole steps. P broadcasts + 1 weight vector for P
// products would be bound by loads; here each broadcast meets the weights of the three taps of a row that it belongs
// to.
template <int P>
__attribute__((noinline)) void tile3(const Frame& frame, int channel, int y, int x) {
  const ConvRows& job = frame.job;
  __m512i acc[P][1];
  const __m512i start = _mm512_loadu_si512(job.start + channel);
#pragma GCC unroll 24
  for (int p = 0; p < P; ++p) acc[p][0] = start;
  const int8_t* w = static_cast<const int8_t*>(job.weights) + static_cast<size_t>(channel / 16) * frame.block;
  const ptrdiff_t pixel = job.in_pixel, pixel3 = 3 * pixel, quad = 4 * pixel, tap = 16 * pixel;
  for (int r = 0; r < 3; ++r, w += 2 * tap) {
    const uint8_t* in = job.in + (y + r) * job.in_row + x * pixel;
    for (const uint8_t* end = in + pixel; in != end; in += 4, w += 64) {
      const __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + tap), w2 = _mm512_loadu_si512(w + 2 * tap);
#pragma GCC unroll 26
      for (int p = 0; p < P + 2; ++p) {
        const uint8_t* from = in + p / 4 * quad + (p % 4 == 3 ? pixel3 : p % 4 * pixel);
        int32_t four;
        __builtin_memcpy(&four, from, 4);
        const __m512i bytes = _mm512_set1_epi32(four);
        if (p < P) acc[p][0] = _mm512_dpbusd_epi32(acc[p][0], bytes, w0);
        if (p >= 1 && p <= P) acc[p - 1][0] = _mm512_dpbusd_epi32(acc[p - 1][0], bytes, w1);
        if (p >= 2) acc[p - 2][0] = _mm512_dpbusd_epi32(acc[p - 2][0], bytes, w2);
      }
    }
  }
  finish<P, 1>(frame, acc, channel, y, x);
}

using TileFn = void (*)(const Frame&, int channel, int y, int x);

// The tile that wastes least of a row of `width` pixels; between equals the wider one, which loads weights less often.
template <int N>
int choose(const int (&pixels)[N], int width) {
  int best = 0;
  for (int i = 1; i < N; ++i) {
    const int waste = (width + pixels[i] - 1) / pixels[i] * (pixels[i] + 1);  // + 1: a tile's own costs
    if (waste < (width + pixels[best] - 1) / pixels[best] * (pixels[best] + 1)) best = i;
  }
  return best;
}

void rows(const Frame& frame, TileFn tile_of, int pixels, int channel) {
  for (int y = frame.job.y0; y < frame.job.y1; ++y) {
    for (int x = 0; x < frame.job.width; x += pixels) tile_of(frame, channel, y, x);
  }
}

constexpr int kTwo[] = {12, 11, 10, 9, 8, 6, 4, 2, 1}, kOne[] = {24, 22, 20, 16, 12, 8, 4, 1};
constexpr TileFn kTwoTiles[] = {tile<12, 2>, tile<11, 2>, tile<10, 2>, tile<9, 2>, tile<8, 2>,
                                tile<6, 2>,  tile<4, 2>,  tile<2, 2>,  tile<1, 2>};
constexpr TileFn kOneTiles[] = {tile<24, 1>, tile<22, 1>, tile<20, 1>, tile<16, 1>,
                                tile<12, 1>, tile<8, 1>,  tile<4, 1>,  tile<1, 1>};
constexpr TileFn kOneTiles3[] = {tile3<24>, tile3<22>, tile3<20>, tile3<16>, tile3<12>, tile3<8>, tile3<4>, tile3<1>};

}  // namespace

void conv_avx512vnni(const ConvRows& job) {
  const size_t steps = static_cast<size_t>(job.tap_rows) * job.tap_segments * job.steps;
  const Frame frame = {job, steps * 64, job.lo == 0.0f && job.zero == 0};
  const int two = choose(kTwo, job.width), one = choose(kOne, job.width);
  int channel = 0;
  for (; job.channels - channel > 16; channel += 32) rows(frame, kTwoTiles[two], kTwo[two], channel);
  const bool threes =
      job.tap_rows == 3 && job.tap_segments == 1 && job.in_pixel % 4 == 0 && 3 * job.in_pixel == 4 * job.steps;
  if (channel < job.channels) rows(frame, (threes ? kOneTiles3 : kOneTiles)[one], kOne[one], channel);
}

}  // namespace unetq
