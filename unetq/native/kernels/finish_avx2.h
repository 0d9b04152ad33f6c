// The end of an AVX2 convolution: two vectors of 8 output channels a pixel to codes or logits.
// Static: each file has its own copy, compiled with its own flags.
#pragma once

#include <immintrin.h>

#include "kernel.h"

namespace unetq {

static inline __m256i load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }

// Accumulators [pixels][2][8] to codes or logits.
static void finish_pixels(const ConvRows& job, const __m256i* acc, int channel, int y, int x, int most) {
  const int left = job.width - x, pixels = left < most ? left : most;
  const int channels = job.channels - channel < 16 ? job.channels - channel : 16;
  const float *m = job.m + channel, *b = job.b + channel;
  const __m256 lo = _mm256_set1_ps(job.lo), hi = _mm256_set1_ps(job.hi);
  const __m256i zero = _mm256_set1_epi32(job.zero);
  for (int p = 0; p < pixels; ++p) {
    __m256 value[2];
#pragma GCC unroll 2
    for (int g = 0; g < 2; ++g) {
      const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(load(acc + 2 * p + g)), _mm256_loadu_ps(m + 8 * g));
      value[g] = _mm256_add_ps(product, _mm256_loadu_ps(b + 8 * g));
    }
    if (job.out == nullptr) {
      alignas(32) float values[16];
      _mm256_store_ps(values, value[0]);
      _mm256_store_ps(values + 8, value[1]);
      float* logits = job.logits + channel * job.logits_plane + y * job.logits_row;
      logits += (x + p) * job.logits_pixel;
      for (int k = 0; k < channels; ++k) logits[k * job.logits_plane] = values[k];
      continue;
    }
    __m256i code[2];
#pragma GCC unroll 2
    for (int g = 0; g < 2; ++g) {
      const __m256 clamped = _mm256_min_ps(_mm256_max_ps(value[g], lo), hi);
      code[g] = _mm256_add_epi32(_mm256_cvtps_epi32(clamped), zero);
    }
    // Packs work within 16-byte halves: put the quarters into order between the two.
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(code[0], code[1]), 0xD8);
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    uint8_t* out = job.out + y * job.out_row + (x + p) * job.out_pixel + channel;
    if (channels == 16) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
    } else {
      alignas(16) uint8_t codes[16];
      _mm_store_si128(reinterpret_cast<__m128i*>(codes), bytes);
      for (int k = 0; k < channels; ++k) out[k] = codes[k];
    }
  }
}

}  // namespace unetq
