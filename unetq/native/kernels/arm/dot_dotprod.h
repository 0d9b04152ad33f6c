// Products of 4 neighbouring bytes, in assembly: gcc 12 puts the intrinsic elsewhere, where sums need more registers
// than there are, and copies them.
#pragma once

#include "neon.h"

namespace unetq {

namespace {

// 16 multiply-accumulates: of lane LANE of a, with those of 4 outputs.
template <int LANE>
inline __attribute__((always_inline)) int32x4_t add_dots(int32x4_t sum, uint8x16_t weights, int8x16_t a) {
  __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[%3]" : "+w"(sum) : "w"(weights), "w"(a), "i"(LANE));
  return sum;
}

// Products of lane LANE of each of P pixels or tiles with 16 outputs.
template <int P, int LANE>
inline __attribute__((always_inline)) void add_lane(const int8_t* w, const int8x16_t (&a)[P], int32x4_t (&acc)[4 * P]) {
  const uint8_t* const from = reinterpret_cast<const uint8_t*>(w);
  uint8x16_t two[2];
  load_again<64 * LANE>(from, two);
#pragma GCC unroll 6
  for (int p = 0; p < P; ++p) {
    acc[4 * p] = add_dots<LANE>(acc[4 * p], two[0], a[p]);
    acc[4 * p + 1] = add_dots<LANE>(acc[4 * p + 1], two[1], a[p]);
  }
  load_again<64 * LANE + 32>(from, two);
#pragma GCC unroll 6
  for (int p = 0; p < P; ++p) {
    acc[4 * p + 2] = add_dots<LANE>(acc[4 * p + 2], two[0], a[p]);
    acc[4 * p + 3] = add_dots<LANE>(acc[4 * p + 3], two[1], a[p]);
  }
}

}  // namespace

}  // namespace unetq
