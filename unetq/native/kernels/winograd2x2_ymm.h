// Winograd F(2x2, 3x3) in vectors of 32 bytes, as winograd2x2_avx512vnni.cc does it in 64: 3 tiles x 16 outputs, that
// is 12 accumulators for A and B. `Dot` is how an instruction set multiplies: its `add(from, w, acc)` adds 4 channels
// of a tile, times the weights of 16 outputs, to two accumulators. In an unnamed namespace: each file has its own copy.
#pragma once

#include "finish_avx2.h"
#include "winograd_tiles.h"

namespace unetq {

namespace {

constexpr int kTiles = 3;
using Sums = __m256i[kTiles][2];

template <class Dot, int C, bool BOTH>
inline const uint8_t* multiply_steps(const Block& block, Pointers at, int first, int last, const uint8_t* w, Sums& a,
                                     Sums& b) {
  const Dot dot;
  const ptrdiff_t to_q = at.q - at.p;
  const uint8_t* chunk = at.p + first / (C / 4) * block.chunk;
  int skip = first % (C / 4), left = last - first;
  do {
    const int room = C / 4 - skip;
    const uint8_t* from = chunk + 4 * skip;
    const uint8_t* end = from + 4 * (left < room ? left : room);
    do {
#pragma GCC unroll 3
      for (int t = 0; t < kTiles; ++t) dot.add(from + t * C, w, a[t]);
      if constexpr (BOTH) {
#pragma GCC unroll 3
        for (int t = 0; t < kTiles; ++t) dot.add(from + to_q + t * C, w + 64, b[t]);
      }
      from += 4;
      w += BOTH ? 128 : 64;
    } while (from != end);
    left -= room;
    skip = 0;
    chunk += block.chunk;
  } while (left > 0);
  return w;
}

template <class Dot, int C>
inline const uint8_t* multiply(const Block& block, Pointers at, Live live, const uint8_t* w, Sums& a, Sums& b) {
  w += 128;
  const int doubled = live == Live::kBoth ? 0 : block.job.doubled;
  if (live == Live::kP && doubled > 0) w = multiply_steps<Dot, C, false>(block, at, 0, doubled, w, a, b);
  return multiply_steps<Dot, C, true>(block, at, doubled, block.job.steps, w, a, b);
}

inline void put(uint8_t* to, __m256i v) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), v); }

// Row R of positions of one group of tiles.
template <class Dot, int C, int R>
__attribute__((noinline)) const uint8_t* row(const Block& block, const uint8_t* w, int first) {
  Sums a, b;
#pragma GCC unroll 3
  for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 2
    for (int g = 0; g < 2; ++g) {
      a[t][g] = load(w + 32 * g);
      b[t][g] = load(w + 64 + 32 * g);
    }
  }
  const uint8_t* v = block.v + 4 * R * block.position + first * C;
  w = multiply<Dot, C>(block, {v + block.position, v + 2 * block.position}, R == 2 ? Live::kNone : Live::kP, w, a, b);
#pragma GCC unroll 3
  for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 2
    for (int g = 0; g < 2; ++g) {
      const __m256i sum = _mm256_add_epi32(a[t][g], b[t][g]);
      b[t][g] = _mm256_sub_epi32(a[t][g], b[t][g]);
      a[t][g] = sum;
    }
  }
  w = multiply<Dot, C>(block, {v, v + 3 * block.position}, R == 2 ? Live::kNone : Live::kBoth, w, a, b);
  uint8_t* sums = block.sums + static_cast<size_t>(first) * 256;  // [tile][upper, lower][x, y][16]
#pragma GCC unroll 3
  for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 2
    for (int g = 0; g < 2; ++g) {
      uint8_t* at = sums + 256 * t + 32 * g;
      if constexpr (R == 1) {
        put(at, a[t][g]);
        put(at + 64, b[t][g]);
      } else if constexpr (R == 2) {
        const __m256i x = load(at), y = load(at + 64);
        put(at, _mm256_add_epi32(x, a[t][g]));
        put(at + 64, _mm256_add_epi32(y, b[t][g]));
        put(at + 128, _mm256_sub_epi32(x, a[t][g]));
        put(at + 192, _mm256_sub_epi32(y, b[t][g]));
      } else if constexpr (R == 0) {
        put(at, _mm256_add_epi32(load(at), a[t][g]));
        put(at + 64, _mm256_add_epi32(load(at + 64), b[t][g]));
      } else {
        put(at + 128, _mm256_sub_epi32(load(at + 128), a[t][g]));
        put(at + 192, _mm256_sub_epi32(load(at + 192), b[t][g]));
      }
    }
  }
  return w;
}

template <class Dot, int C, int R>
const uint8_t* rows(const Block& block, const uint8_t* w) {
  const uint8_t* next = w;
  for (int first = 0; first < block.tiles; first += kTiles) next = row<Dot, C, R>(block, w, first);
  return next;
}

template <class Dot, int C>
void outputs(const Block& block, int channel) {
  const uint8_t* w = static_cast<const uint8_t*>(block.job.weights) + channel / 16 * block.weights;
  w = rows<Dot, C, 1>(block, w);
  w = rows<Dot, C, 2>(block, w);
  w = rows<Dot, C, 0>(block, w);
  rows<Dot, C, 3>(block, w);
  const auto* sums = reinterpret_cast<const __m256i*>(block.sums);
  for (int t = 0; t < block.tiles; ++t, sums += 8) {
    const Place place = block.places[t];
    finish_pixels(block.job, sums, channel, place.y, place.x, 2);
    if (place.y + 1 < block.job.y1) finish_pixels(block.job, sums + 4, channel, place.y + 1, place.x, 2);
  }
}

template <class Dot, int C>
void convolve_chunks(Layout layout, const ConvRows& job) {
  convolve<C, 2, 2>(layout, job, [&](const Block& block) {
    for (int channel = 0; channel < job.channels; channel += 16) outputs<Dot, C>(block, channel);
  });
}

template <class Dot>
void convolve2x2(Layout layout, const ConvRows& job) {
  if (winograd_chunk(4 * job.steps) == 16) {
    convolve_chunks<Dot, 16>(layout, job);
  } else {
    convolve_chunks<Dot, 32>(layout, job);
  }
}

}  // namespace

}  // namespace unetq
