// Convolution with few output channels (the head): lanes hold channels of pixels instead of output channels.
//
// A direct tile would fill one of 16 lanes for a single output channel. Here 64 neighbouring bytes, which are 64 / V
// channels of V neighbouring pixels (V = 4, 2, 1 for pixels of 16, 32 or any number of bytes), meet the weights of one
// output, repeated for each pixel; the partial sums of a pixel are added across lanes once, at the end.
#include <immintrin.h>

#include "epilogue.h"
#include "kernel.h"

namespace unetq {

namespace {

constexpr int kPixels = 16;  // a tile: 16 sums fill one vector

// Adds within each 16-byte lane: lane l of the result has the four sums of lane l of a, b, c, d.
inline __m512i sum_lanes(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

// The 16 sums in the order of pixels; acc[i] holds pixels V * i and following.
inline __m512i reduce(const __m512i (&acc)[4], int) {
  const __m512i lanes = sum_lanes(acc[0], acc[1], acc[2], acc[3]);  // [lane l][vector i] = pixel 4 * i + l
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), lanes);
}

inline __m512i reduce(const __m512i (&acc)[8], int) {
  const __m512i a = sum_lanes(acc[0], acc[1], acc[2], acc[3]), b = sum_lanes(acc[4], acc[5], acc[6], acc[7]);
  // A pixel has two lanes: even lanes + odd lanes give [a pixel 0, a pixel 1, b pixel 0, b pixel 1][vector].
  const __m512i sum = _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD));
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15), sum);
}

inline __m512i reduce(const __m512i (&acc)[16], int) {
  const __m512i a = sum_lanes(acc[0], acc[1], acc[2], acc[3]), b = sum_lanes(acc[4], acc[5], acc[6], acc[7]);
  const __m512i c = sum_lanes(acc[8], acc[9], acc[10], acc[11]), d = sum_lanes(acc[12], acc[13], acc[14], acc[15]);
  // A pixel has all four lanes.
  const __m512i ab = _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD));
  const __m512i cd = _mm512_add_epi32(_mm512_shuffle_i32x4(c, d, 0x88), _mm512_shuffle_i32x4(c, d, 0xDD));
  return _mm512_add_epi32(_mm512_shuffle_i32x4(ab, cd, 0x88), _mm512_shuffle_i32x4(ab, cd, 0xDD));
}

void finish(const ConvRows& job, __m512i sums, int channel, int y, int x) {
  const int left = job.width - x, pixels = left < kPixels ? left : kPixels;
  sums = _mm512_add_epi32(sums, _mm512_set1_epi32(job.start[channel]));
  if (job.out == nullptr && job.logits_pixel == 1) {
    const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(job.m[channel]));
    const __m512 value = _mm512_add_ps(product, _mm512_set1_ps(job.b[channel]));
    float* logits = job.logits + channel * job.logits_plane + y * job.logits_row + x;
    _mm512_mask_storeu_ps(logits, static_cast<__mmask16>((1u << pixels) - 1), value);
    return;
  }
  alignas(64) uint32_t acc[kPixels];
  _mm512_store_si512(acc, sums);
  for (int p = 0; p < pixels; ++p) store(job, y, x + p, channel, acc[p]);
}

template <int V>
__attribute__((noinline)) void rows(const ConvRows& job) {
  const int chunks = job.steps / 16;
  const size_t block = static_cast<size_t>(job.tap_rows) * job.tap_segments * job.steps * 4;
  const ptrdiff_t vector = V * job.in_pixel;
  for (int y = job.y0; y < job.y1; ++y) {
    for (int x = 0; x < job.width; x += kPixels) {
      for (int channel = 0; channel < job.channels; ++channel) {
        const int8_t* w = static_cast<const int8_t*>(job.weights) + channel * block;
        __m512i acc[kPixels / V];
#pragma GCC unroll 16
        for (int i = 0; i < kPixels / V; ++i) acc[i] = _mm512_setzero_si512();
        for (int r = 0; r < job.tap_rows; ++r) {
          for (int s = 0; s < job.tap_segments; ++s) {
            const uint8_t* in = job.in + (y + r) * job.in_row + (x + s) * job.in_pixel;
            for (int chunk = 0; chunk < chunks; ++chunk, in += 64, w += 64) {
              const __m512i weights = _mm512_loadu_si512(w);
#pragma GCC unroll 16
              for (int i = 0; i < kPixels / V; ++i) {
                acc[i] = _mm512_dpbusd_epi32(acc[i], _mm512_loadu_si512(in + i * vector), weights);
              }
            }
          }
        }
        finish(job, reduce(acc, V), channel, y, x);
      }
    }
  }
}

}  // namespace

void dots_avx512vnni(const ConvRows& job) {
  if (job.in_pixel == 16) {
    rows<4>(job);
  } else if (job.in_pixel == 32) {
    rows<2>(job);
  } else {
    rows<1>(job);
  }
}

}  // namespace unetq
