// Bit-serial convolution for NEON: planes of bits, 32 channels of 4 outputs a register, are joined, counted (cnt: bits
// of each byte) and added up in bytes, 31 steps of at most 8, then in 16 bits, and in 32 where these do not do.
//
//   two's complement   w = w0 - 2 w1: sum over planes i of a of 2^i (count(a_i & w0) - 2 count(a_i & w1))
//   signs              a = amax - (amax - a) where w = 1, so with the amax in the start: minus sum over i of
//                      2^i count(a_i ? w is -1 : w is 1), one instruction (bit), and for binary weights a_i ^ (w is 1)
//
// One pass a plane (of both): sums of 4 pixels x 16 outputs fill 16 registers of 64-bit ARM, of 2 pixels 8 of 32-bit.
#include "../lowbit.h"
#include "levels.h"

namespace unetq {

namespace {

#ifdef UNETQ_ARM64
constexpr int kGroup = 4;
constexpr bool kAhead = true;
#else
constexpr int kGroup = 2;
constexpr bool kAhead = false;  // in LLVM's model of Cortex-A9 it costs cycles
#endif
constexpr int kMostSteps = 255 / 8;

// kAnd: one plane of weights. kSigns: both. kWhole: binary weights without gaps, where one plane says all.
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

// Of all pixels.
inline __attribute__((always_inline)) void load_steps(const uint8_t* (&in)[kGroup], uint8x16_t (&a)[kGroup]) {
#pragma GCC unroll 4
  for (int p = 0; p < kGroup; ++p) a[p] = load_step(&in[p]);
}

// 2 of the 4 registers of outputs, from G on; NEXT: a step's last ones, so each pixel's bits of the next step are
// loaded when it has used these. All of them at once would keep waiting the pipes that count.
template <Join JOIN, int G, bool FIRST, bool NEXT>
inline __attribute__((always_inline)) void add_two(uint8x16_t (&a)[kGroup], const uint8_t* w,
                                                   const uint8_t* (&in)[kGroup], uint8x16_t (&acc)[kGroup][4]) {
  const uint8_t* first = w + 16 * G + (JOIN == Join::kSigns ? 64 : 0);
  const uint8x16_t weights[2] = {vld1q_u8(first), vld1q_u8(first + 16)};
#pragma GCC unroll 4
  for (int p = 0; p < kGroup; ++p) {
    uint8x16_t ones[2];
    // `bit` writes over one of its operands: a load of two costs less than two copies.
    if constexpr (JOIN == Join::kSigns) load_again<16 * G>(w, ones);
#pragma GCC unroll 2
    for (int k = 0; k < 2; ++k) {
      uint8x16_t joined;
      if constexpr (JOIN == Join::kAnd) joined = vandq_u8(a[p], weights[k]);
      if constexpr (JOIN == Join::kWhole) joined = veorq_u8(a[p], weights[k]);
      if constexpr (JOIN == Join::kSigns) joined = vbslq_u8(a[p], weights[k], ones[k]);
      const uint8x16_t count = vcntq_u8(joined);
      acc[p][G + k] = FIRST ? count : vaddq_u8(acc[p][G + k], count);
    }
    if constexpr (NEXT) a[p] = load_step(&in[p]);
  }
}

// Sums of 4 bytes each, of two registers.
inline int16x8_t fours(uint8x16_t a, uint8x16_t b) {
  const uint16x8_t c = vpaddlq_u8(a), d = vpaddlq_u8(b);
#ifdef UNETQ_ARM64
  return vreinterpretq_s16_u16(vpaddq_u16(c, d));
#else
  return vreinterpretq_s16_u16(
      vcombine_u16(vpadd_u16(vget_low_u16(c), vget_high_u16(c)), vpadd_u16(vget_low_u16(d), vget_high_u16(d))));
#endif
}

template <Join JOIN, bool FIRST>
inline __attribute__((always_inline)) void add_step(const uint8_t* (&in)[kGroup], const uint8_t* w,
                                                    uint8x16_t (&acc)[kGroup][4]) {
  uint8x16_t a[kGroup];
  load_steps(in, a);
  add_two<JOIN, 0, FIRST, false>(a, w, in, acc);
  add_two<JOIN, 2, FIRST, false>(a, w, in, acc);
}

// Counts of all steps, in bytes.
template <Join JOIN>
inline __attribute__((always_inline)) void count_steps(const Steps& steps, const uint8_t* w,
                                                       uint8x16_t (&acc)[kGroup][4]) {
  const ptrdiff_t next = steps.row - 4 * static_cast<ptrdiff_t>(steps.n);
  const ptrdiff_t row = static_cast<ptrdiff_t>(128) * steps.n;
  const uint8_t* in[kGroup];  // of each pixel: ld1r goes on by itself
#pragma GCC unroll 4
  for (int p = 0; p < kGroup; ++p) in[p] = steps.in + p * steps.pixel;
  const uint8_t* end = w + row;
  add_step<JOIN, true>(in, w, acc);
  w += 128;
  for (int r = steps.rows;;) {
    if (w != end) {
      do {
        add_step<JOIN, false>(in, w, acc);
        w += 128;
      } while (w != end);
    }
    if (--r == 0) break;
    end += row;
#pragma GCC unroll 4
    for (int p = 0; p < kGroup; ++p) in[p] += next;
  }
}

// The same. A step's bits are loaded while the one before is counted, so a turn of the loop goes from the middle of one
// to the middle of the next.
template <Join JOIN>
inline __attribute__((always_inline)) void count_ahead(const Steps& steps, const uint8_t* w,
                                                       uint8x16_t (&acc)[kGroup][4]) {
  const ptrdiff_t next = steps.row - 4 * static_cast<ptrdiff_t>(steps.n);
  const uint8_t* last = w + static_cast<ptrdiff_t>(128) * (steps.n - 1);  // step of this row
  uint8x16_t a[kGroup];
  const uint8_t* in[kGroup];
#pragma GCC unroll 4
  for (int p = 0; p < kGroup; ++p) in[p] = steps.in + p * steps.pixel;
  load_steps(in, a);
  add_two<JOIN, 0, true, false>(a, w, in, acc);
  if (w != last) {
    add_two<JOIN, 2, true, true>(a, w, in, acc);
    w += 128;
    add_two<JOIN, 0, false, false>(a, w, in, acc);
  } else {
#pragma GCC unroll 4
    for (int p = 0; p < kGroup; ++p) acc[p][2] = acc[p][3] = vdupq_n_u8(0);
  }
  for (int r = steps.rows;;) {
    if (w != last) {
      do {
        add_two<JOIN, 2, false, true>(a, w, in, acc);
        w += 128;
        add_two<JOIN, 0, false, false>(a, w, in, acc);
      } while (w != last);
    }
    if (--r == 0) break;
    last += static_cast<ptrdiff_t>(128) * steps.n;
#pragma GCC unroll 4
    for (int p = 0; p < kGroup; ++p) in[p] += next;
  }
  add_two<JOIN, 2, false, false>(a, w, in, acc);
}

// Counts of one plane's bits, times `factor`, to sums[pixel][16]; `more`: added to what there is.
template <Join JOIN>
__attribute__((noinline)) void add_steps(const Steps& steps, const uint8_t* w, int16_t factor, bool more,
                                         int16_t* sums) {
  uint8x16_t acc[kGroup][4];
  if constexpr (kAhead && JOIN != Join::kSigns) {
    count_ahead<JOIN>(steps, w, acc);
  } else {
    count_steps<JOIN>(steps, w, acc);
  }
#pragma GCC unroll 4
  for (int p = 0; p < kGroup; ++p) {
#pragma GCC unroll 2
    for (int g = 0; g < 4; g += 2, sums += 8) {
      const int16x8_t count = vmulq_n_s16(fours(acc[p][g], acc[p][g + 1]), factor);
      vst1q_s16(sums, more ? vaddq_s16(count, vld1q_s16(sums)) : count);
    }
  }
}

// All planes; `whole`: binary weights, and taps take whole steps.
template <int A, bool SIGNS>
inline void add_planes(Steps steps, ptrdiff_t plane, const uint8_t* w, bool whole, bool more, int16_t* sums) {
#pragma GCC unroll 2
  for (int i = 0; i < A; ++i, steps.in += plane) {
    const int16_t factor = static_cast<int16_t>(1 << i);
    if constexpr (SIGNS) {
      (whole ? add_steps<Join::kWhole> : add_steps<Join::kSigns>)(steps, w, static_cast<int16_t>(-factor),
                                                                  more || i > 0, sums);
    } else {
      add_steps<Join::kAnd>(steps, w, factor, more || i > 0, sums);
      add_steps<Join::kAnd>(steps, w + 64, static_cast<int16_t>(-2 * factor), true, sums);
    }
  }
}

constexpr int kMost16 = 32766;

// What the outputs of a block share.
struct Outputs {
  const ConvRows& job;
  int channel;
  Finish finish;
  int count;  // of levels, or 0
  Levels levels;
};

template <int COUNT>
void put_levels(const Outputs& out, const int16_t* sums, int y, int x) {
  const int left = out.job.width - x;
#pragma GCC unroll 4
  for (int p = 0; p < kGroup; ++p, sums += 16) {
    if (p >= left) break;
    out.finish.put_bytes(out.levels.codes<COUNT>(vld1q_s16(sums), vld1q_s16(sums + 8)), y, x + p);
  }
}

// Of each pixel: start[16] + sums[16]; `step`: from one pixel's starts to the next one's.
void put_sums(const Outputs& out, const int32_t* start, int step, const int16_t* sums, int y, int x) {
  int32x4_t acc[kGroup][4];
#pragma GCC unroll 4
  for (int p = 0; p < kGroup; ++p, start += step) {
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) acc[p][g] = vaddw_s16(vld1q_s32(start + 4 * g), vld1_s16(sums + 16 * p + 4 * g));
  }
  put_pixels<kGroup>(out.job, out.finish, acc, out.channel, y, x);
}

// More steps than fit into bytes, or into 16 bits.
template <int A, bool SIGNS>
__attribute__((noinline)) void deep_tile(const Outputs& out, const Strip& at, const uint8_t* w, bool whole, int each,
                                         int y, int x) {
  const ConvRows& job = out.job;
  int32_t wide[kGroup * 16];
  int16_t sums[kGroup * 16];
  for (int p = 0; p < kGroup; ++p) __builtin_memcpy(wide + 16 * p, job.start + out.channel, 64);
  int room = 0;  // steps that still fit
  bool more = false;
  for (int r = 0; r < job.tap_rows; ++r) {
    for (int j = 0; j < job.steps; j += kMostSteps) {
      const int n = job.steps - j < kMostSteps ? job.steps - j : kMostSteps;
      if (room < n) {
        for (int i = 0; more && i < kGroup * 16; i += 4) {
          vst1q_s32(wide + i, vaddw_s16(vld1q_s32(wide + i), vld1_s16(sums + i)));
        }
        room = kMost16 / each;
        more = false;
      }
      add_planes<A, SIGNS>({at.data + r * at.row + 4 * j, at.pixel, at.row, 1, n}, at.plane, w, whole, more, sums);
      more = true;
      room -= n;
      w += static_cast<ptrdiff_t>(128) * n;
    }
  }
  put_sums(out, wide, 16, sums, y, x);
}

template <int A, bool SIGNS>
inline void tile(const Outputs& out, const Strip& at, int each, int y, int x) {
  const ConvRows& job = out.job;
  const int steps = job.tap_rows * job.steps;
  const uint8_t* w = static_cast<const uint8_t*>(job.weights);
  w += static_cast<size_t>(out.channel / 16) * steps * 128;
  const bool whole = job.bits - job.abits == 1 && job.in_channels % 32 == 0;
  if (steps > kMostSteps) return deep_tile<A, SIGNS>(out, at, w, whole, each, y, x);
  int16_t sums[kGroup * 16];
  add_planes<A, SIGNS>({at.data, at.pixel, at.row, job.tap_rows, job.steps}, at.plane, w, whole, false, sums);
  if (out.count == 0) return put_sums(out, job.start + out.channel, 0, sums, y, x);
  (out.count == 1 ? put_levels<1> : out.count == 2 ? put_levels<2> : put_levels<3>)(out, sums, y, x);
}

template <int A, bool SIGNS>
void convolve(const ConvRows& job) {
  constexpr int kEach = 32 * ((1 << A) - 1) * (SIGNS ? 1 : 2);  // a step adds at most
  const int steps = job.tap_rows * job.steps;
  Outputs out = {job, -1, Finish(job, 0), steps <= kMostSteps ? Levels::count(job, kEach * steps) : 0, Levels()};
  for_strips(
      job, (job.in_channels + 7) / 8, A, 16,
      [&](const uint8_t* from, int pixels, uint8_t* to, ptrdiff_t plane) { slice<A>(job, from, pixels, to, plane); },
      [&](Strip at, int channel, int y, int x, int pixels) {
        if (channel != out.channel) {
          out.channel = channel;
          out.finish = Finish(job, channel);
          if (out.count > 0) out.levels.find(job, out.finish, channel, kEach * steps, out.count);
        }
        for (int p = 0; p < pixels; p += kGroup, at.data += kGroup * at.pixel) {
          tile<A, SIGNS>(out, at, kEach, y, x + p);
        }
      });
}

}  // namespace

void bitserial_twos_neon(const ConvRows& job) { job.abits == 1 ? convolve<1, false>(job) : convolve<2, false>(job); }

void bitserial_signs_neon(const ConvRows& job) { job.abits == 1 ? convolve<1, true>(job) : convolve<2, true>(job); }

}  // namespace unetq
