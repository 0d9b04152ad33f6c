// Winograd for NEON without dot products: 16 channels of a tile meet 16 of one output, smull and smlal to 8 sums of 16
// bits, as long as |V| <= 128 and |U| <= 127 leave room (winograd_most16: 2 products at least, 3 for W4A6, 14 for
// W2A6), then sadalp to 4 of 32. The sums of an output are added across lanes once, at the end of a position.
#include "winograd_neon.h"

namespace unetq {

namespace {

#ifdef UNETQ_ARM64
constexpr int kTiles = 4;  // x 4 outputs: 16 of 32 registers are sums
#else
constexpr int kTiles = 2;  // of 16
#endif

// The sums of a few tiles and of outputs [4 g, 4 g + 4).
using Sums16 = int16x8_t[kTiles][4];

inline void load_tiles(const uint8_t* v, int8x16_t (&a)[kTiles]) {
#pragma GCC unroll 4
  for (int t = 0; t < kTiles; ++t) a[t] = vreinterpretq_s8_u8(vld1q_u8(v + 16 * t));
}

// Every 2 products to 32 bits.
__attribute__((noinline)) void add_pairs(const Position& at, int first, int g) {
  int32x4_t acc[kTiles][4];
#pragma GCC unroll 4
  for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 4
    for (int o = 0; o < 4; ++o) acc[t][o] = vdupq_n_s32(0);
  }
  const uint8_t* v = at.v + 16 * first;
  const int8_t* w = at.w + 64 * g;
  for (int chunk = 0; chunk < at.chunks; ++chunk, v += at.chunk, w += 256) {
    int8x16_t a[kTiles];
    load_tiles(v, a);
#pragma GCC unroll 4
    for (int o = 0; o < 4; ++o) {
      const int8x16_t weights = vld1q_s8(w + 16 * o);
#pragma GCC unroll 4
      for (int t = 0; t < kTiles; ++t) {
        acc[t][o] = vpadalq_s16(acc[t][o], add_high(product_low(a[t], weights), a[t], weights));
      }
    }
  }
#pragma GCC unroll 4
  for (int t = 0; t < kTiles; ++t) {
    vst1q_s32(at.sums + 16 * (first + t) + 4 * g, sums_of(acc[t][0], acc[t][1], acc[t][2], acc[t][3]));
  }
}

// `chunks` of 16 channels to 16 bits, then to the sums of 32.
__attribute__((noinline)) void add_many(const Position& at, int first, int g, int begin, int chunks) {
  Sums16 acc;
#pragma GCC unroll 4
  for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 4
    for (int o = 0; o < 4; ++o) acc[t][o] = vdupq_n_s16(0);
  }
  const uint8_t* v = at.v + 16 * first + begin * at.chunk;
  const int8_t* w = at.w + 64 * g + static_cast<ptrdiff_t>(256) * begin;
  for (int chunk = 0; chunk < chunks; ++chunk, v += at.chunk, w += 256) {
    int8x16_t a[kTiles];
    load_tiles(v, a);
#pragma GCC unroll 4
    for (int o = 0; o < 4; ++o) {
      const int8x16_t weights = vld1q_s8(w + 16 * o);
#pragma GCC unroll 4
      for (int t = 0; t < kTiles; ++t) acc[t][o] = add_high(add_low(acc[t][o], a[t], weights), a[t], weights);
    }
  }
#pragma GCC unroll 4
  for (int t = 0; t < kTiles; ++t) {
    int32_t* to = at.sums + 16 * (first + t) + 4 * g;
    const int32x4_t sum =
        sums_of(vpaddlq_s16(acc[t][0]), vpaddlq_s16(acc[t][1]), vpaddlq_s16(acc[t][2]), vpaddlq_s16(acc[t][3]));
    vst1q_s32(to, begin == 0 ? sum : vaddq_s32(sum, vld1q_s32(to)));
  }
}

struct Products {
  static void multiply(const Position& at) {
    const int most = at.most16 / 2;
    for (int first = 0; first < at.tiles; first += kTiles) {
      for (int g = 0; g < 4; ++g) {
        if (most < 3) {  // emptying 16 bits costs as much as a chunk
          add_pairs(at, first, g);
          continue;
        }
        for (int begin = 0; begin < at.chunks; begin += most) {
          add_many(at, first, g, begin, at.chunks - begin < most ? at.chunks - begin : most);
        }
      }
    }
  }
};

}  // namespace

void winograd2x2_neon(const ConvRows& job) { winograd_rows<Products, 2>(Layout::kWinograd2x2Sixteens, job); }
void winograd2x4_neon(const ConvRows& job) { winograd_rows<Products, 4>(Layout::kWinograd2x4Sixteens, job); }

}  // namespace unetq
