// The frame of the Winograd kernels: blocks of tiles of High x Wide outputs, and the input's transform. In an unnamed
// namespace: each file has its own copy, compiled with its own flags.
#pragma once

#ifdef UNETQ_X86
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

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
  uint8_t* sums;              // of each tile, as the kernel likes
  const Place* places;
  size_t weights;  // bytes of 16 outputs
  int tiles;
  bool plain;  // unsigned codes: packing with saturation clamps from below
};

// V of a pair of positions, and what of them there is in doubled channels (winograd_vanishes).
struct Pointers {
  const uint8_t *p, *q;
};
enum class Live { kBoth, kP, kNone };

template <int C>
struct Bytes;
#ifdef UNETQ_X86
#ifdef __AVX512BW__
template <>
struct Bytes<64> {
  using Type = __m512i;
  static Type load(const uint8_t* from) { return _mm512_loadu_si512(from); }
  static void store(uint8_t* to, Type v) { _mm512_storeu_si512(to, v); }
  static Type add(Type a, Type b) { return _mm512_add_epi8(a, b); }
  static Type sub(Type a, Type b) { return _mm512_sub_epi8(a, b); }
  static Type flip(Type a) { return _mm512_xor_si512(a, _mm512_set1_epi8(-128)); }
};
#endif
template <>
struct Bytes<32> {
  using Type = __m256i;
  static Type load(const uint8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
  static void store(uint8_t* to, Type v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), v); }
  static Type add(Type a, Type b) { return _mm256_add_epi8(a, b); }
  static Type sub(Type a, Type b) { return _mm256_sub_epi8(a, b); }
  static Type flip(Type a) { return _mm256_xor_si256(a, _mm256_set1_epi8(-128)); }
};
template <>
struct Bytes<16> {
  using Type = __m128i;
  static Type load(const uint8_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
  static void store(uint8_t* to, Type v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), v); }
  static Type add(Type a, Type b) { return _mm_add_epi8(a, b); }
  static Type sub(Type a, Type b) { return _mm_sub_epi8(a, b); }
  static Type flip(Type a) { return _mm_xor_si128(a, _mm_set1_epi8(-128)); }
};
constexpr bool kSigned = false;
#else
template <>
struct Bytes<16> {
  using Type = uint8x16_t;
  static Type load(const uint8_t* from) { return vld1q_u8(from); }
  static void store(uint8_t* to, Type v) { vst1q_u8(to, v); }
  static Type add(Type a, Type b) { return vaddq_u8(a, b); }
  static Type sub(Type a, Type b) { return vsubq_u8(a, b); }
  static Type flip(Type a) { return veorq_u8(a, vdupq_n_u8(128)); }
  static void store_halves(uint8_t* to, Type v) {  // of one tile of a pair
    vst1_u8(to, vget_low_u8(v));
    vst1_u8(to + 16, vget_high_u8(v));
  }
};
constexpr bool kSigned = true;
#endif

// The 128 that makes an unsigned byte of a difference; signed bytes take it as it is.
template <int C>
inline typename Bytes<C>::Type centred(typename Bytes<C>::Type a) {
  if constexpr (kSigned) return a;
  return Bytes<C>::flip(a);
}

// V of a tile. PAIRS: of neighbouring tiles, 8 channels of both stand side by side, then the others.
template <int C, bool PAIRS>
inline void put(uint8_t* to, typename Bytes<C>::Type v) {
  if constexpr (PAIRS) {
    Bytes<C>::store_halves(to, v);
  } else {
    Bytes<C>::store(to, v);
  }
}

// Bytes from V of tile `tile` of a block to that of the next one.
template <int C, bool PAIRS>
inline ptrdiff_t step_of(int tile) {
  return PAIRS ? (tile % 2 == 0 ? 8 : 2 * C - 8) : C;
}

