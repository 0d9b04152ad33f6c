// Winograd F(2x2, 3x3), and F(2, 3) along rows, for AVX-512 VNNI (winograd.h has the formula). Two passes over a block
// of tiles that stays in the second-level cache:
//
//   V[chunk of channels][position][tile][bytes] = B^T d B + 128, in unsigned bytes
//   a row i of positions, T tiles x G vectors of 16 outputs in 2 T G accumulators:
//     A = sum V[i1] U[i1]   B = sum V[i2] U[i2]   x = A + B + sum V[i0] U[i0]   y = A - B - sum V[i3] U[i3]
//   rows in the order 1, 2, 0, 3: x and y of row 1 wait in memory, row 2 turns them into r1 + r2 and r1 - r2, row 0
//   completes the upper outputs r0 + r1 + r2, row 3 the lower ones r1 - r2 - r3. 6 vectors stored a tile, not 16.
#include "winograd_avx512.h"

namespace unetq {

namespace {

// Codes of any kind, logits, outputs that do not fill their vectors.
template <int T, int G>
__attribute__((noinline)) void finish_any(const Block& block, const __m512i* acc, int first, int channel, int below) {
  const ConvRows& job = block.job;
  for (int t = 0; t < T && first + t < block.tiles; ++t, acc += 4 * G) {
    const Place place = block.places[first + t];
    const int y = place.y + below, pixels = job.width - place.x < 2 ? 1 : 2;
    if (y >= job.y1) continue;
    if (job.out == nullptr) {
      finish_logits(job, acc, G, channel, y, place.x, pixels);
    } else {
      finish_codes(job, acc, G, channel, y, place.x, pixels);
    }
  }
}

// Outputs (x, x + 1) of T tiles, in the upper or lower row of the tiles. Through memory: the accumulators fill the
// registers, and the loads are part of the conversions.
template <int T, int G>
__attribute__((noinline)) void finish(const Block& block, int first, int channel, int below) {
  const ConvRows& job = block.job;
  const auto* acc = reinterpret_cast<const __m512i*>(block.sums) + (first * 4 + 2 * below) * G;
  if (!block.plain || job.channels - channel < 16 * G) {
    finish_any<T, G>(block, acc, first, channel, below);
    return;
  }
  __m512 m[G], b[G];
#pragma GCC unroll 2
  for (int g = 0; g < G; ++g) {
    m[g] = _mm512_loadu_ps(job.m + channel + 16 * g);
    b[g] = _mm512_loadu_ps(job.b + channel + 16 * g);
  }
  const __m512i hi = _mm512_set1_epi8(static_cast<char>(static_cast<int>(job.hi)));
  const Place* place = block.places + first;
  const ptrdiff_t pixel = job.out_pixel;
  uint8_t* base = job.out + channel + below * job.out_row;
  constexpr int kAtOnce = 2 / G;  // tiles that fill a vector of bytes
  for (int t = 0; t < T; t += kAtOnce, acc += 8) {
    __m512i code[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const int at = G == 2 ? k : k / 2 * 4 + k % 2;
      code[k] = _mm512_cvtps_epi32(scaled(_mm512_load_si512(acc + at), m[k % G], b[k % G]));
    }
    const __m512i bytes = pack_bytes(code[0], code[1], code[2], code[3], hi);
#pragma GCC unroll 2
    for (int k = 0; k < kAtOnce; ++k) {
      if (first + t + k >= block.tiles || place[t + k].y + below >= job.y1) continue;
      uint8_t* out = base + place[t + k].y * job.out_row + place[t + k].x * pixel;
      const bool two = place[t + k].x + 1 < job.width;
      if constexpr (G == 2) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_castsi512_si256(bytes));
        if (two) _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + pixel), _mm512_extracti64x4_epi64(bytes, 1));
      } else {
        const __m256i half = k == 0 ? _mm512_castsi512_si256(bytes) : _mm512_extracti64x4_epi64(bytes, 1);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(half));
        if (two) _mm_storeu_si128(reinterpret_cast<__m128i*>(out + pixel), _mm256_extracti128_si256(half, 1));
      }
    }
  }
}

enum class Row { k1, k2, k0, k3, kOnly };

