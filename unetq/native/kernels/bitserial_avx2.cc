// Bit-serial convolution for AVX2: as with VPOPCNTDQ (bitserial_avx512icelake.cc has the formulas), but bits are
// counted by two lookups of 4 bits each.
//
// Counts add up in bytes, 4 of them a lane of 32 channels; plane 1 comes from a table of doubled counts, so that
// both planes meet in one sum: at most 8 a step, or 8 + 16.
#include <immintrin.h>

#include "finish_avx2.h"
#include "lowbit.h"

namespace unetq {

namespace {

constexpr int kGroup = 4;  // pixels at once: their sums, weights and tables fill the 16 registers

template <int A>
void slice(const ConvRows& job, const uint8_t* from, int pixels, uint8_t* to, ptrdiff_t plane) {
  int channels = job.in_channels;
  const ptrdiff_t stride = (channels + 7) / 8;
  if (job.in_pixel == channels && channels % 8 == 0) {  // gapless: one long pixel
    channels *= pixels;
    pixels = 1;
  }
  for (int x = 0; x < pixels; ++x, from += job.in_pixel, to += stride) {
    for (int c = 0; c < channels; c += 32) {
      const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + c));
#pragma GCC unroll 2
      for (int i = 0; i < A; ++i) {
        const int bits = _mm256_movemask_epi8(_mm256_slli_epi16(bytes, 7 - i));  // bit i goes to the byte's top
        __builtin_memcpy(to + i * plane + c / 8, &bits, 4);
      }
    }
  }
}

struct Tables {
  __m256i low, counts, doubled;
};

inline Tables make_tables() {
  const __m128i counts = _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i both = _mm256_broadcastsi128_si256(counts);
  return {_mm256_set1_epi8(15), both, _mm256_add_epi8(both, both)};
}

inline __m256i count(const Tables& tables, __m256i table, __m256i bits) {
  const __m256i high = _mm256_and_si256(_mm256_srli_epi16(bits, 4), tables.low);
  return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(bits, tables.low)),
                         _mm256_shuffle_epi8(table, high));
}

inline __m256i widen(__m256i bytes) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, _mm256_set1_epi8(1)), _mm256_set1_epi16(1));
}

// `n` steps of P pixels and 8 of the block's 16 outputs, then to acc[pixel * 16].
template <int A, bool SIGNS, int P>
__attribute__((noinline)) void add_steps(const Strip& at, const uint8_t* in, const uint8_t* w, int n, int32_t* acc) {
  constexpr int kSums = SIGNS ? 1 : 2;
  const Tables tables = make_tables();
  __m256i sums[P][kSums];
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 2
    for (int k = 0; k < kSums; ++k) sums[p][k] = _mm256_setzero_si256();
  }
  for (int j = 0; j < n; ++j, in += 4, w += 128) {
    const __m256i w0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
    const __m256i w1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 64));
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 2
      for (int i = 0; i < A; ++i) {
        int32_t four;
        __builtin_memcpy(&four, in + p * at.pixel + i * at.plane, 4);
        const __m256i bits = _mm256_set1_epi32(four), table = i == 0 ? tables.counts : tables.doubled;
        if constexpr (SIGNS) {
          const __m256i differ = _mm256_and_si256(_mm256_xor_si256(bits, w0), w1);
          sums[p][0] = _mm256_add_epi8(sums[p][0], count(tables, table, differ));
        } else {
          sums[p][0] = _mm256_add_epi8(sums[p][0], count(tables, table, _mm256_and_si256(bits, w0)));
          sums[p][1] = _mm256_add_epi8(sums[p][1], count(tables, table, _mm256_and_si256(bits, w1)));
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
    __m256i* to = reinterpret_cast<__m256i*>(acc + 16 * p);
    const __m256i sum = widen(sums[p][0]), old = _mm256_loadu_si256(to);
    if constexpr (SIGNS) {
      _mm256_storeu_si256(to, _mm256_sub_epi32(old, sum));
    } else {
      const __m256i twice = _mm256_slli_epi32(widen(sums[p][1]), 1);
      _mm256_storeu_si256(to, _mm256_add_epi32(old, _mm256_sub_epi32(sum, twice)));
    }
  }
}

template <int A, bool SIGNS, int P>
void tile(const ConvRows& job, const Strip& at, int channel, int y, int x) {
  constexpr int kMost = A == 1 ? 255 / 8 : 255 / 24;  // steps that fit into a byte
  alignas(32) int32_t acc[P * 16];
  for (int p = 0; p < P; ++p) __builtin_memcpy(acc + 16 * p, job.start + channel, 64);
  const uint8_t* w = static_cast<const uint8_t*>(job.weights);
  w += static_cast<size_t>(channel / 16) * job.tap_rows * job.steps * 128;
  for (int r = 0; r < job.tap_rows; ++r) {
    const uint8_t* in = at.data + r * at.row;
    for (int j = 0; j < job.steps; j += kMost) {
      const int n = job.steps - j < kMost ? job.steps - j : kMost;
      add_steps<A, SIGNS, P>(at, in + 4 * j, w, n, acc);
      add_steps<A, SIGNS, P>(at, in + 4 * j, w + 32, n, acc + 8);
      w += static_cast<ptrdiff_t>(128) * n;
    }
  }
  finish_pixels(job, reinterpret_cast<const __m256i*>(acc), channel, y, x, P);
}

template <int A, bool SIGNS>
void convolve(const ConvRows& job) {
  using TileFn = void (*)(const ConvRows&, const Strip&, int, int, int);
  static constexpr TileFn kTiles[] = {tile<A, SIGNS, 1>, tile<A, SIGNS, 2>, tile<A, SIGNS, 3>, tile<A, SIGNS, 4>};
  for_strips(
      job, (job.in_channels + 7) / 8, A, 16,
      [&](const uint8_t* from, int pixels, uint8_t* to, ptrdiff_t plane) { slice<A>(job, from, pixels, to, plane); },
      [&](Strip at, int channel, int y, int x, int pixels) {
        for (int p = 0; p < pixels; p += kGroup, at.data += kGroup * at.pixel) {
          kTiles[pixels - p < kGroup ? pixels - p - 1 : kGroup - 1](job, at, channel, y, x + p);
        }
      });
}

}  // namespace

void bitserial_twos_avx2(const ConvRows& job) { job.abits == 1 ? convolve<1, false>(job) : convolve<2, false>(job); }

void bitserial_signs_avx2(const ConvRows& job) { job.abits == 1 ? convolve<1, true>(job) : convolve<2, true>(job); }

}  // namespace unetq
