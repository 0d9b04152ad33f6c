// What NEON kernels of both widths share: what one of them lacks, and the end of a convolution, 16 output channels of a
// pixel to codes or logits. In an unnamed namespace: each file has its own copy, compiled with its own flags.
#pragma once

#include <arm_neon.h>

#include "../epilogue.h"
#include "../kernel.h"

namespace unetq {

namespace {

inline int32x4_t pairs_of(int32x4_t a, int32x4_t b) {
#ifdef UNETQ_ARM64
  return vpaddq_s32(a, b);
#else
  return vcombine_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)), vpadd_s32(vget_low_s32(b), vget_high_s32(b)));
#endif
}

// The sums of four vectors, side by side.
inline int32x4_t sums_of(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d) {
#ifdef UNETQ_ARM64
  return vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d));
#else
  const int32x2_t ab =
      vpadd_s32(vadd_s32(vget_low_s32(a), vget_high_s32(a)), vadd_s32(vget_low_s32(b), vget_high_s32(b)));
  const int32x2_t cd =
      vpadd_s32(vadd_s32(vget_low_s32(c), vget_high_s32(c)), vadd_s32(vget_low_s32(d), vget_high_s32(d)));
  return vcombine_s32(ab, cd);
#endif
}

// 32 bytes, from AT on. In assembly, because gcc 12 rarely makes one load of two.
template <int AT>
inline void load_two(const uint8_t* from, uint8x16_t (&two)[2]) {
#ifdef UNETQ_ARM64
  __asm__("ldp %q0, %q1, [%2, %3]"
          : "=w"(two[0]), "=w"(two[1])
          : "r"(from), "i"(AT), "m"(*reinterpret_cast<const uint8_t (*)[AT + 32]>(from)));
#else
  two[0] = vld1q_u8(from + AT);
  two[1] = vld1q_u8(from + AT + 16);
#endif
}

// The same, anew at each call, and after what assembly stands before it.
template <int AT>
inline void load_again(const uint8_t* from, uint8x16_t (&two)[2]) {
#ifdef UNETQ_ARM64
  __asm__ volatile("ldp %q0, %q1, [%2, %3]"
                   : "=w"(two[0]), "=w"(two[1])
                   : "r"(from), "i"(AT), "m"(*reinterpret_cast<const uint8_t (*)[AT + 32]>(from)));
#else
  load_two<AT>(from, two);
#endif
}

// Products of the lower and of the upper 8 bytes.
inline int16x8_t product_low(int8x16_t a, int8x16_t b) { return vmull_s8(vget_low_s8(a), vget_low_s8(b)); }
inline int16x8_t product_high(int8x16_t a, int8x16_t b) {
#ifdef UNETQ_ARM64
  return vmull_high_s8(a, b);
#else
  return vmull_s8(vget_high_s8(a), vget_high_s8(b));
#endif
}
inline int16x8_t add_low(int16x8_t sum, int8x16_t a, int8x16_t b) {
  return vmlal_s8(sum, vget_low_s8(a), vget_low_s8(b));
}
inline int16x8_t add_high(int16x8_t sum, int8x16_t a, int8x16_t b) {
#ifdef UNETQ_ARM64
  return vmlal_high_s8(sum, a, b);
#else
  return vmlal_s8(sum, vget_high_s8(a), vget_high_s8(b));
#endif
}

// Four values, rounded half to even, in 16 bits. 64-bit ARM clamps in its conversions to int32 and int16, and the
// codes' bounds can wait until there are 16 bits; 32-bit ARM truncates, so the value is clamped first, which leaves |x|
// < 2^22, where x + 1.5 * 2^23 has no bits for a fraction, and x itself in its lowest ones.
//
// NEON of 32-bit ARM takes denormal numbers for 0, and gives 0 for them. No code changes: m, b, a product or a sum
// below 2^-126 in magnitude changes acc * m + b by less than 2^31 * 2^-126, which is lost in rounding where |b| >=
// 2^-69, and else leaves |acc * m + b| < 2^-68, the code 0 either way. Logits are no codes: they are made without NEON.
struct Ends {
  float32x4_t lo, hi;

  int16x4_t code(int32x4_t acc, float32x4_t m, float32x4_t b) const {
    const float32x4_t value = vaddq_f32(vmulq_f32(vcvtq_f32_s32(acc), m), b);
#ifdef UNETQ_ARM64
    return vqmovn_s32(vcvtnq_s32_f32(value));
#else
    const float32x4_t magic = vaddq_f32(vminq_f32(vmaxq_f32(value, lo), hi), vdupq_n_f32(12582912.0f));
    return vmovn_s32(vreinterpretq_s32_f32(magic));
#endif
  }
};

