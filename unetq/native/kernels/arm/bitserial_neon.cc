// Bit-serial convolution for NEON: planes of bits, 32 channels of 4 outputs a register, are joined, counted (cnt: bits
// of each byte) and added up in bytes, 31 steps of at most 8, then in 32 bits.
//
//   two's complement   w = w0 - 2 w1: sum over planes i of a of 2^i (count(a_i & w0) - 2 count(a_i & w1))
//   signs              w = 1 is w1 without w0, -1 both, 0 none. a = amax - (amax - a) where w = 1, so with the amax in
//                      the start: minus sum over i of 2^i count((a_i ^ w0') & w1), w0' = 1 where w = 1
//
// One pass a plane (of both): sums of 4 pixels x 16 outputs fill 16 registers of 64-bit ARM, of 2 pixels 8 of 32-bit.
#include "../lowbit.h"
#include "neon.h"

namespace unetq {

namespace {

#ifdef UNETQ_ARM64
constexpr int kGroup = 4;
#else
constexpr int kGroup = 2;
#endif
constexpr int kMostSteps = 255 / 8;

// kAnd: one plane of weights. kSigns: both. kWhole: signs of binary weights without gaps, where w1 is all ones.
enum class Join { kAnd, kSigns, kWhole };

inline uint8x16_t pairs8(uint8x16_t a, uint8x16_t b) {
#ifdef UNETQ_ARM64
  return vpaddq_u8(a, b);
#else
  return vcombine_u8(vpadd_u8(vget_low_u8(a), vget_high_u8(a)), vpadd_u8(vget_low_u8(b), vget_high_u8(b)));
#endif
}

// Bit i of 16 bytes, each at its place within 8.
inline uint8x16_t weighed_bits(const uint8_t* from, int i) {
  const uint8x16_t places = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
  return vandq_u8(vtstq_u8(vld1q_u8(from), vdupq_n_u8(static_cast<uint8_t>(1 << i))), places);
}

template <int A>
void slice(const ConvRows& job, const uint8_t* from, int pixels, uint8_t* to, ptrdiff_t plane) {
  int channels = job.in_channels;
  const ptrdiff_t stride = (channels + 7) / 8;
  if (job.in_pixel == channels && channels % 8 == 0) {  // gapless: one long pixel
    channels *= pixels;
    pixels = 1;
  }
  for (int x = 0; x < pixels; ++x, from += job.in_pixel, to += stride) {
    for (int i = 0; i < A; ++i) {
      uint8_t* bits = to + i * plane;
      int c = 0;
      for (; c + 64 <= channels; c += 64, bits += 8) {
        const uint8x16_t low = pairs8(weighed_bits(from + c, i), weighed_bits(from + c + 16, i));
        const uint8x16_t high = pairs8(weighed_bits(from + c + 32, i), weighed_bits(from + c + 48, i));
        const uint8x16_t quads = pairs8(low, high);
        vst1_u8(bits, vpadd_u8(vget_low_u8(quads), vget_high_u8(quads)));
      }
      for (; c < channels; c += 16, bits += 2) {
        const uint8x16_t some = weighed_bits(from + c, i);
        uint8x8_t sum = vpadd_u8(vget_low_u8(some), vget_high_u8(some));
        sum = vpadd_u8(sum, sum);
        sum = vpadd_u8(sum, sum);
        const uint16_t two = vget_lane_u16(vreinterpret_u16_u8(sum), 0);
        __builtin_memcpy(bits, &two, 2);
      }
    }
  }
}

// Bits of `rows` rows of `n` steps: kMostSteps in all.
struct Steps {
  const uint8_t* in;
  ptrdiff_t pixel, row;
  int rows, n;
};

// 4 bytes to all lanes, and on to the next ones. In assembly, because gcc 12 takes two instructions for it.
inline uint8x16_t load_step(const uint8_t** in) {
  uint8x16_t four;
#ifdef UNETQ_ARM64
  __asm__("ld1r {%0.4s}, [%1], #4" : "=w"(four), "+r"(*in) : "m"(*reinterpret_cast<const uint8_t (*)[4]>(*in)));
#else
  four = vreinterpretq_u8_u32(vld1q_dup_u32(reinterpret_cast<const uint32_t*>(*in)));
  *in += 4;
#endif
  return four;
}

template <Join JOIN>
inline uint8x16_t join(uint8x16_t a, uint8x16_t w0, uint8x16_t w1) {
  if constexpr (JOIN == Join::kAnd) return vandq_u8(a, w0);
  if constexpr (JOIN == Join::kWhole) return veorq_u8(a, w0);
  return vandq_u8(veorq_u8(a, w0), w1);
}

// Counts of one plane's bits, times `factor`, added to sums[pixel][16].
template <Join JOIN>
__attribute__((noinline)) void add_steps(const Steps& steps, const uint8_t* w, int32_t factor, int32_t* sums) {
  const ptrdiff_t more = steps.row - 4 * static_cast<ptrdiff_t>(steps.n);
  uint8x16_t acc[kGroup][4];
#pragma GCC unroll 4
  for (int p = 0; p < kGroup; ++p) {
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) acc[p][g] = vdupq_n_u8(0);
  }
  const uint8_t* in[kGroup];  // of each pixel: ld1r goes on by itself
#pragma GCC unroll 4
  for (int p = 0; p < kGroup; ++p) in[p] = steps.in + p * steps.pixel;
  for (int r = steps.rows; r > 0; --r) {
    for (const uint8_t* const end = w + static_cast<ptrdiff_t>(128) * steps.n; w != end; w += 128) {
      uint8x16_t a[kGroup];
#pragma GCC unroll 4
      for (int p = 0; p < kGroup; ++p) a[p] = load_step(&in[p]);
#pragma GCC unroll 2
      for (int g = 0; g < 4; g += 2) {
        const uint8x16_t w0[2] = {vld1q_u8(w + 16 * g), vld1q_u8(w + 16 * g + 16)};
        const uint8x16_t w1[2] = {vld1q_u8(w + 64 + 16 * g), vld1q_u8(w + 80 + 16 * g)};
#pragma GCC unroll 2
        for (int k = 0; k < 2; ++k) {
#pragma GCC unroll 4
          for (int p = 0; p < kGroup; ++p) {
            acc[p][g + k] = vaddq_u8(acc[p][g + k], vcntq_u8(join<JOIN>(a[p], w0[k], w1[k])));
          }
        }
      }
    }
#pragma GCC unroll 4
    for (int p = 0; p < kGroup; ++p) in[p] += more;
  }
#pragma GCC unroll 4
  for (int p = 0; p < kGroup; ++p) {
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g, sums += 4) {
      const int32x4_t count = vreinterpretq_s32_u32(vpaddlq_u16(vpaddlq_u8(acc[p][g])));
      vst1q_s32(sums, vmlaq_n_s32(vld1q_s32(sums), count, factor));
    }
  }
}

