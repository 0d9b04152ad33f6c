// Winograd for CPUs with smmla: 8 channels of 2 tiles meet those of 2 outputs, 32 multiply-accumulates an instruction.
#include "winograd_neon.h"

namespace unetq {

namespace {

constexpr int kPairs = 3;  // of tiles, x 16 outputs: 24 of 32 registers are sums

inline int32x4_t first_of(int32x4_t a, int32x4_t b) {
  return vreinterpretq_s32_s64(vzip1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}
inline int32x4_t second_of(int32x4_t a, int32x4_t b) {
  return vreinterpretq_s32_s64(vzip2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}

// 8 channels of all pairs.
inline __attribute__((always_inline)) void step(const int8_t* w, const int8x16_t (&a)[kPairs],
                                                int32x4_t (&acc)[kPairs][8]) {
#pragma GCC unroll 4
  for (int o = 0; o < 8; o += 2) {
    const int8x16_t w0 = vld1q_s8(w + 16 * o), w1 = vld1q_s8(w + 16 * o + 16);
#pragma GCC unroll 3
    for (int t = 0; t < kPairs; ++t) {
      acc[t][o] = vmmlaq_s32(acc[t][o], a[t], w0);
      acc[t][o + 1] = vmmlaq_s32(acc[t][o + 1], a[t], w1);
    }
  }
}

struct Matrices {
  static __attribute__((noinline)) void multiply(const Position& at) {
    const uint8_t* tiles = at.v;
    int32_t* to = at.sums;
    const int8_t* const first = at.w;
    const int8_t* const end = first + static_cast<ptrdiff_t>(256) * at.chunks;
    const ptrdiff_t chunk = at.chunk, next = at.next;
    for (int left = at.tiles; left > 0; left -= 2 * kPairs, tiles += 32 * kPairs) {
      int32x4_t acc[kPairs][8];
#pragma GCC unroll 3
      for (int t = 0; t < kPairs; ++t) {
#pragma GCC unroll 8
        for (int o = 0; o < 8; ++o) acc[t][o] = vdupq_n_s32(0);
      }
      const uint8_t* v = tiles;
      for (const int8_t* w = first; w != end; w += 256, v += chunk) {
        int8x16_t low[kPairs], high[kPairs];
#pragma GCC unroll 3
        for (int t = 0; t < kPairs; ++t) {
          const int32x4_t a = vreinterpretq_s32_u8(vld1q_u8(v + 32 * t)),
                          b = vreinterpretq_s32_u8(vld1q_u8(v + 32 * t + 16));
          low[t] = vreinterpretq_s8_s32(first_of(a, b));
          high[t] = vreinterpretq_s8_s32(second_of(a, b));
        }
        step(w, low, acc);
        step(w + 128, high, acc);
      }
#pragma GCC unroll 3
      for (int t = 0; t < kPairs; ++t, to += 2 * next) {
#pragma GCC unroll 4
        for (int g = 0; g < 4; ++g) {
          vst1q_s32(to + 4 * g, first_of(acc[t][2 * g], acc[t][2 * g + 1]));
          vst1q_s32(to + next + 4 * g, second_of(acc[t][2 * g], acc[t][2 * g + 1]));
        }
      }
    }
  }
};

}  // namespace

void winograd2x2_i8mm(const ConvRows& job) { winograd_rows<Matrices, 2>(Layout::kWinograd2x2Eights, job); }
void winograd2x4_i8mm(const ConvRows& job) { winograd_rows<Matrices, 4>(Layout::kWinograd2x4Eights, job); }

}  // namespace unetq
