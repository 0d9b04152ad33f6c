// Winograd for CPUs with sdot: 4 channels of a tile, a lane of its 16, meet the weights of 4 outputs.
#include "dot_dotprod.h"
#include "winograd_neon.h"

namespace unetq {

namespace {

constexpr int kTiles = 6;  // x 16 outputs: 24 of 32 registers are sums

struct Dots {
  static __attribute__((noinline)) void multiply(const Position& at) {
    const uint8_t* tiles = at.v;
    int32_t* to = at.sums;
    const int8_t* const first = at.w;
    const int8_t* const end = first + static_cast<ptrdiff_t>(256) * at.chunks;
    const ptrdiff_t chunk = at.chunk, next = at.next;
    for (int left = at.tiles; left > 0; left -= kTiles, tiles += 16 * kTiles) {
      int32x4_t acc[kTiles][4];
#pragma GCC unroll 6
      for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 4
        for (int g = 0; g < 4; ++g) acc[t][g] = vdupq_n_s32(0);
      }
      const uint8_t* v = tiles;
      for (const int8_t* w = first; w != end; w += 256, v += chunk) {
        uint8x16_t two[kTiles / 2][2];
        load_two<0>(v, two[0]);
        load_two<32>(v, two[1]);
        load_two<64>(v, two[2]);
        int8x16_t a[kTiles];
#pragma GCC unroll 6
        for (int t = 0; t < kTiles; ++t) a[t] = vreinterpretq_s8_u8(two[t / 2][t % 2]);
        add_lane<kTiles, 0>(w, a, acc);
        add_lane<kTiles, 1>(w, a, acc);
        add_lane<kTiles, 2>(w, a, acc);
        add_lane<kTiles, 3>(w, a, acc);
      }
#pragma GCC unroll 6
      for (int t = 0; t < kTiles; ++t, to += next) {
#pragma GCC unroll 4
        for (int g = 0; g < 4; ++g) vst1q_s32(to + 4 * g, acc[t][g]);
      }
    }
  }
};

}  // namespace

void winograd2x2_dotprod(const ConvRows& job) { winograd_rows<Dots, 2>(Layout::kWinograd2x2Fours, job); }
void winograd2x4_dotprod(const ConvRows& job) { winograd_rows<Dots, 4>(Layout::kWinograd2x4Fours, job); }

}  // namespace unetq