// All planes; `whole`: binary weights, and taps take whole steps.
template <int A, bool SIGNS>
inline void add_planes(Steps steps, ptrdiff_t plane, const uint8_t* w, bool whole, int32_t* sums) {
#pragma GCC unroll 2
  for (int i = 0; i < A; ++i, steps.in += plane) {
    if constexpr (SIGNS) {
      (whole ? add_steps<Join::kWhole> : add_steps<Join::kSigns>)(steps, w, -(1 << i), sums);
    } else {
      add_steps<Join::kAnd>(steps, w, 1 << i, sums);
      add_steps<Join::kAnd>(steps, w + 64, -(2 << i), sums);
    }
  }
}

template <int A, bool SIGNS>
void tile(const ConvRows& job, const Finish& finish, const Strip& at, int channel, int y, int x) {
  int32_t sums[kGroup * 16];
  for (int p = 0; p < kGroup; ++p) __builtin_memcpy(sums + 16 * p, job.start + channel, 64);
  const uint8_t* w = static_cast<const uint8_t*>(job.weights);
  w += static_cast<size_t>(channel / 16) * job.tap_rows * job.steps * 128;
  const bool whole = job.bits - job.abits == 1 && job.in_channels % 32 == 0;
  if (job.tap_rows * job.steps <= kMostSteps) {
    add_planes<A, SIGNS>({at.data, at.pixel, at.row, job.tap_rows, job.steps}, at.plane, w, whole, sums);
  } else {
    for (int r = 0; r < job.tap_rows; ++r) {
      for (int j = 0; j < job.steps; j += kMostSteps) {
        const int n = job.steps - j < kMostSteps ? job.steps - j : kMostSteps;
        add_planes<A, SIGNS>({at.data + r * at.row + 4 * j, at.pixel, at.row, 1, n}, at.plane, w, whole, sums);
        w += static_cast<ptrdiff_t>(128) * n;
      }
    }
  }
  int32x4_t acc[kGroup][4];
#pragma GCC unroll 4
  for (int p = 0; p < kGroup; ++p) {
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) acc[p][g] = vld1q_s32(sums + 16 * p + 4 * g);
  }
  put_pixels<kGroup>(job, finish, acc, channel, y, x);
}

template <int A, bool SIGNS>
void convolve(const ConvRows& job) {
  for_strips(
      job, (job.in_channels + 7) / 8, A, 16,
      [&](const uint8_t* from, int pixels, uint8_t* to, ptrdiff_t plane) { slice<A>(job, from, pixels, to, plane); },
      [&](Strip at, int channel, int y, int x, int pixels) {
        const Finish finish(job, channel);
        for (int p = 0; p < pixels; p += kGroup, at.data += kGroup * at.pixel) {
          tile<A, SIGNS>(job, finish, at, channel, y, x + p);
        }
      });
}

}  // namespace

void bitserial_twos_neon(const ConvRows& job) { job.abits == 1 ? convolve<1, false>(job) : convolve<2, false>(job); }

void bitserial_signs_neon(const ConvRows& job) { job.abits == 1 ? convolve<1, true>(job) : convolve<2, true>(job); }

}  // namespace unetq