// kAxis4.b of 6 numbers: 4 (c0 - c2) + f, 4 (c1 + c2) - (c3 + c4), 4 (c2 - c1) + (c3 - c4), f + g, f - g, c5 - c3 - 2
// g, where f = c4 - c2 and g = 2 (c3 - c1). CENTRED: all with their 128; VANISHES: there is no third one.
template <int C, bool CENTRED, bool VANISHES, typename V = typename Bytes<C>::Type>
inline void along4(V c0, V c1, V c2, V c3, V c4, V c5, V* to) {
  using B = Bytes<C>;
  const auto twice = [](V x) { return B::add(x, x); };
  const auto end = [](V x) { return CENTRED ? centred<C>(x) : x; };
  const V f = end(B::sub(c4, c2)), g = twice(B::sub(c3, c1));
  to[0] = B::add(twice(twice(B::sub(c0, c2))), f);
  to[1] = end(B::sub(twice(twice(B::add(c1, c2))), B::add(c3, c4)));
  if constexpr (!VANISHES) to[2] = end(B::add(twice(twice(B::sub(c2, c1))), B::sub(c3, c4)));
  to[3] = B::add(f, g);
  to[4] = B::sub(f, g);
  to[5] = end(B::sub(B::sub(c5, c3), twice(g)));
}

