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

namespace {

// 16 codes at a time, `times` times; they take 2 * bits bytes, so the shift stays.
template <bool BINARY>
void expand(const uint8_t* packed, int bits, const Spread& spread, int times, int8_t* out) {
  const uint8x16_t bytes[2] = {vld1q_u8(spread.bytes), vld1q_u8(spread.bytes + 16)};
  const uint16x8_t factor[2] = {vld1q_u16(spread.factor), vld1q_u16(spread.factor + 8)};
  const int16x8_t down = vdupq_n_s16(static_cast<int16_t>(bits - 16));
  const ptrdiff_t step = 2 * bits;
  for (const int8_t* const end = out + 16 * times; out != end; out += 16, packed += step) {
    const uint8x16_t stream = vld1q_u8(packed);
    int16x8_t half[2];
#pragma GCC unroll 2
    for (int k = 0; k < 2; ++k) {
      const uint16x8_t top = vmulq_u16(vreinterpretq_u16_u8(look_up(stream, bytes[k])), factor[k]);
      half[k] = vshlq_s16(vreinterpretq_s16_u16(top), down);
    }
#ifdef UNETQ_ARM64
    int8x16_t codes = vmovn_high_s16(vmovn_s16(half[0]), half[1]);
#else
    int8x16_t codes = vcombine_s8(vmovn_s16(half[0]), vmovn_s16(half[1]));
#endif
    // One bit, sign-extended, is 0 or -1, and means -1 or +1.
    if constexpr (BINARY) codes = vsubq_s8(vdupq_n_s8(-1), vaddq_s8(codes, codes));
    vst1q_s8(out, codes);
  }
}

}  // namespace

int unpack_codes_neon(const WeightSource& source, size_t first, int count, int8_t* out) {
  const int bits = source.bits;
  const size_t bit = first * static_cast<size_t>(bits), at = bit / 8, step = 2 * static_cast<size_t>(bits);
  if (at + 16 > source.packed_bytes) return 0;
  const size_t room = (source.packed_bytes - at - 16) / step + 1;
  const int wanted = count / 16, times = room < static_cast<size_t>(wanted) ? static_cast<int>(room) : wanted;
  (source.binary ? expand<true> : expand<false>)(source.packed + at, bits, kSpreads.of[bits][bit % 8], times, out);
  return 16 * times;
}

}  // namespace unetq
