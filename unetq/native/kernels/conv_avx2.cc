// Direct convolution for AVX2. A tile is P pixels of a row times 16 output channels (two vectors of 8 lanes).
//
// vpmaddubsw multiplies unsigned bytes (4 channels of a pixel, broadcast) with signed ones (weights) and adds
// neighbours to 16 bits, where it saturates: |w0 a0 + w1 a1| < 2^(wbits + abits) must stay below 2^15. Hence three
// kernels:
//
//   short   wbits + abits <= 12: at least 8 such sums fit into 16 bits, so they are added there (2 instructions for 32
//           products) and widened to 32 bits only every 2^(15 - wbits - abits) steps
//   bytes   wbits + abits <= 15: each sum is widened at once (3 instructions)
//   pairs   any width: 16-bit codes and vpmaddwd (4 instructions, and two a broadcast)
#include "conv_ymm.h"

namespace unetq {

namespace {

inline __m256i broadcast4(const uint8_t* from) {
  int32_t four;
  __builtin_memcpy(&four, from, 4);
  return _mm256_set1_epi32(four);
}

using Four [[gnu::may_alias]] = int32_t;  // 4 channels

// One pixel's share of a step. In assembly, because gcc 12 hoists the broadcasts and then keeps accumulators in memory.

inline void multiply_short(const uint8_t* from, __m256i w0, __m256i w1, __m256i* acc0, __m256i* acc1) {
  __m256i bytes, sum;
  __asm__(
      "vpbroadcastd %4, %2\n\t"
      "vpmaddubsw %5, %2, %3\n\t"
      "vpaddw %3, %0, %0\n\t"
      "vpmaddubsw %6, %2, %2\n\t"
      "vpaddw %2, %1, %1"
      : "+x"(*acc0), "+x"(*acc1), "=&x"(bytes), "=&x"(sum)
      : "m"(*reinterpret_cast<const Four*>(from)), "x"(w0), "x"(w1));
}

// `n` steps added up in 16 bits, then to the sums.
template <int P>
__attribute__((noinline)) void add_short(const uint8_t* in, ptrdiff_t pixel, const int8_t* w, int n, __m256i* sums) {
  __m256i acc[P][2];
#pragma GCC unroll 6
  for (int p = 0; p < P; ++p) acc[p][0] = acc[p][1] = _mm256_setzero_si256();
  const ptrdiff_t pixel3 = 3 * pixel, pixel5 = 5 * pixel;
  for (int j = 0; j < n; ++j, in += 4, w += 64) {
    const __m256i w0 = load(w), w1 = load(w + 32);
#pragma GCC unroll 6
    for (int p = 0; p < P; ++p) {
      multiply_short(in + (p == 5 ? pixel5 : p == 3 ? pixel3 : p * pixel), w0, w1, &acc[p][0], &acc[p][1]);
    }
  }
  const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 6
  for (int p = 0; p < P; ++p) {
    sums[2 * p] = _mm256_add_epi32(sums[2 * p], _mm256_madd_epi16(acc[p][0], ones));
    sums[2 * p + 1] = _mm256_add_epi32(sums[2 * p + 1], _mm256_madd_epi16(acc[p][1], ones));
  }
}

template <int P>
void tile_short(const Tile& tile) {
  const ConvRows& job = tile.job;
  __m256i sums[2 * P];
  begin<P>(tile, sums);
  const int most = 1 << (15 - job.bits);
  const int8_t* w = tile.weights;
  for (int r = 0; r < job.tap_rows; ++r) {
    for (int s = 0; s < job.tap_segments; ++s) {
      const uint8_t* in = job.in + (tile.y + r) * job.in_row + (tile.x + s) * job.in_pixel;
      for (int j = 0; j < job.steps; j += most) {
        const int n = job.steps - j < most ? job.steps - j : most;
        add_short<P>(in + 4 * j, job.in_pixel, w, n, sums);
        w += 64 * n;
      }
    }
  }
  finish_pixels(tile.job, sums, tile.channel, tile.y, tile.x, P);
}

template <int P>
__attribute__((noinline)) void tile_bytes(const Tile& tile) {
  const ConvRows& job = tile.job;
  __m256i acc[P * 2];
  begin<P>(tile, acc);
  const __m256i ones = _mm256_set1_epi16(1);
  const ptrdiff_t pixel = job.in_pixel, pixel3 = 3 * pixel;
  const int8_t* w = tile.weights;
  for (int r = 0; r < job.tap_rows; ++r) {
    for (int s = 0; s < job.tap_segments; ++s) {
      const uint8_t* in = job.in + (tile.y + r) * job.in_row + (tile.x + s) * pixel;
      for (int j = 0; j < job.steps; ++j, in += 4, w += 64) {
        const __m256i w0 = load(w), w1 = load(w + 32);
#pragma GCC unroll 5
        for (int p = 0; p < P; ++p) {
          const __m256i bytes = broadcast4(in + (p == 3 ? pixel3 : p * pixel));
          acc[2 * p] = _mm256_add_epi32(acc[2 * p], _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, w0), ones));
          acc[2 * p + 1] = _mm256_add_epi32(acc[2 * p + 1], _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, w1), ones));
        }
      }
    }
  }
  finish_pixels(tile.job, acc, tile.channel, tile.y, tile.x, P);
}