// Down a column of 4 (3, 6) rows of pixels. DOUBLED: of doubled channels.
template <int C, int High, bool DOUBLED>
inline void column(const uint8_t* const* rows, ptrdiff_t at, typename Bytes<C>::Type* to) {
  using B = Bytes<C>;
  const auto d0 = B::load(rows[0] + at), d1 = B::load(rows[1] + at);
  const auto d2 = DOUBLED && High == 2 ? d1 : B::load(rows[2] + at);
  if constexpr (High == 4) {
    along4<C, false, false>(d0, d1, d2, B::load(rows[3] + at), B::load(rows[4] + at), B::load(rows[5] + at), to);
  } else if constexpr (High == 2) {
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

// What a chunk of channels is read from: the input; the same, of doubled channels; the image that those come from,
// where a pixel stands for two, the first of all alone.
enum class Source { kInput, kDoubled, kLow };

template <Source FROM>
constexpr ptrdiff_t place_of(ptrdiff_t pixel) {
  return FROM == Source::kLow ? (pixel + 1) / 2 : pixel;
}

// `count` tiles side by side; `flips`: signed bytes of position (1, 1) get -128. Differences are taken modulo 256 and
// get their 128 by flipping the upper bit: of e and o, the even and the odd column, each position takes part of one
// that is flipped and one that is not.
template <int C, int High, bool PAIRS, Source FROM>
__attribute__((noinline)) void transform2(const uint8_t* const* rows, ptrdiff_t pixel, int first, int count, uint8_t* v,
                                          ptrdiff_t position, [[maybe_unused]] bool flips) {
  using B = Bytes<C>;
  constexpr int kRows = High + 2;
  constexpr bool kDoubled = FROM != Source::kInput;
  typename B::Type e[kRows], o[kRows];
  column<C, High, kDoubled>(rows, 0, e);
  column<C, High, kDoubled>(rows, pixel, o);
  for (int t = 0; t < count; v += step_of<C, PAIRS>(first + t), ++t) {
    typename B::Type e1[kRows], o1[kRows];
    if constexpr (kDoubled) {
      for (int i = 0; i < kRows; ++i) e1[i] = o[i];
    } else {
      column<C, High, kDoubled>(rows, (2 * t + 2) * pixel, e1);
    }
    column<C, High, kDoubled>(rows, place_of<FROM>(2 * t + 3) * pixel, o1);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      if (kDoubled && High == 2 && i == 2) continue;
      const auto flipped = centred<C>(o[i]);
      const bool sum = High == 1 || i == 1;  // no coefficient of position (i, 1) is negative
      uint8_t* to = v + 4 * i * position;
      put<C, PAIRS>(to, B::sub(centred<C>(e[i]), e1[i]));
      const auto second = B::add(sum ? o[i] : flipped, e1[i]);
      put<C, PAIRS>(to + position, kSigned && sum && flips ? B::flip(second) : second);
      if constexpr (!kDoubled) put<C, PAIRS>(to + 2 * position, B::sub(e1[i], flipped));
      put<C, PAIRS>(to + 3 * position, B::sub(flipped, o1[i]));
      e[i] = e1[i];
      o[i] = o1[i];
    }
  }
}

// The same for 4 outputs along a row, from 6 columns.
template <int C, int High, bool PAIRS, Source FROM>
__attribute__((noinline)) void transform4(const uint8_t* const* rows, ptrdiff_t pixel, int first, int count, uint8_t* v,
                                          ptrdiff_t position) {
  using B = Bytes<C>;
  constexpr int kRows = High + 2;
  constexpr bool kDoubled = FROM != Source::kInput;
  typename B::Type c[6][kRows];
  column<C, High, kDoubled>(rows, 0, c[0]);
  column<C, High, kDoubled>(rows, pixel, c[1]);
  for (int t = 0; t < count; v += step_of<C, PAIRS>(first + t), ++t) {
#pragma GCC unroll 4
    for (int k = 2; k < 6; ++k) {
      if (kDoubled && k % 2 == 0) {
        for (int i = 0; i < kRows; ++i) c[k][i] = c[k - 1][i];
      } else {
        column<C, High, kDoubled>(rows, place_of<FROM>(4 * t + k) * pixel, c[k]);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      if (kDoubled && i == 2) continue;
      typename B::Type along[6];
      along4<C, true, kDoubled>(c[0][i], c[1][i], c[2][i], c[3][i], c[4][i], c[5][i], along);
      uint8_t* to = v + 6 * i * position;
#pragma GCC unroll 6
      for (int j = 0; j < 6; ++j) {
        if (!kDoubled || j != 2) put<C, PAIRS>(to + j * position, along[j]);
      }
      c[0][i] = c[4][i];
      c[1][i] = c[5][i];
    }
  }
}

// The same for 3 outputs along a row, from 5 columns, never of doubled channels: 2 (c0 - c2) + f, f - (c1 + c2),
// f + 3 (c1 - c2), f, c4 - c2 - 2 f, where f = c3 - c1.
template <int C, int High>
__attribute__((noinline)) void transform3(const uint8_t* const* rows, ptrdiff_t pixel, int count, uint8_t* v,
                                          ptrdiff_t position) {
  using B = Bytes<C>;
  constexpr int kRows = High + 2;
  const auto twice = [](auto x) { return B::add(x, x); };
  typename B::Type c[5][kRows];
  column<C, High, false>(rows, 0, c[0]);
  column<C, High, false>(rows, pixel, c[1]);
  for (int t = 0; t < count; v += C, ++t) {
#pragma GCC unroll 3
    for (int k = 2; k < 5; ++k) column<C, High, false>(rows, (3 * t + k) * pixel, c[k]);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const auto f = centred<C>(B::sub(c[3][i], c[1][i])), h = B::sub(c[1][i], c[2][i]);
      uint8_t* to = v + 5 * i * position;
      B::store(to, B::add(twice(B::sub(c[0][i], c[2][i])), f));
      B::store(to + position, B::sub(f, B::add(c[1][i], c[2][i])));
      B::store(to + 2 * position, B::add(f, B::add(twice(h), h)));
      B::store(to + 3 * position, f);
      B::store(to + 4 * position, centred<C>(B::sub(B::sub(c[4][i], c[2][i]), twice(f))));
      c[0][i] = c[3][i];
      c[1][i] = c[4][i];
    }
  }
}

template <int C, int High, int Wide, bool PAIRS, Source FROM>
inline void transform(const uint8_t* const* rows, ptrdiff_t pixel, int first, int count, uint8_t* v, ptrdiff_t position,
                      [[maybe_unused]] bool flips) {
  if constexpr (Wide == 2) {
    transform2<C, High, PAIRS, FROM>(rows, pixel, first, count, v, position, flips);
  } else if constexpr (Wide == 3) {
    transform3<C, High>(rows, pixel, count, v, position);
  } else {
    transform4<C, High, PAIRS, FROM>(rows, pixel, first, count, v, position);
  }
}

// V of the block's tiles, a run of neighbours at a time.
template <int C, int High, int Wide, bool PAIRS>
void transform_block(const Block& block, uint8_t* v, bool flips) {
  const ConvRows& job = block.job;
  for (int first = 0; first < block.tiles;) {
    const Place place = block.places[first];
    int count = 1;
    while (first + count < block.tiles && block.places[first + count].y == place.y) ++count;
    constexpr int kRows = High + 2;
    const uint8_t *rows[kRows], *low[kRows];
    for (int r = 0; r < kRows; ++r) {
      // Rows behind y1 need not exist: only outputs that nobody wants depend on them.
      const int y = place.y + r < job.y1 + 2 ? place.y + r : job.y1 + 1;
      rows[r] = job.in + y * job.in_row + place.x * job.in_pixel;
      low[r] = job.low == nullptr ? nullptr
                                  : job.low + place_of<Source::kLow>(y) * job.low_row +
                                        place_of<Source::kLow>(place.x) * job.low_pixel;
    }
    uint8_t* to = v + (PAIRS ? first / 2 * 2 * C + first % 2 * 8 : first * C);
    for (int step = 0; step < job.steps; step += C / 4, to += block.chunk) {
      const bool doubled = step + C / 4 <= job.doubled;
      if (doubled && job.low != nullptr) {
        transform<C, High, Wide, PAIRS, Source::kLow>(low, job.low_pixel, first, count, to, block.position, flips);
      } else if (doubled) {
        transform<C, High, Wide, PAIRS, Source::kDoubled>(rows, job.in_pixel, first, count, to, block.position, flips);
      } else {
        transform<C, High, Wide, PAIRS, Source::kInput>(rows, job.in_pixel, first, count, to, block.position, flips);
      }
      for (int r = 0; r < kRows; ++r) {
        rows[r] += C;
        if (job.low != nullptr) low[r] += C;
      }
    }
    first += count;
  }
}

// Block after block: the transform, then `outputs(block)`. C: bytes of a chunk, at most winograd_chunk.
template <int C, int High, int Wide, bool PAIRS = false, typename Outputs>
void convolve(Layout layout, const ConvRows& job, const Outputs& outputs) {
  const Winograd& winograd = *winograd_of(layout);
  constexpr int kPositions = (High + 2) * (Wide + 2);
  const int channels = 4 * job.steps, most = job.block_tiles;
  const int wide = (job.width + Wide - 1) / Wide, tiles = (job.y1 - job.y0 + High - 1) / High * wide;
  const int blocks = (tiles + most - 1) / most, size = (tiles + 12 * blocks - 1) / (12 * blocks) * 12;
  // One tile more between positions than there are: sets of the first-level cache are taken in turn.
  Block block = {job, job.scratch, static_cast<ptrdiff_t>(most + 1) * C, 0, nullptr, nullptr, 0, 0, false};
  block.chunk = kPositions * block.position;
  uint8_t* rest = job.scratch + ((channels + C - 1) / C * block.chunk + 1024) / 64 * 64;
  block.sums = rest;
  auto* places = reinterpret_cast<Place*>(rest + static_cast<size_t>(most) * winograd_sums_bytes(winograd));
  block.places = places;
  block.weights = winograd_block_bytes(winograd, channels, 4 * job.doubled);
  const bool flips = winograd_offset(winograd, 1, 1, job.abits) == -128;
  block.plain = job.out != nullptr && job.lo == 0.0f && job.zero == 0;
  for (int first = 0; first < tiles; first += size) {
    block.tiles = tiles - first < size ? tiles - first : size;
    Place place = {job.y0 + first / wide * High, first % wide * Wide};
    for (int t = 0; t < block.tiles; ++t) {
      places[t] = place;
      place.x += Wide;
      if (place.x >= job.width) place = {place.y + High, 0};
    }
    transform_block<C, High, Wide, PAIRS>(block, job.scratch, flips);
    outputs(block);
  }
}

}  // namespace

}  // namespace unetq
