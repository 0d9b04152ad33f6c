// Direct convolution for AVX-512 VNNI. vpdpbusd multiplies 4 neighbouring channels of a pixel, broadcast to all lanes, with
// the weights of 16 output channels: 64 multiply-accumulates an instruction, exact for all 8-bit codes.
//
// A tile is P pixels of a row times G blocks of 16 output channels. Two instructions issue a cycle, and as many loads, so a
// step of P * G products must not need more than P * G loads: P broadcasts + G weight vectors do for every tile here.
// P = 12, G = 2 fills 24 of the 32 registers, and needs half the weights of a 6 x 4 tile: they come from the second-level
// cache where a block has many input channels.
#include <immintrin.h>

#include "kernel.h"

namespace unetq {

namespace {

// What stays the same for all tiles of a call.
struct Frame {
  const ConvRows& job;
  size_t block;  // bytes of the weights of 16 output channels
};

inline __m512i scaled(__m512i acc, __m512 m, __m512 b, __m512 lo, __m512 hi) {
  // Two roundings: the file is compiled without contraction.
  const __m512 value = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc), m), b);
  return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(value, lo), hi));
}

// Accumulators [pixels][blocks][16] to codes or logits.
__attribute__((noinline)) void finish(const ConvRows& job, const __m512i* acc, int blocks, int channel, int y, int x, int pixels) {
  const __m512 lo = _mm512_set1_ps(job.lo), hi = _mm512_set1_ps(job.hi);
  const __m512i zero = _mm512_set1_epi32(job.zero);
  for (int g = 0; g < blocks; ++g) {
    const int first = channel + 16 * g, left = job.channels - first;
    const __mmask16 mask = left >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << left) - 1);
    const __m512 m = _mm512_loadu_ps(job.m + first), b = _mm512_loadu_ps(job.b + first);
    if (job.out != nullptr) {
      uint8_t* out = job.out + y * job.out_row + x * job.out_pixel + first;
      for (int p = 0; p < pixels; ++p, out += job.out_pixel) {
        const __m512i code = _mm512_add_epi32(scaled(acc[p * blocks + g], m, b, lo, hi), zero);
        _mm512_mask_cvtepi32_storeu_epi8(out, mask, code);
      }
    } else {
      float* logits = job.logits + first * job.logits_plane + y * job.logits_row + x * job.logits_pixel;
      for (int p = 0; p < pixels; ++p, logits += job.logits_pixel) {
        alignas(64) float values[16];
        _mm512_store_ps(values, _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[p * blocks + g]), m), b));
        for (int k = 0; k < 16 && k < left; ++k) logits[k * job.logits_plane] = values[k];
      }
    }
  }
}

// gcc 12 keeps the accumulators in registers only in a small function of its own.
template <int P, int G>
__attribute__((noinline)) void tile(const Frame& frame, int channel, int y, int x, int pixels) {
  const ConvRows& job = frame.job;
  __m512i acc[P][G];
#pragma GCC unroll 4
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
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) weights[g] = _mm512_loadu_si512(w + g * frame.block);
#pragma GCC unroll 24
        for (int p = 0; p < P; ++p) {
          const uint8_t* from = in + p / 4 * quad + (p % 4 == 3 ? pixel3 : p % 4 * pixel);
          int32_t four;
          __builtin_memcpy(&four, from, 4);
          const __m512i bytes = _mm512_set1_epi32(four);
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) acc[p][g] = _mm512_dpbusd_epi32(acc[p][g], bytes, weights[g]);
        }
      }
    }
  }
  // Through memory: the same code unrolled for every register would not fit the instruction cache.
  alignas(64) __m512i results[P * G];
#pragma GCC unroll 24
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) results[p * G + g] = acc[p][g];
  }
  finish(job, results, G, channel, y, x, pixels < P ? pixels : P);
}

template <int P, int G>
void rows(const Frame& frame, int channel) {
  const ConvRows& job = frame.job;
  for (int y = job.y0; y < job.y1; ++y) {
    for (int x = 0; x < job.width; x += P) tile<P, G>(frame, channel, y, x, job.width - x);
  }
}

}  // namespace

void conv_avx512vnni(const ConvRows& job) {
  const size_t steps = static_cast<size_t>(job.tap_rows) * job.tap_segments * job.steps;
  const Frame frame = {job, steps * 64};
  int channel = 0;
  for (; job.channels - channel > 16; channel += 32) rows<12, 2>(frame, channel);
  if (channel < job.channels) rows<24, 1>(frame, channel);
}

}  // namespace unetq
