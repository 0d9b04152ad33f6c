// Codes of two to four levels without floats: acc * m + b, rounded, is monotone in acc, so a code is the number of
// levels that acc has reached, and each level is one integer to compare with. The integers are found by halving, with
// the formula itself, so nothing is rounded anew.
//
// Sums are what a kernel adds to the start, 16 bits; where m is negative they are compared with all bits flipped.
#pragma once

#include "neon.h"

namespace unetq {

namespace {

class Levels {
 public:
  static constexpr int kMost = 3;  // above the lowest code

  // Of a job whose sums are at most `most` in magnitude; 0: no use.
  static int count(const ConvRows& job, int most) {
    const int count = static_cast<int>(job.hi) - static_cast<int>(job.lo);
    return job.out != nullptr && most < 32767 && count >= 1 && count <= kMost ? count : 0;
  }

  void find(const ConvRows& job, const Finish& finish, int channel, int most, int count) {
    base_ = vdupq_n_u8(static_cast<uint8_t>(static_cast<int>(job.lo) + job.zero));
    int range = 1;
    while (range < most + 2) range *= 2;
    for (int half = 0; half < 2; ++half) {
      const float* const m = job.m + channel + 8 * half;
      const uint32x4_t down = vdupq_n_u32(0);
      const uint32x4_t negative[2] = {vcltq_f32(vld1q_f32(m), vreinterpretq_f32_u32(down)),
                                      vcltq_f32(vld1q_f32(m + 4), vreinterpretq_f32_u32(down))};
      flip_[half] = vreinterpretq_s16_u16(vcombine_u16(vmovn_u32(negative[0]), vmovn_u32(negative[1])));
      for (int level = 0; level < count; ++level) {
        const int16x8_t wanted = vdupq_n_s16(static_cast<int16_t>(static_cast<int>(job.lo) + level + 1));
        // The smallest sum that reaches it; range - 1, which no sum is, where none does.
        int16x8_t found = vdupq_n_s16(static_cast<int16_t>(-range));
        for (int bit = range; bit > 0; bit /= 2) {
          const int16x8_t below = vaddq_s16(found, vdupq_n_s16(static_cast<int16_t>(bit - 1)));
          const int16x8_t sum = veorq_s16(below, flip_[half]);
          int16x4_t codes[2];
          for (int k = 0; k < 2; ++k) {
            const int g = 2 * half + k;
            const int32x4_t start = vld1q_s32(job.start + channel + 4 * g);
            codes[k] = finish.code(vaddw_s16(start, k == 0 ? vget_low_s16(sum) : vget_high_s16(sum)), finish.m(g),
                                   finish.b(g));
          }
          const uint16x8_t less = vcltq_s16(vcombine_s16(codes[0], codes[1]), wanted);
          found = vaddq_s16(found, vandq_s16(vreinterpretq_s16_u16(less), vdupq_n_s16(static_cast<int16_t>(bit))));
        }
        least_[level][half] = found;
      }
    }
  }

  // 16 codes of a pixel.
  template <int COUNT>
  uint8x16_t codes(int16x8_t low, int16x8_t high) const {
    low = veorq_s16(low, flip_[0]);
    high = veorq_s16(high, flip_[1]);
    uint16x8_t reached[2] = {vcgeq_s16(low, least_[0][0]), vcgeq_s16(high, least_[0][1])};  // -1: yes
#pragma GCC unroll 3
    for (int level = 1; level < COUNT; ++level) {
      reached[0] = vaddq_u16(reached[0], vcgeq_s16(low, least_[level][0]));
      reached[1] = vaddq_u16(reached[1], vcgeq_s16(high, least_[level][1]));
    }
    return vsubq_u8(base_, low_bytes(reached[0], reached[1]));
  }

 private:
  static uint8x16_t low_bytes(uint16x8_t a, uint16x8_t b) {
#ifdef UNETQ_ARM64
    return vuzp1q_u8(vreinterpretq_u8_u16(a), vreinterpretq_u8_u16(b));
#else
    return vcombine_u8(vmovn_u16(a), vmovn_u16(b));
#endif
  }

  int16x8_t flip_[2], least_[kMost][2];
  uint8x16_t base_;
};

}  // namespace

}  // namespace unetq