inline __attribute__((noinline)) void put_logits(const ConvRows& job, const int32x4_t* acc, int channel, int y, int x) {
  int32_t sums[16];
  for (int k = 0; k < 4; ++k) vst1q_s32(sums + 4 * k, acc[k]);
  for (int i = 0; i < 16 && channel + i < job.channels; ++i) {
    store(job, y, x, channel + i, static_cast<uint32_t>(sums[i]));
  }
}

// Finishes pixels of output channels [channel, channel + 16).
class Finish {
 public:
  Finish(const ConvRows& job, int channel)
      : m_(job.m + channel),
        b_(job.b + channel),
        out_(job.out + channel),
        row_(job.out_row),
        pixel_(job.out_pixel),
        count_(job.channels - channel < 16 ? job.channels - channel : 16),
        plain_(job.lo == 0.0f && job.zero == 0 && count_ == 16) {
    ends_.lo = vdupq_n_f32(job.lo);
    ends_.hi = vdupq_n_f32(job.hi);
    lo_ = vdupq_n_s16(static_cast<int16_t>(job.lo));
    hi_ = vdupq_n_s16(static_cast<int16_t>(job.hi));
    zero_ = vdupq_n_s16(static_cast<int16_t>(job.zero));
    top_ = vdupq_n_u8(static_cast<uint8_t>(job.hi));
  }

  // m and b of outputs [4 g, 4 g + 4).
  float32x4_t m(int g) const { return vld1q_f32(m_ + 4 * g); }
  float32x4_t b(int g) const { return vld1q_f32(b_ + 4 * g); }
  int16x4_t code(int32x4_t acc, float32x4_t of_m, float32x4_t of_b) const { return ends_.code(acc, of_m, of_b); }

  // Whether it is 16 unsigned codes, which saturation clamps from below.
  bool plain() const { return plain_; }

  template <bool PLAIN>
  __attribute__((always_inline)) void put(int16x8_t low, int16x8_t high, int y, int x) const {
    if constexpr (PLAIN) {
      vst1q_u8(out_ + y * row_ + x * pixel_, vminq_u8(vcombine_u8(vqmovun_s16(low), vqmovun_s16(high)), top_));
    } else {
      low = vaddq_s16(vminq_s16(vmaxq_s16(low, lo_), hi_), zero_);
      high = vaddq_s16(vminq_s16(vmaxq_s16(high, lo_), hi_), zero_);
      put_bytes(vcombine_u8(vmovn_u16(vreinterpretq_u16_s16(low)), vmovn_u16(vreinterpretq_u16_s16(high))), y, x);
    }
  }

  __attribute__((always_inline)) void put_bytes(uint8x16_t bytes, int y, int x) const {
    uint8_t* to = out_ + y * row_ + x * pixel_;
    if (count_ == 16) {
      vst1q_u8(to, bytes);
      return;
    }
    uint8_t codes[16];
    vst1q_u8(codes, bytes);
    for (int i = 0; i < count_; ++i) to[i] = codes[i];
  }

 private:
  const float *m_, *b_;
  uint8_t* out_;
  ptrdiff_t row_, pixel_;
  int count_;
  bool plain_;
  Ends ends_;
  int16x8_t lo_, hi_, zero_;
  uint8x16_t top_;
};

template <bool PLAIN, int P>
inline __attribute__((always_inline)) void put_codes(const Finish& finish, const int32x4_t (&acc)[P][4], int y, int x,
                                                     int left) {
  float32x4_t m[4], b[4];
#pragma GCC unroll 4
  for (int g = 0; g < 4; ++g) {
    m[g] = finish.m(g);
    b[g] = finish.b(g);
  }
#pragma GCC unroll 6
  for (int p = 0; p < P; ++p) {
    if (p >= left) break;
    const auto two = [&](int g) {
      return vcombine_s16(finish.code(acc[p][g], m[g], b[g]), finish.code(acc[p][g + 1], m[g + 1], b[g + 1]));
    };
    finish.put<PLAIN>(two(0), two(2), y, x + p);
  }
}

// Accumulators of P pixels and 16 outputs, as far as the row goes.
template <int P>
inline __attribute__((always_inline)) void put_pixels(const ConvRows& job, const Finish& finish,
                                                      const int32x4_t (&acc)[P][4], int channel, int y, int x) {
  const int left = job.width - x;
  if (job.out == nullptr) {
    for (int p = 0; p < P && p < left; ++p) put_logits(job, acc[p], channel, y, x + p);
  } else if (finish.plain()) {
    put_codes<true, P>(finish, acc, y, x, left);
  } else {
    put_codes<false, P>(finish, acc, y, x, left);
  }
}

}  // namespace

}  // namespace unetq
