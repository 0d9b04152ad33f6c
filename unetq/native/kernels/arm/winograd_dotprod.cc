// Winograd for CPUs with sdot: 4 channels of a tile, a lane of its 16, meet the weights of 4 outputs.
#include "winograd_neon.h"

namespace unetq {

namespace {

struct Dots {
  template <int T>
  static __attribute__((noinline)) void tiles(const Position& at, int first) {
    int32x4_t acc[T][4];
#pragma GCC unroll 6
    for (int t = 0; t < T; ++t) {
#pragma GCC unroll 4
      for (int g = 0; g < 4; ++g) acc[t][g] = vdupq_n_s32(0);
    }
    const uint8_t* v = at.v + 16 * first;
    const int8_t* w = at.w;
    for (int chunk = 0; chunk < at.chunks; ++chunk, v += at.chunk, w += 256) {
      int8x16_t a[T];
#pragma GCC unroll 6
      for (int t = 0; t < T; ++t) a[t] = vreinterpretq_s8_u8(vld1q_u8(v + 16 * t));
#pragma GCC unroll 4
      for (int g = 0; g < 4; ++g) {
        const int8x16_t w0 = vld1q_s8(w + 16 * g), w1 = vld1q_s8(w + 64 + 16 * g), w2 = vld1q_s8(w + 128 + 16 * g),
                        w3 = vld1q_s8(w + 192 + 16 * g);
#pragma GCC unroll 6
        for (int t = 0; t < T; ++t) {
          acc[t][g] = vdotq_laneq_s32(acc[t][g], w0, a[t], 0);
          acc[t][g] = vdotq_laneq_s32(acc[t][g], w1, a[t], 1);
          acc[t][g] = vdotq_laneq_s32(acc[t][g], w2, a[t], 2);
          acc[t][g] = vdotq_laneq_s32(acc[t][g], w3, a[t], 3);
        }
      }
    }
#pragma GCC unroll 6
    for (int t = 0; t < T; ++t) {
#pragma GCC unroll 4
      for (int g = 0; g < 4; ++g) vst1q_s32(at.sums + 16 * (first + t) + 4 * g, acc[t][g]);
    }
  }

  static void multiply(const Position& at) {
    for (int first = 0; first < at.tiles; first += 4) tiles<4>(at, first);
  }
};

}  // namespace

void winograd2x2_dotprod(const ConvRows& job) { winograd_rows<Dots, 2>(Layout::kWinograd2x2Fours, job); }
void winograd2x4_dotprod(const ConvRows& job) { winograd_rows<Dots, 4>(Layout::kWinograd2x4Fours, job); }

}  // namespace unetq