// One row of positions of one group of tiles; rows of taps that are not transformed (kOnly) add up. gcc 12 keeps the
// accumulators in registers only in a small function of its own.
template <int T, int G, int C, Row R>
__attribute__((noinline)) const uint8_t* row(const Block& block, const uint8_t* w, int first) {
  constexpr int kRow = R == Row::k1 ? 1 : R == Row::k2 ? 2 : R == Row::k3 ? 3 : 0;
  constexpr int kTaps = R == Row::kOnly ? 3 : 1;
  constexpr bool kVanishes = R == Row::k2;
  const uint8_t* v = block.v + 4 * kRow * block.position + first * C;
  __m512i a[T][G], b[T][G];
  begin<T, G>(block, w, a, b);
  for (int i = 0; i < kTaps; ++i) {
    const uint8_t* at = v + 4 * i * block.position;
    w = multiply<T, G, C>(block, {at + block.position, at + 2 * block.position}, kVanishes ? Live::kNone : Live::kP, w,
                          a, b);
  }
  butterfly<T, G>(a, b);
  for (int i = 0; i < kTaps; ++i) {
    const uint8_t* at = v + 4 * i * block.position;
    w = multiply<T, G, C>(block, {at, at + 3 * block.position}, kVanishes ? Live::kNone : Live::kBoth, w, a, b);
  }
  uint8_t* sums = block.sums + static_cast<size_t>(first) * (4 * G * 64);
  constexpr int kPlane = G * 64;
#pragma GCC unroll 12
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 2
    for (int g = 0; g < G; ++g) {
      uint8_t* at = sums + (4 * t * G + g) * 64;
      if constexpr (R == Row::k1 || R == Row::kOnly) {
        _mm512_store_si512(at, a[t][g]);
        _mm512_store_si512(at + kPlane, b[t][g]);
      } else if constexpr (R == Row::k2) {
        const __m512i x = _mm512_load_si512(at), y = _mm512_load_si512(at + kPlane);
        _mm512_store_si512(at, _mm512_add_epi32(x, a[t][g]));
        _mm512_store_si512(at + kPlane, _mm512_add_epi32(y, b[t][g]));
        _mm512_store_si512(at + 2 * kPlane, _mm512_sub_epi32(x, a[t][g]));
        _mm512_store_si512(at + 3 * kPlane, _mm512_sub_epi32(y, b[t][g]));
      } else if constexpr (R == Row::k0) {
        _mm512_store_si512(at, _mm512_add_epi32(_mm512_load_si512(at), a[t][g]));
        _mm512_store_si512(at + kPlane, _mm512_add_epi32(_mm512_load_si512(at + kPlane), b[t][g]));
      } else {
        _mm512_store_si512(at + 2 * kPlane, _mm512_sub_epi32(_mm512_load_si512(at + 2 * kPlane), a[t][g]));
        _mm512_store_si512(at + 3 * kPlane, _mm512_sub_epi32(_mm512_load_si512(at + 3 * kPlane), b[t][g]));
      }
    }
  }
  return w;
}

template <int T, int G, int C, Row R>
const uint8_t* rows(const Block& block, const uint8_t* w, int channel) {
  const uint8_t* next = w;
  for (int first = 0; first < block.tiles; first += T) {
    next = row<T, G, C, R>(block, w, first);
    if constexpr (R == Row::k0 || R == Row::kOnly) finish<T, G>(block, first, channel, 0);
    if constexpr (R == Row::k3) finish<T, G>(block, first, channel, 1);
  }
  return next;
}

template <int T, int G, int C, int High>
void outputs(const Block& block, int channel) {
  const uint8_t* w = static_cast<const uint8_t*>(block.job.weights) + channel / 16 * block.weights;
  if constexpr (High == 2) {
    w = rows<T, G, C, Row::k1>(block, w, channel);
    w = rows<T, G, C, Row::k2>(block, w, channel);
    w = rows<T, G, C, Row::k0>(block, w, channel);
    rows<T, G, C, Row::k3>(block, w, channel);
  } else {
    rows<T, G, C, Row::kOnly>(block, w, channel);
  }
}

template <int High>
void convolve_any(Layout layout, const ConvRows& job) {
  with_chunk(job, [&](auto chunk) {
    constexpr int C = decltype(chunk)::kBytes;
    convolve<C, High, 2>(layout, job, [&](const Block& block) {
      int channel = 0;
      for (; job.channels - channel > 16; channel += 32) outputs<6, 2, C, High>(block, channel);
      if (channel < job.channels) outputs<12, 1, C, High>(block, channel);
    });
  });
}

}  // namespace

void winograd2x2_avx512vnni(const ConvRows& job) { convolve_any<2>(Layout::kWinograd2x2, job); }

void winograd1x2_avx512vnni(const ConvRows& job) { convolve_any<1>(Layout::kWinograd1x2, job); }

}  // namespace unetq
