// Winograd F(4x3, 3x3) for AVX-512 VNNI: 30 products for 12 outputs, for weights and activations of 2 bits.
// A row i of positions, T tiles x G vectors of 16 outputs in 3 T G accumulators:
//
//   A = sum V[i2] U[i2]   B = -sum V[i1] U[i1]   C = sum V[i3] U[i3]
//   X_i = B - A + C + sum V[i0] U[i0]   Y_i = B + A + 2 C   Z_i = B - A + 4 C + sum V[i4] U[i4]
//
// X, Y and Z of all rows wait in memory; from each the four outputs of one column of a tile are made as the four of a
// row are in winograd2x4_avx512vnni.cc. 144 = 9 * 16: 9 has an inverse modulo 2^32, 16 is within m.
#include "winograd_avx512.h"

namespace unetq {

namespace {

constexpr int kRows = 6;
constexpr uint32_t kNinth = 0x38E38E39;  // * 9 = 2^33 + 1

// The weights of two rows of positions (kRows4x3 in winograd.cc): pairs (2, 1) and (0, 4) of the first, (3, 3) of both,
// (2, 1) and (0, 4) of the second.
constexpr int kPairs = 5;
struct Weights {
  const uint8_t *pair, *half, *ends;  // (2, 1), 3, which is half a pair, and (0, 4)
};

// The sums of positions 2, 1 and 3, whose weights are `pair` and half a pair.
template <int T, int G, int C>
[[gnu::always_inline]] inline void multiply_three(const Block& block, const uint8_t* v, const uint8_t* pair,
                                                  const uint8_t* half, __m512i (&a)[T][G], __m512i (&b)[T][G],
                                                  __m512i (&c)[T][G]) {
  const size_t next = block.weights;
  const ptrdiff_t position = block.position;
  begin<T, G>(block, pair, a, b);
#pragma GCC unroll 2
  for (int g = 0; g < G; ++g) {
    const __m512i start = _mm512_loadu_si512(half + g * next);
#pragma GCC unroll 6
    for (int t = 0; t < T; ++t) c[t][g] = start;
  }
  const ptrdiff_t to_half = half - pair;
  const uint8_t* w = pair + 128;
  int left = block.job.steps;
  do {
    const uint8_t* from = v;
    const uint8_t* end = from + 4 * (left < C / 4 ? left : C / 4);
    do {
      __m512i w1[G], w2[G], w3[G];
#pragma GCC unroll 2
      for (int g = 0; g < G; ++g) {
        w2[g] = _mm512_loadu_si512(w + g * next);
        w1[g] = _mm512_loadu_si512(w + g * next + 64);
        w3[g] = _mm512_loadu_si512(w + g * next + to_half);
      }
#pragma GCC unroll 6
      for (int t = 0; t < T; ++t) multiply<G>(from + 2 * position + t * C, w2, a[t]);
#pragma GCC unroll 6
      for (int t = 0; t < T; ++t) multiply<G>(from + position + t * C, w1, b[t]);
#pragma GCC unroll 6
      for (int t = 0; t < T; ++t) multiply<G>(from + 3 * position + t * C, w3, c[t]);
      from += 4;
      w += 128;
    } while (from != end);
    left -= C / 4;
    v += block.chunk;
  } while (left > 0);
}

// X and Z of row i of positions: [tile][X, Y, Z][i][G][16].
template <int G>
using Ends = Sums<3 * kRows * G, 2 * kRows * G>;

template <int G>
inline Ends<G> ends_of(const Block& block, int first, int i) {
  return {block.sums + (static_cast<size_t>(first) * 3 * kRows + i) * G * 64};
}

// Row i of T tiles: all of it, or positions 1, 2 and 3 and the starts of 0 and 4.
template <int T, int G, int C, bool ALL>
__attribute__((noinline)) void row(const Block& block, Weights w, int first, int i) {
  const uint8_t* v = block.v + 5 * i * block.position + first * C;
  __m512i a[T][G], b[T][G], c[T][G];
  multiply_three<T, G, C>(block, v, w.pair, w.half, a, b, c);
  const Ends<G> sums = ends_of<G>(block, first, i);
#pragma GCC unroll 2
  for (int g = 0; g < G; ++g) {
    const __m512i start0 = _mm512_loadu_si512(w.ends + g * block.weights);
    const __m512i start4 = _mm512_loadu_si512(w.ends + g * block.weights + 64);
#pragma GCC unroll 6
    for (int t = 0; t < T; ++t) {
      const __m512i sum = _mm512_add_epi32(b[t][g], a[t][g]), difference = _mm512_sub_epi32(b[t][g], a[t][g]);
      _mm512_store_si512(sums.first + ((t * 3 + 1) * kRows * G + g) * 64,
                         _mm512_add_epi32(sum, _mm512_add_epi32(c[t][g], c[t][g])));
      a[t][g] = _mm512_add_epi32(_mm512_add_epi32(difference, c[t][g]), start0);
      b[t][g] = _mm512_add_epi32(_mm512_add_epi32(difference, _mm512_slli_epi32(c[t][g], 2)), start4);
    }
  }
  if constexpr (ALL) multiply<T, G, C>(block, {v, v + 4 * block.position}, Live::kBoth, w.ends, a, b);
  sums.store(a, b);
}

// Positions 0 and 4 of more tiles (kWeightsAtOnce).
template <int T, int G, int C>
__attribute__((noinline)) void ends(const Block& block, const uint8_t* w, int first, int i) {
  const uint8_t* v = block.v + 5 * i * block.position + first * C;
  const Ends<G> sums = ends_of<G>(block, first, i);
  __m512i x[T][G], z[T][G];
  sums.load(x, z);
  multiply<T, G, C>(block, {v, v + 4 * block.position}, Live::kBoth, w, x, z);
  sums.store(x, z);
}

template <int G>
__attribute__((noinline)) void finish(const Block& block, int channel) {
  const ConvRows& job = block.job;
  const bool plain = block.plain && job.channels - channel >= 16 * G;
  const Scale<G> scale(job, channel);
  const __m512i ninth = _mm512_set1_epi32(static_cast<int>(kNinth));
  const auto* sums = reinterpret_cast<const __m512i*>(block.sums);
  for (int t = 0; t < 3 * block.tiles; ++t, sums += kRows * G) {
    const Place place = block.places[t / 3];
    const int x = place.x + t % 3, left = job.y1 - place.y, pixels = left < 4 ? left : 4;
    if (x >= job.width) continue;
    __m512i acc[4 * G];
#pragma GCC unroll 2
    for (int g = 0; g < G; ++g) combine4<G>(sums + g, acc + g);
#pragma GCC unroll 8
    for (int k = 0; k < 4 * G; ++k) acc[k] = _mm512_mullo_epi32(acc[k], ninth);
    if (plain) {
      store_four<G>(acc, scale, job.out + place.y * job.out_row + x * job.out_pixel + channel, job.out_row, pixels);
      continue;
    }
    for (int k = 0; k < pixels; ++k) {
      if (job.out == nullptr) {
        finish_logits(job, acc + k * G, G, channel, place.y + k, x, 1);
      } else {
        finish_codes(job, acc + k * G, G, channel, place.y + k, x, 1);
      }
    }
  }
}

template <int T, int G, int C>
void outputs(const Block& block, int channel) {
  const uint8_t* w = static_cast<const uint8_t*>(block.job.weights) + channel / 16 * block.weights;
  const size_t pair_bytes = block.weights / (kPairs * kRows / 2);
  const bool all = C < 64 || G * block.weights / kRows <= kWeightsAtOnce;
  for (int i = 0; i < kRows; ++i) {
    const uint8_t* two = w + i / 2 * kPairs * pair_bytes;
    const uint8_t* pair = two + (i % 2 == 0 ? 0 : 3) * pair_bytes;
    const Weights weights = {pair, two + 2 * pair_bytes + i % 2 * 64, pair + pair_bytes};
    if (all) {
      for (int first = 0; first < block.tiles; first += T) row<T, G, C, true>(block, weights, first, i);
    } else if constexpr (C == 64) {
      for (int first = 0; first < block.tiles; first += T) row<T, G, C, false>(block, weights, first, i);
      for (int first = 0; first < block.tiles; first += 12 / G) ends<12 / G, G, C>(block, weights.ends, first, i);
    }
  }
  finish<G>(block, channel);
}

}  // namespace

void winograd4x3_avx512vnni(const ConvRows& job) {
  with_chunk(job, [&](auto chunk) {
    constexpr int C = decltype(chunk)::kBytes;
    convolve<C, 4, 3>(Layout::kWinograd4x3, job, [&](const Block& block) {
      int channel = 0;
      for (; job.channels - channel > 16; channel += 32) outputs<4, 2, C>(block, channel);
      if (channel < job.channels) outputs<6, 1, C>(block, channel);
    });
  });
}

}  // namespace unetq
