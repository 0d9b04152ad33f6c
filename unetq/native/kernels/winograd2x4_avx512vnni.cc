// Winograd F(2x4, 3x3) for AVX-512 VNNI: 24 products for 8 outputs, where low bits leave room for its coefficients.
// A column j of positions, T tiles x G vectors of 16 outputs, is what a row is in winograd2x2_avx512vnni.cc:
//
//   A = sum V[1j] U[1j]   B = sum V[2j] U[2j]   X_j = A + B + sum V[0j] U[0j]   Y_j = A - B - sum V[3j] U[3j]
//
// X_j and Y_j of all columns wait in memory; then, with s, d = X_1 +- X_2 and s', d' = X_3 +- X_4, the upper outputs
// are
//
//   48 out = [X_0 + 2 s + s', 2 d + 2 d', 2 s + 4 s', 2 d + 8 d' + 4 X_5]
//
// and the lower ones the same of Y. 48 = 3 * 16: 3 has an inverse modulo 2^32, 16 is within m.
#include "winograd_avx512.h"

namespace unetq {

namespace {

constexpr int kColumns = 6;
constexpr uint32_t kThird = 0xAAAAAAAB;  // * 3 = 2^33 + 1

// Of a column of positions: all, or rows 1 and 2 of more tiles and then 0 and 3 (kWeightsAtOnce).
enum class Part { kAll, kMiddle, kEnds };

template <int T, int G, int C, bool VANISHES, Part PART>
__attribute__((noinline)) const uint8_t* column(const Block& block, const uint8_t* w, int first, int j) {
  const uint8_t* v = block.v + j * block.position + first * C;
  const ptrdiff_t row = kColumns * block.position;
  const Sums<2 * kColumns * G, kColumns * G> sums = {
      // [tile][X, Y][j][G][16]
      block.sums + (static_cast<size_t>(first) * 2 * kColumns + j) * G * 64};
  __m512i a[T][G], b[T][G];
  if constexpr (PART == Part::kEnds) {
    sums.load(a, b);
  } else {
    begin<T, G>(block, w, a, b);
    w = multiply<T, G, C>(block, {v + row, v + 2 * row}, VANISHES ? Live::kNone : Live::kP, w, a, b);
    butterfly<T, G>(a, b);
  }
  if constexpr (PART != Part::kMiddle) {
    w = multiply<T, G, C>(block, {v, v + 3 * row}, VANISHES ? Live::kNone : Live::kBoth, w, a, b);
  }
  sums.store(a, b);
  return w;
}

template <int G>
__attribute__((noinline)) void finish(const Block& block, int channel) {
  const ConvRows& job = block.job;
  const bool plain = block.plain && job.channels - channel >= 16 * G;
  const Scale<G> scale(job, channel);
  const __m512i third = _mm512_set1_epi32(static_cast<int>(kThird));
  const auto* sums = reinterpret_cast<const __m512i*>(block.sums);
  for (int t = 0; t < 2 * block.tiles; ++t, sums += kColumns * G) {
    const Place place = block.places[t / 2];
    const int y = place.y + t % 2, left = job.width - place.x, pixels = left < 4 ? left : 4;
    if (y >= job.y1) continue;
    __m512i acc[4 * G];
#pragma GCC unroll 2
    for (int g = 0; g < G; ++g) combine4<G>(sums + g, acc + g);
#pragma GCC unroll 8
    for (int k = 0; k < 4 * G; ++k) acc[k] = _mm512_mullo_epi32(acc[k], third);
    if (plain) {
      store_four<G>(acc, scale, job.out + y * job.out_row + place.x * job.out_pixel + channel, job.out_pixel, pixels);
    } else if (job.out == nullptr) {
      finish_logits(job, acc, G, channel, y, place.x, pixels);
    } else {
      finish_codes(job, acc, G, channel, y, place.x, pixels);
    }
  }
}

template <int T, int G, int C, Part PART>
const uint8_t* columns(const Block& block, const uint8_t* w, int j) {
  const uint8_t* next = w;
  for (int first = 0; first < block.tiles; first += T) {
    next = j == 2 ? column<T, G, C, true, PART>(block, w, first, j) : column<T, G, C, false, PART>(block, w, first, j);
  }
  return next;
}

template <int T, int G, int C>
void outputs(const Block& block, int channel) {
  const uint8_t* w = static_cast<const uint8_t*>(block.job.weights) + channel / 16 * block.weights;
  const bool all = C < 64 || G * block.weights / kColumns <= kWeightsAtOnce;
  for (int j = 0; j < kColumns; ++j) {
    if (all) {
      w = columns<T, G, C, Part::kAll>(block, w, j);
    } else if constexpr (C == 64) {
      w = columns<T, G, C, Part::kMiddle>(block, w, j);
      w = columns<T, G, C, Part::kEnds>(block, w, j);
    }
  }
  finish<G>(block, channel);
}

}  // namespace

void winograd2x4_avx512vnni(const ConvRows& job) {
  with_chunk(job, [&](auto chunk) {
    constexpr int C = decltype(chunk)::kBytes;
    convolve<C, 2, 4>(Layout::kWinograd2x4, job, [&](const Block& block) {
      int channel = 0;
      for (; job.channels - channel > 16; channel += 32) outputs<6, 2, C>(block, channel);
      if (channel < job.channels) outputs<12, 1, C>(block, channel);
    });
  });
}

}  // namespace unetq
