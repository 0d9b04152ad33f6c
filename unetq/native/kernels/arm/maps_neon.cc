// Operations without weights for NEON.
#include "../maps_vector.h"

#ifdef UNETQ_ARM32
#include <arm_neon.h>
#endif

namespace unetq {

#ifdef UNETQ_ARM32

namespace {

// 8 pixels of one channel; clamped, so that adding 1.5 * 2^23 leaves the rounded number in the lowest bits. A compiler
// does not do this by itself: NEON of 32-bit ARM takes denormal numbers for 0, whose code is the same.
inline uint8x8_t quantize_eight(const float* from, const MapRows& job) {
  const float32x4_t lo = vdupq_n_f32(job.lo), hi = vdupq_n_f32(job.hi), magic = vdupq_n_f32(12582912.0f);
  uint16x4_t half[2];
#pragma GCC unroll 2
  for (int k = 0; k < 2; ++k) {
    const float32x4_t value = vmulq_n_f32(vld1q_f32(from + 4 * k), job.m);
    half[k] = vmovn_u32(vreinterpretq_u32_f32(vaddq_f32(vminq_f32(vmaxq_f32(value, lo), hi), magic)));
  }
  return vmovn_u16(vaddq_u16(vcombine_u16(half[0], half[1]), vdupq_n_u16(static_cast<uint16_t>(job.zero))));
}

}  // namespace

void quantize_neon(const MapRows& job) {
  for (int y = job.y0; y < job.y1; ++y) {
    for (int c = 0; c < job.channels; ++c) {
      const float* from = job.image + c * job.image_plane + static_cast<ptrdiff_t>(y) * job.width;
      uint8_t* to = job.out + y * job.out_row + c;
      int x = 0;
      for (; x + 8 <= job.width; x += 8, to += 8 * job.out_pixel) {
        uint8_t codes[8];
        vst1_u8(codes, quantize_eight(from + x, job));
        if (job.out_pixel == 1) {
          __builtin_memcpy(to, codes, 8);
        } else {
          for (int i = 0; i < 8; ++i) to[i * job.out_pixel] = codes[i];
        }
      }
      for (; x < job.width; ++x, to += job.out_pixel) *to = requantize(from[x] * job.m, job.lo, job.hi, job.zero);
    }
  }
}

#else

void quantize_neon(const MapRows& job) { quantize_rows(job); }

#endif

void maxpool_neon(const MapRows& job) { maxpool_rows<16>(job); }
void nearest_neon(const MapRows& job) { nearest_rows<16>(job); }
void bilinear_neon(const MapRows& job) { bilinear_rows<32>(job); }
void copy_neon(const MapRows& job) { copy_rows<16>(job); }
void argmax_neon(const MapRows& job) { argmax_rows<4>(job); }

}  // namespace unetq
