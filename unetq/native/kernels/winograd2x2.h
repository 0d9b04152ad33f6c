// The frame of the kernels of tiles with 2 outputs along a row, 2 (F(2x2)) or 1 (F(2) along rows) down a column: blocks
// of tiles, the input's transform. In an unnamed namespace: each file has its own copy, compiled with its own flags.
#pragma once

#include <immintrin.h>

#include "winograd.h"

namespace unetq {

namespace {

struct Place {
  int y, x;
};

struct Block {
  const ConvRows& job;
  const uint8_t* v;
  ptrdiff_t position, chunk;  // bytes from one to the next
  uint8_t* sums;              // [tile][upper, lower][x, y][G][16] int32
  const Place* places;
  size_t weights;  // bytes of 16 outputs
  int tiles;
  bool plain;  // unsigned codes: packing with saturation clamps from below
};

template <int C>
struct Bytes;
#ifdef __AVX512BW__
template <>
struct Bytes<64> {
  using Type = __m512i;
  static inline Type load(const uint8_t* from) { return _mm512_loadu_si512(from); }
  static inline void store(uint8_t* to, Type v) { _mm512_storeu_si512(to, v); }
  static inline Type add(Type a, Type b) { return _mm512_add_epi8(a, b); }
  static inline Type sub(Type a, Type b) { return _mm512_sub_epi8(a, b); }
  static inline Type flip(Type a) { return _mm512_xor_si512(a, _mm512_set1_epi8(-128)); }
};
#endif
template <>
struct Bytes<32> {
  using Type = __m256i;
  static inline Type load(const uint8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
  static inline void store(uint8_t* to, Type v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), v); }
  static inline Type add(Type a, Type b) { return _mm256_add_epi8(a, b); }
  static inline Type sub(Type a, Type b) { return _mm256_sub_epi8(a, b); }
  static inline Type flip(Type a) { return _mm256_xor_si256(a, _mm256_set1_epi8(-128)); }
};
template <>
struct Bytes<16> {
  using Type = __m128i;
  static inline Type load(const uint8_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
  static inline void store(uint8_t* to, Type v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), v); }
  static inline Type add(Type a, Type b) { return _mm_add_epi8(a, b); }
  static inline Type sub(Type a, Type b) { return _mm_sub_epi8(a, b); }
  static inline Type flip(Type a) { return _mm_xor_si128(a, _mm_set1_epi8(-128)); }
};

// Down a column of 4 (or 3) rows of pixels.
template <int C, bool Two>
inline void column(const uint8_t* const* rows, ptrdiff_t at, typename Bytes<C>::Type* to) {
  using B = Bytes<C>;
  const auto d0 = B::load(rows[0] + at), d1 = B::load(rows[1] + at), d2 = B::load(rows[2] + at);
  if constexpr (Two) {
    const auto d3 = B::load(rows[3] + at);
    to[0] = B::sub(d0, d2);
    to[1] = B::add(d1, d2);
    to[2] = B::sub(d2, d1);
    to[3] = B::sub(d1, d3);
  } else {
    to[0] = d0;
    to[1] = d1;
    to[2] = d2;
  }
}

// `count` tiles side by side. Differences are taken modulo 256 and get their 128 by flipping the upper bit: of e and o,
// the even and the odd column, each position takes part of one that is flipped and one that is not.
template <int C, bool Two>
__attribute__((noinline)) void transform(const uint8_t* const* rows, ptrdiff_t pixel, int count, uint8_t* v,
                                         ptrdiff_t position) {
  using B = Bytes<C>;
  constexpr int kRows = Two ? 4 : 3;
  typename B::Type e[kRows], o[kRows];
  column<C, Two>(rows, 0, e);
  column<C, Two>(rows, pixel, o);
  for (int t = 0; t < count; ++t, v += C) {
    typename B::Type e1[kRows], o1[kRows];
    const ptrdiff_t at = (2 * t + 2) * pixel;
    column<C, Two>(rows, at, e1);
    column<C, Two>(rows, at + pixel, o1);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const auto flipped = B::flip(o[i]);
      const bool sum = !Two || i == 1;  // no coefficient of position (i, 1) is negative
      uint8_t* to = v + 4 * i * position;
      B::store(to, B::sub(B::flip(e[i]), e1[i]));
      B::store(to + position, B::add(sum ? o[i] : flipped, e1[i]));
      B::store(to + 2 * position, B::sub(e1[i], flipped));
      B::store(to + 3 * position, B::sub(flipped, o1[i]));
      e[i] = e1[i];
      o[i] = o1[i];
    }
  }
}

// V of the block's tiles, a run of neighbours at a time.
template <int C, bool Two>
void transform_block(const Block& block, uint8_t* v) {
  const ConvRows& job = block.job;
  for (int first = 0; first < block.tiles;) {
    const Place place = block.places[first];
    int count = 1;
    while (first + count < block.tiles && block.places[first + count].y == place.y) ++count;
    const uint8_t* rows[4];
    for (int r = 0; r < 4; ++r) {
      // Row y1 + 1 need not exist: only the outputs of row y1, which nobody wants, depend on it.
      const int y = place.y + r < job.y1 + 2 ? place.y + r : job.y1 + 1;
      rows[r] = job.in + y * job.in_row + place.x * job.in_pixel;
    }
    uint8_t* to = v + first * C;
    for (int left = job.steps; left > 0; left -= C / 4, to += block.chunk) {
      transform<C, Two>(rows, job.in_pixel, count, to, block.position);
      for (const uint8_t*& from : rows) from += C;
    }
    first += count;
  }
}

// Block after block: the transform, then `outputs(block)`. C: bytes of a chunk, at most
// winograd_chunk.
template <int C, bool Two, typename Outputs>
void convolve(const ConvRows& job, const Outputs& outputs) {
  const Winograd& winograd = *winograd_of(Two ? Layout::kWinograd2x2 : Layout::kWinograd1x2);
  constexpr int kPositions = Two ? 16 : 12, kTall = Two ? 2 : 1;
  const int channels = 4 * job.steps, most = winograd_block_tiles(winograd, channels);
  const int wide = (job.width + 1) / 2, tiles = (job.y1 - job.y0 + kTall - 1) / kTall * wide;
  const int blocks = (tiles + most - 1) / most, size = (tiles + 12 * blocks - 1) / (12 * blocks) * 12;
  // One tile more between positions than there are: sets of the first-level cache are taken in turn.
  Block block = {job, job.scratch, static_cast<ptrdiff_t>(most + 1) * C, 0, nullptr, nullptr, 0, 0, false};
  block.chunk = kPositions * block.position;
  uint8_t* rest = job.scratch + ((channels + C - 1) / C * block.chunk + 1024) / 64 * 64;
  block.sums = rest;
  auto* places = reinterpret_cast<Place*>(rest + static_cast<size_t>(most) * 4 * 2 * 64);
  block.places = places;
  block.weights = winograd_block_bytes(winograd, channels);
  block.plain = job.out != nullptr && job.lo == 0.0f && job.zero == 0;
  for (int first = 0; first < tiles; first += size) {
    block.tiles = tiles - first < size ? tiles - first : size;
    Place place = {job.y0 + first / wide * kTall, first % wide * 2};
    for (int t = 0; t < block.tiles; ++t) {
      places[t] = place;
      place.x += 2;
      if (place.x >= job.width) place = {place.y + kTall, 0};
    }
    transform_block<C, Two>(block, job.scratch);
    outputs(block);
  }
}

}  // namespace

}  // namespace unetq
