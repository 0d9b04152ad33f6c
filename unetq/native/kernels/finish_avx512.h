// The end of an AVX-512 convolution: vectors of 16 output channels to codes or logits.
// Static: each file has its own copy, compiled with its own flags.
#pragma once

#include <immintrin.h>

#include "kernel.h"

namespace unetq {

static inline __m512 scaled(__m512i acc, __m512 m, __m512 b) {
  return _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc), m), b);  // two roundings
}

static inline __mmask16 mask_of(int left) { return left >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << left) - 1); }

static void finish_logits(const ConvRows& job, const __m512i* acc, int blocks, int channel, int y, int x, int pixels) {
  for (int g = 0; g < blocks; ++g) {
    const int first = channel + 16 * g, left = job.channels - first;
    const __m512 m = _mm512_loadu_ps(job.m + first), b = _mm512_loadu_ps(job.b + first);
    float* logits = job.logits + first * job.logits_plane + y * job.logits_row + x * job.logits_pixel;
    for (int p = 0; p < pixels; ++p, logits += job.logits_pixel) {
      alignas(64) float values[16];
      _mm512_store_ps(values, scaled(acc[p * blocks + g], m, b));
      for (int k = 0; k < 16 && k < left; ++k) logits[k * job.logits_plane] = values[k];
    }
  }
}

// Any clamp, any number of channels: a pixel and block at a time.
static void finish_codes(const ConvRows& job, const __m512i* acc, int blocks, int channel, int y, int x, int pixels) {
  const __m512 lo = _mm512_set1_ps(job.lo), hi = _mm512_set1_ps(job.hi);
  const __m512i zero = _mm512_set1_epi32(job.zero);
  for (int g = 0; g < blocks; ++g) {
    const int first = channel + 16 * g;
    const __mmask16 mask = mask_of(job.channels - first);
    const __m512 m = _mm512_loadu_ps(job.m + first), b = _mm512_loadu_ps(job.b + first);
    uint8_t* out = job.out + y * job.out_row + x * job.out_pixel + first;
    for (int p = 0; p < pixels; ++p, out += job.out_pixel) {
      const __m512 value = scaled(acc[p * blocks + g], m, b);
      const __m512i code = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(value, lo), hi));
      _mm512_mask_cvtepi32_storeu_epi8(out, mask, _mm512_add_epi32(code, zero));
    }
  }
}

// Four vectors of 16 accumulators to 64 bytes in their order. Only the upper clamp is needed before the conversion:
// what is too low, even what the conversion cannot hold and turns into -2^31, saturates to 0 in the packs.
template <int G>
static inline __m512i pack4(const __m512i* acc, const __m512* m, const __m512* b, __m512 hi) {
  __m512i v[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm512_cvtps_epi32(_mm512_min_ps(scaled(_mm512_load_si512(acc + i), m[i % G], b[i % G]), hi));
  }
  const __m512i bytes = _mm512_packus_epi16(_mm512_packs_epi32(v[0], v[1]), _mm512_packs_epi32(v[2], v[3]));
  // Packs work within 16-byte lanes: lane l holds quarter l of all four vectors.
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes);
}

// Unsigned codes of whole blocks. The last group of pixels may compute more than it stores.
template <int G>
static void finish_unsigned(const ConvRows& job, const __m512i* acc, int channel, int y, int x, int pixels) {
  __m512 m[G], b[G];
#pragma GCC unroll 2
  for (int g = 0; g < G; ++g) {
    m[g] = _mm512_loadu_ps(job.m + channel + 16 * g);
    b[g] = _mm512_loadu_ps(job.b + channel + 16 * g);
  }
  const __m512 hi = _mm512_set1_ps(job.hi);
  const ptrdiff_t pixel = job.out_pixel;
  uint8_t* out = job.out + y * job.out_row + x * pixel + channel;
  constexpr int kGroup = 4 / G;  // pixels a pack
  const bool dense = pixel == 16 * G;
  for (int p = 0; p < pixels; p += kGroup, acc += 4, out += kGroup * pixel) {
    const __m512i bytes = pack4<G>(acc, m, b, hi);
    const int n = pixels - p < kGroup ? pixels - p : kGroup;
    if (dense) {
      _mm512_mask_storeu_epi32(out, static_cast<__mmask16>((1u << (4 * G * n)) - 1), bytes);
    } else if constexpr (G == 1) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_castsi512_si128(bytes));
      if (n > 1) _mm_storeu_si128(reinterpret_cast<__m128i*>(out + pixel), _mm512_extracti32x4_epi32(bytes, 1));
      if (n > 2) _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 2 * pixel), _mm512_extracti32x4_epi32(bytes, 2));
      if (n > 3) _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 3 * pixel), _mm512_extracti32x4_epi32(bytes, 3));
    } else {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_castsi512_si256(bytes));
      if (n > 1) _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + pixel), _mm512_extracti64x4_epi64(bytes, 1));
    }
  }
}

// `saturates`: lo and zero are 0, so packing with saturation clamps from below. `acc` ends at a multiple of four.
template <int G>
static inline void finish_pixels(const ConvRows& job, bool saturates, const __m512i* acc, int channel, int y, int x,
                                 int pixels) {
  if (job.out == nullptr) {
    finish_logits(job, acc, G, channel, y, x, pixels);
  } else if (saturates && job.channels - channel >= 16 * G) {
    finish_unsigned<G>(job, acc, channel, y, x, pixels);
  } else {
    finish_codes(job, acc, G, channel, y, x, pixels);
  }
}

}  // namespace unetq
