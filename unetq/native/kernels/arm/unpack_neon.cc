// Expands 16 packed weight codes of any width at a time.
#include <arm_neon.h>

#include "../pack.h"
#include "../unpack.h"

namespace unetq {

namespace {

// The bytes of `from` that `index` names, 0 beyond its end.
uint8x16_t look_up(uint8x16_t from, uint8x16_t index) {
#ifdef UNETQ_ARM64
  return vqtbl1q_u8(from, index);
#else
  const uint8x8x2_t halves = {{vget_low_u8(from), vget_high_u8(from)}};
  return vcombine_u8(vtbl2_u8(halves, vget_low_u8(index)), vtbl2_u8(halves, vget_high_u8(index)));
#endif
}

}  // namespace

int unpack_codes_neon(const WeightSource& source, size_t first, int count, int8_t* out) {
  const int bits = source.bits;
  const size_t bit = first * static_cast<size_t>(bits);
  const Spread& spread = kSpreads.of[bits][bit % 8];
  const uint8x16_t bytes[2] = {vld1q_u8(spread.bytes), vld1q_u8(spread.bytes + 16)};
  const uint16x8_t factor[2] = {vld1q_u16(spread.factor), vld1q_u16(spread.factor + 8)};
  const int16x8_t down = vdupq_n_s16(static_cast<int16_t>(bits - 16));
  size_t at = bit / 8;
  int done = 0;
  // 16 codes take 2 * bits bytes, so the shift stays.
  for (; done + 16 <= count && at + 16 <= source.packed_bytes; done += 16, at += 2 * static_cast<size_t>(bits)) {
    const uint8x16_t stream = vld1q_u8(source.packed + at);
    int8x8_t half[2];
#pragma GCC unroll 2
    for (int k = 0; k < 2; ++k) {
      const uint16x8_t top = vmulq_u16(vreinterpretq_u16_u8(look_up(stream, bytes[k])), factor[k]);
      half[k] = vmovn_s16(vshlq_s16(vreinterpretq_s16_u16(top), down));
    }
    int8x16_t codes = vcombine_s8(half[0], half[1]);
    // One bit, sign-extended, is 0 or -1, and means -1 or +1.
    if (source.binary) codes = vsubq_s8(vdupq_n_s8(-1), vaddq_s8(codes, codes));
    vst1q_s8(out + done, codes);
  }
  return done;
}

}  // namespace unetq