template <int P>
__attribute__((noinline)) void tile_pairs(const Tile& tile) {
  const ConvRows& job = tile.job;
  __m256i acc[P * 2];
  begin<P>(tile, acc);
  const __m256i low = _mm256_set1_epi16(0xFF);
  const ptrdiff_t pixel = job.in_pixel, pixel3 = 3 * pixel;
  const int8_t* w = tile.weights;
  for (int r = 0; r < job.tap_rows; ++r) {
    for (int s = 0; s < job.tap_segments; ++s) {
      const uint8_t* in = job.in + (tile.y + r) * job.in_row + (tile.x + s) * pixel;
      for (int j = 0; j < job.steps; ++j, in += 4, w += 128) {
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          const __m256i bytes = broadcast4(in + (p == 3 ? pixel3 : p * pixel));
          const __m256i even = _mm256_and_si256(bytes, low), odd = _mm256_srli_epi16(bytes, 8);
          acc[2 * p] = _mm256_add_epi32(acc[2 * p], _mm256_madd_epi16(even, load(w)));
          acc[2 * p + 1] = _mm256_add_epi32(acc[2 * p + 1], _mm256_madd_epi16(even, load(w + 32)));
          acc[2 * p] = _mm256_add_epi32(acc[2 * p], _mm256_madd_epi16(odd, load(w + 64)));
          acc[2 * p + 1] = _mm256_add_epi32(acc[2 * p + 1], _mm256_madd_epi16(odd, load(w + 96)));
        }
      }
    }
  }
  finish_pixels(tile.job, acc, tile.channel, tile.y, tile.x, P);
}

}  // namespace

void conv_avx2_short(const ConvRows& job) {
  static constexpr TileFn kTiles[] = {tile_short<1>, tile_short<2>, tile_short<3>,
                                      tile_short<4>, tile_short<5>, tile_short<6>};
  rows(job, kTiles, 64);
}

void conv_avx2_bytes(const ConvRows& job) {
  static constexpr TileFn kTiles[] = {tile_bytes<1>, tile_bytes<2>, tile_bytes<3>, tile_bytes<4>, tile_bytes<5>};
  rows(job, kTiles, 64);
}

void conv_avx2_pairs(const ConvRows& job) {
  static constexpr TileFn kTiles[] = {tile_pairs<1>, tile_pairs<2>, tile_pairs<3>, tile_pairs<4>};
  rows(job, kTiles, 128);
}

}  // namespace unetq
