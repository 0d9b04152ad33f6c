// Bit-serial convolution for AVX-512 with VPOPCNTDQ: 32 channels of 16 outputs an AND and a population count.
//
// The input is cut into planes, a bit a channel: a = sum over i of 2^i a_i. Weights are two planes each (pack.h):
//
//   two's complement  w = w_0 - 2 w_1:  w a = sum over i of 2^i (|a_i & w_0| - 2 |a_i & w_1|)
//   signs             w = t - (n & ~t), n where w is not 0, t where it is 1: the masked Hamming distance gives
//                     w a_i = |t| - |(a_i ^ t) & n|, so one count a plane does for binary and ternary weights
//
// TernaryNet counts twice for ternary activations, too (where both are not 0, where signs differ); here they are the
// two planes of code + 1, and `start` takes the 1 out as everywhere. Counts fit: they are at most channels * taps.
#include <immintrin.h>

#include "finish_avx512.h"
#include "lowbit.h"

namespace unetq {

namespace {

// Planes of a row: bit i of 64 bytes becomes 8 bytes of plane i. A pixel's last bytes are the next one's first, so
// pixels go in order.
template <int A>
void slice(const ConvRows& job, const uint8_t* from, int pixels, uint8_t* to, ptrdiff_t plane) {
  int channels = job.in_channels;
  const ptrdiff_t stride = (channels + 7) / 8;
  if (job.in_pixel == channels && channels % 8 == 0) {  // gapless: one long pixel
    channels *= pixels;
    pixels = 1;
  }
  for (int x = 0; x < pixels; ++x, from += job.in_pixel, to += stride) {
    for (int c = 0; c < channels; c += 64) {
      const __m512i bytes = _mm512_loadu_si512(from + c);
#pragma GCC unroll 2
      for (int i = 0; i < A; ++i) {
        const uint64_t bits = _mm512_test_epi8_mask(bytes, _mm512_set1_epi8(static_cast<char>(1 << i)));
        __builtin_memcpy(to + i * plane + c / 8, &bits, 8);
      }
    }
  }
}

inline __m512i broadcast4(const uint8_t* from) {
  int32_t four;
  __builtin_memcpy(&four, from, 4);
  return _mm512_set1_epi32(four);
}

template <int A, bool SIGNS, int P>
__attribute__((noinline)) void tile(const ConvRows& job, const Strip& at, int channel, int y, int x) {
  constexpr int kSums = SIGNS ? A : A + 1;  // by power of two
  __m512i sums[P][kSums];
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 3
    for (int k = 0; k < kSums; ++k) sums[p][k] = _mm512_setzero_si512();
  }
  const size_t block = static_cast<size_t>(job.tap_rows) * job.steps * 128;
  const uint8_t* w = static_cast<const uint8_t*>(job.weights) + static_cast<size_t>(channel / 16) * block;
  const ptrdiff_t pixel = at.pixel, pixel3 = 3 * pixel, quad = 4 * pixel;
  for (int r = 0; r < job.tap_rows; ++r) {
    const uint8_t* in = at.data + r * at.row;
    for (int j = 0; j < job.steps; ++j, in += 4, w += 128) {
      const __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 64);
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        const uint8_t* from = in + p / 4 * quad + (p % 4 == 3 ? pixel3 : p % 4 * pixel);
#pragma GCC unroll 2
        for (int i = 0; i < A; ++i) {
          const __m512i bits = broadcast4(from + i * at.plane);
          if constexpr (SIGNS) {
            const __m512i differ = _mm512_ternarylogic_epi32(bits, w0, w1, 0x28);  // (bits ^ w0) & w1
            sums[p][i] = _mm512_add_epi32(sums[p][i], _mm512_popcnt_epi32(differ));
          } else {
            sums[p][i] = _mm512_add_epi32(sums[p][i], _mm512_popcnt_epi32(_mm512_and_si512(bits, w0)));
            sums[p][i + 1] = _mm512_sub_epi32(sums[p][i + 1], _mm512_popcnt_epi32(_mm512_and_si512(bits, w1)));
          }
        }
      }
    }
  }
  const __m512i start = _mm512_loadu_si512(job.start + channel);
  alignas(64) __m512i results[kTilePixels];
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
    __m512i sum = sums[p][kSums - 1];
#pragma GCC unroll 2
    for (int k = kSums - 2; k >= 0; --k) sum = _mm512_add_epi32(_mm512_add_epi32(sum, sum), sums[p][k]);
    results[p] = SIGNS ? _mm512_sub_epi32(start, sum) : _mm512_add_epi32(start, sum);
  }
  for (int p = P; p < kTilePixels; ++p) results[p] = _mm512_setzero_si512();
  if (job.out == nullptr) {
    finish_logits(job, results, 1, channel, y, x, P);
  } else if (job.lo == 0.0f && job.zero == 0 && job.channels - channel >= 16) {
    finish_unsigned<1>(job, results, channel, y, x, P);
  } else {
    finish_codes(job, results, 1, channel, y, x, P);
  }
}

template <int A, bool SIGNS>
void convolve(const ConvRows& job) {
  using TileFn = void (*)(const ConvRows&, const Strip&, int, int, int);
  static constexpr TileFn kTiles[] = {tile<A, SIGNS, 1>, tile<A, SIGNS, 2>, tile<A, SIGNS, 3>, tile<A, SIGNS, 4>,
                                      tile<A, SIGNS, 5>, tile<A, SIGNS, 6>, tile<A, SIGNS, 7>, tile<A, SIGNS, 8>};
  for_strips(
      job, (job.in_channels + 7) / 8, A, 16,
      [&](const uint8_t* from, int pixels, uint8_t* to, ptrdiff_t plane) { slice<A>(job, from, pixels, to, plane); },
      [&](const Strip& at, int channel, int y, int x, int pixels) { kTiles[pixels - 1](job, at, channel, y, x); });
}

}  // namespace

void bitserial_twos_avx512icelake(const ConvRows& job) {
  job.abits == 1 ? convolve<1, false>(job) : convolve<2, false>(job);
}

void bitserial_signs_avx512icelake(const ConvRows& job) {
  job.abits == 1 ? convolve<1, true>(job) : convolve<2, true>(job);
}

}  // namespace unetq
