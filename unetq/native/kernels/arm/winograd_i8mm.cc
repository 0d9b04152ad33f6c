// Winograd for CPUs with smmla: 8 channels of 2 tiles meet those of 2 outputs, 32 multiply-accumulates an instruction.
#include "winograd_neon.h"

namespace unetq {

namespace {

constexpr int kPairs = 3;  // of tiles, x 16 outputs: 24 of 32 registers are sums

// In assembly: see dot_dotprod.h.
inline __attribute__((always_inline)) int32x4_t add_products(int32x4_t sum, uint8x16_t tiles, uint8x16_t outputs) {
  __asm__ volatile("smmla %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(tiles), "w"(outputs));
  return sum;
}

// Outputs [FIRST, FIRST + 4) and 8 channels, HALF of a chunk's, of all pairs.
template <int HALF, int FIRST>
inline __attribute__((always_inline)) void add_four(const int8_t* w, const uint8x16_t (&a)[kPairs][2],
                                                    int32x4_t (&acc)[kSixTiles]) {
  uint8x16_t two[2];
  load_again<128 * HALF + 8 * FIRST>(reinterpret_cast<const uint8_t*>(w), two);
#pragma GCC unroll 3
  for (int t = 0; t < kPairs; ++t) {
    int32x4_t &first = acc[8 * t + FIRST / 2], &second = acc[8 * t + FIRST / 2 + 1];
    first = add_products(first, a[t][HALF], two[0]);
    second = add_products(second, a[t][HALF], two[1]);
  }
}

struct Matrices {
  static constexpr int kLanes = 8;

  // A register has two outputs of the first tile, then of the second.
  static __attribute__((always_inline)) void begin(const int32_t* start, int32x4_t (&acc)[kSixTiles]) {
#pragma GCC unroll 8
    for (int o = 0; o < 8; ++o) {
      const int32x2_t two = vld1_s32(start + 2 * o);
      const int32x4_t both = vcombine_s32(two, two);
#pragma GCC unroll 3
      for (int t = 0; t < kPairs; ++t) acc[8 * t + o] = both;
    }
  }

  static __attribute__((always_inline)) void add(const uint8_t* v, ptrdiff_t chunk, const int8_t* w, const int8_t* end,
                                                 int32x4_t (&acc)[kSixTiles]) {
    do {
      uint8x16_t a[kPairs][2];
      load_again<0>(v, a[0]);
      load_again<32>(v, a[1]);
      load_again<64>(v, a[2]);
      add_four<0, 0>(w, a, acc);
      add_four<0, 4>(w, a, acc);
      add_four<0, 8>(w, a, acc);
      add_four<0, 12>(w, a, acc);
      add_four<1, 0>(w, a, acc);
      add_four<1, 4>(w, a, acc);
      add_four<1, 8>(w, a, acc);
      add_four<1, 12>(w, a, acc);
      w += 256;
      v += chunk;
    } while (w != end);
  }

  static __attribute__((always_inline)) void put(const int32x4_t (&acc)[kSixTiles], int32_t* to, ptrdiff_t next) {
#pragma GCC unroll 3
    for (int t = 0; t < kPairs; ++t, to += 2 * next) {
#pragma GCC unroll 4
      for (int g = 0; g < 4; ++g) {
        const int64x2_t a = vreinterpretq_s64_s32(acc[8 * t + 2 * g]),
                        b = vreinterpretq_s64_s32(acc[8 * t + 2 * g + 1]);
        vst1q_s32(to + 4 * g, vreinterpretq_s32_s64(vzip1q_s64(a, b)));
        vst1q_s32(to + next + 4 * g, vreinterpretq_s32_s64(vzip2q_s64(a, b)));
      }
    }
  }
};

}  // namespace

void winograd2x2_i8mm(const ConvRows& job) { winograd_rows<Matrices, 2>(Layout::kWinograd2x2Eights, job); }
void winograd2x4_i8mm(const ConvRows& job) { winograd_rows<Matrices, 4>(Layout::kWinograd2x4Eights, job); }

}  // namespace unetq
