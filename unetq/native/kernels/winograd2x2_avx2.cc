// Winograd F(2x2, 3x3) for plain AVX2, as winograd2x2_avx512vnni.cc does it: 3 tiles x 16 outputs, that is 12
// accumulators for A and B.
//
// vpmaddubsw adds two products to 16 bits, where it saturates: V <= 254, so |U| of channels 2 k and 2 k + 1 must not
// exceed 129 together (winograd_allows). That leaves nothing for further sums in 16 bits: each is widened at once, 3
// instructions for 32 products, but 2.25 times fewer products than a direct convolution has.
#include "finish_avx2.h"
#include "winograd_tiles.h"

namespace unetq {

namespace {

constexpr int kTiles = 3;
using Four [[gnu::may_alias]] = int32_t;  // 4 channels
using Sums = __m256i[kTiles][2];

// 4 channels of a tile with the weights of 16 outputs. In assembly, because gcc 12 otherwise renames accumulators from
// one step to the next, and so keeps them in memory.
inline void multiply(const uint8_t* from, const uint8_t* w, __m256i ones, __m256i (&acc)[2]) {
  __m256i bytes, sum;
  __asm__(
      "vpbroadcastd %4, %2\n\t"
      "vpmaddubsw %5, %2, %3\n\t"
      "vpmaddwd %7, %3, %3\n\t"
      "vpaddd %3, %0, %0\n\t"
      "vpmaddubsw %6, %2, %2\n\t"
      "vpmaddwd %7, %2, %2\n\t"
      "vpaddd %2, %1, %1"
      : "+x"(acc[0]), "+x"(acc[1]), "=&x"(bytes), "=&x"(sum)
      : "m"(*reinterpret_cast<const Four*>(from)), "m"(*reinterpret_cast<const __m256i*>(w)),
        "m"(*reinterpret_cast<const __m256i*>(w + 32)), "x"(ones));
}

template <int C>
inline const uint8_t* multiply(const Block& block, const uint8_t* p, const uint8_t* q, const uint8_t* w, Sums& a,
                               Sums& b) {
  w += 128;
  const __m256i ones = _mm256_set1_epi16(1);
  const ptrdiff_t to_q = q - p;
  int left = block.job.steps;
  do {
    const uint8_t* from = p;
    const uint8_t* end = p + 4 * (left < C / 4 ? left : C / 4);
    do {
#pragma GCC unroll 3
      for (int t = 0; t < kTiles; ++t) multiply(from + t * C, w, ones, a[t]);
#pragma GCC unroll 3
      for (int t = 0; t < kTiles; ++t) multiply(from + to_q + t * C, w + 64, ones, b[t]);
      from += 4;
      w += 128;
    } while (from != end);
    left -= C / 4;
    p += block.chunk;
  } while (left > 0);
  return w;
}

inline void put(uint8_t* to, __m256i v) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), v); }

// Row R of positions of one group of tiles.
template <int C, int R>
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
  w = multiply<C>(block, v + block.position, v + 2 * block.position, w, a, b);
#pragma GCC unroll 3
  for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 2
    for (int g = 0; g < 2; ++g) {
      const __m256i sum = _mm256_add_epi32(a[t][g], b[t][g]);
      b[t][g] = _mm256_sub_epi32(a[t][g], b[t][g]);
      a[t][g] = sum;
    }
  }
  w = multiply<C>(block, v, v + 3 * block.position, w, a, b);
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

template <int C, int R>
const uint8_t* rows(const Block& block, const uint8_t* w) {
  const uint8_t* next = w;
  for (int first = 0; first < block.tiles; first += kTiles) next = row<C, R>(block, w, first);
  return next;
}

template <int C>
void outputs(const Block& block, int channel) {
  const uint8_t* w = static_cast<const uint8_t*>(block.job.weights) + channel / 16 * block.weights;
  w = rows<C, 1>(block, w);
  w = rows<C, 2>(block, w);
  w = rows<C, 0>(block, w);
  rows<C, 3>(block, w);
  const auto* sums = reinterpret_cast<const __m256i*>(block.sums);
  for (int t = 0; t < block.tiles; ++t, sums += 8) {
    const Place place = block.places[t];
    finish_pixels(block.job, sums, channel, place.y, place.x, 2);
    if (place.y + 1 < block.job.y1) finish_pixels(block.job, sums + 4, channel, place.y + 1, place.x, 2);
  }
}

template <int C>
void convolve_chunks(const ConvRows& job) {
  convolve<C, 2, 2>(Layout::kWinograd2x2Pairs, job, [&](const Block& block) {
    for (int channel = 0; channel < job.channels; channel += 16) outputs<C>(block, channel);
  });
}

}  // namespace

void winograd2x2_avx2(const ConvRows& job) {
  if (winograd_chunk(4 * job.steps) == 16) {
    convolve_chunks<16>(job);
  } else {
    convolve_chunks<32>(job);
  }
}

}  // namespace unetq
