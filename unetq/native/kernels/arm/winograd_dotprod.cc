// Winograd for CPUs with sdot: 4 channels of a tile, a lane of its 16, meet the weights of 4 outputs.
#include "dot_dotprod.h"
#include "winograd_neon.h"

namespace unetq {

namespace {

constexpr int kTiles = 6;  // x 16 outputs: 24 of 32 registers are sums

struct Dots {
  static constexpr int kLanes = 4;

  static __attribute__((always_inline)) void begin(const int32_t* start, int32x4_t (&acc)[kSixTiles]) {
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      const int32x4_t four = vld1q_s32(start + 4 * g);
#pragma GCC unroll 6
      for (int t = 0; t < kTiles; ++t) acc[4 * t + g] = four;
    }
  }

  static __attribute__((always_inline)) void add(const uint8_t* v, ptrdiff_t chunk, const int8_t* w, const int8_t* end,
                                                 int32x4_t (&acc)[kSixTiles]) {
    do {
      uint8x16_t two[kTiles / 2][2];
      load_again<0>(v, two[0]);
      load_again<32>(v, two[1]);
      load_again<64>(v, two[2]);
      int8x16_t a[kTiles];
#pragma GCC unroll 6
      for (int t = 0; t < kTiles; ++t) a[t] = vreinterpretq_s8_u8(two[t / 2][t % 2]);
      add_lane<kTiles, 0>(w, a, acc);
      add_lane<kTiles, 1>(w, a, acc);
      add_lane<kTiles, 2>(w, a, acc);
      add_lane<kTiles, 3>(w, a, acc);
      w += 256;
      v += chunk;
    } while (w != end);
  }

  static __attribute__((always_inline)) void put(const int32x4_t (&acc)[kSixTiles], int32_t* to, ptrdiff_t next) {
#pragma GCC unroll 6
    for (int t = 0; t < kTiles; ++t, to += next) {
#pragma GCC unroll 4
      for (int g = 0; g < 4; ++g) vst1q_s32(to + 4 * g, acc[4 * t + g]);
    }
  }
};

}  // namespace

void winograd2x2_dotprod(const ConvRows& job) { winograd_rows<Dots, 2>(Layout::kWinograd2x2Fours, job); }
void winograd2x4_dotprod(const ConvRows& job) { winograd_rows<Dots, 4>(Layout::kWinograd2x4Fours, job); }

}  // namespace unetq
