// Convolution by lookup tables for NEON (tables and indices: lut.h): tbl looks up 16 outputs, or 8, and the sums are of
// 16 bits. Entries are bytes, at most 4 * amax, of binary weights 8 * amax: while a few of them fit into a byte
// together they are added there first, so a lookup costs 2.25 to 3 instructions for 64 products of one plane.
//
// In a prepared row the tables of one group of 4 channels stand side by side, pixel after pixel: those of neighbouring
// pixels are loaded two by two from one address.
//
// Two forms, because cores differ in what tbl of 16 bytes costs: kWhole looks up 16 bytes at once, kHalves twice 8.
// 32-bit NEON has only the second.
#include "../lowbit.h"
#include "neon.h"

namespace unetq {

namespace {

enum class Form { kWhole, kHalves };

// Pixels whose sums fill 16 registers of 64-bit ARM, or 8.
#ifdef UNETQ_ARM64
template <int W>
constexpr int kPixels = W == 1   ? 8
                        : W == 2 ? 4
                                 : 2;
#else
template <int W>
constexpr int kPixels = W == 1   ? 4
                        : W == 2 ? 2
                                 : 1;
#endif

#ifdef UNETQ_ARM64
using Table = uint8x16_t;
inline Table table_of(uint8x16_t bytes) { return bytes; }
inline uint8x8_t look_up(Table table, uint8x8_t index) { return vqtbl1_u8(table, index); }
inline uint8x16_t look_up(Table table, uint8x16_t index) { return vqtbl1q_u8(table, index); }
#else
using Table = uint8x8x2_t;
inline Table table_of(uint8x16_t bytes) { return {{vget_low_u8(bytes), vget_high_u8(bytes)}}; }
inline uint8x8_t look_up(Table table, uint8x8_t index) { return vtbl2_u8(table, index); }
inline uint8x16_t look_up(Table table, uint8x16_t index) {
  return vcombine_u8(look_up(table, vget_low_u8(index)), look_up(table, vget_high_u8(index)));
}
#endif

inline void add_bytes(uint8x16_t bytes, uint16x8_t (&sums)[2]) {
  sums[0] = vaddw_u8(sums[0], vget_low_u8(bytes));
#ifdef UNETQ_ARM64
  sums[1] = vaddw_high_u8(sums[1], bytes);
#else
  sums[1] = vaddw_u8(sums[1], vget_high_u8(bytes));
#endif
}

// M lookups of one pixel and plane.
template <Form FORM, int W, int M>
inline __attribute__((always_inline)) void add_lookups(const Table (&tables)[M], const uint8_t* w,
                                                       uint16x8_t (&sums)[2]) {
  uint8x16_t bytes = vdupq_n_u8(0);
  for (int i = 0; i < M; ++i) {
    const uint8_t* index = w + static_cast<ptrdiff_t>(16) * W * i;
    if constexpr (FORM == Form::kHalves) {
      sums[0] = vaddw_u8(sums[0], look_up(tables[i], vld1_u8(index)));
      sums[1] = vaddw_u8(sums[1], look_up(tables[i], vld1_u8(index + 8)));
    } else {
      const uint8x16_t found = look_up(tables[i], vld1q_u8(index));
      bytes = i == 0 ? found : vaddq_u8(bytes, found);
    }
  }
  if constexpr (FORM == Form::kWhole) add_bytes(bytes, sums);
}

// Pixels P and P + 1, and those behind them; `group`: bytes from one step's tables to the next one's.
template <Form FORM, int W, int M, int P = 0>
inline __attribute__((always_inline)) void add_tables(const uint8_t* in, ptrdiff_t group, const uint8_t* w,
                                                      uint16x8_t (&sums)[kPixels<W>][W][2]) {
  if constexpr (P + 1 < kPixels<W>) {
    Table tables[2][M];
    for (int i = 0; i < M; ++i) {
      uint8x16_t two[2];
      load_two<16 * P>(in + i * group, two);
      tables[0][i] = table_of(two[0]);
      tables[1][i] = table_of(two[1]);
    }
    for (int k = 0; k < W; ++k) {
      add_lookups<FORM, W, M>(tables[0], w + 16 * k, sums[P][k]);
      add_lookups<FORM, W, M>(tables[1], w + 16 * k, sums[P + 1][k]);
    }
    add_tables<FORM, W, M, P + 2>(in, group, w, sums);
  } else if constexpr (P < kPixels<W>) {
    Table tables[M];
    for (int i = 0; i < M; ++i) tables[i] = table_of(vld1q_u8(in + i * group + 16 * P));
    for (int k = 0; k < W; ++k) add_lookups<FORM, W, M>(tables, w + 16 * k, sums[P][k]);
  }
}

// Planes of one pixel to its sums: plane k counts 2^k, and W > 1 is two's complement.
template <int W>
inline void add_planes(const uint16x8_t (&from)[W][2], int32_t* sums) {
#pragma GCC unroll 4
  for (int g = 0; g < 4; ++g) {
    uint32x4_t sum = vreinterpretq_u32_s32(vld1q_s32(sums + 4 * g));
    for (int k = 0; k < W; ++k) {
      const uint16x8_t both = from[k][g / 2];
      const uint32x4_t wide = vmovl_u16(g % 2 == 0 ? vget_low_u16(both) : vget_high_u16(both));
      const uint32x4_t part = vshlq_u32(wide, vdupq_n_s32(k));
      sum = W > 1 && k == W - 1 ? vsubq_u32(sum, part) : vaddq_u32(sum, part);
    }
    vst1q_s32(sums + 4 * g, vreinterpretq_s32_u32(sum));
  }
}

// `taps` neighbouring pixels, `groups` of 4 channels each, of `rows` rows: their sums fit into 16 bits.
struct Steps {
  const uint8_t* in;
  ptrdiff_t group, row;
  int rows, taps, groups;
};

// Added to sums[pixel][16]. Gives the weights behind those that were used.
template <Form FORM, int W, int M>
__attribute__((noinline)) const uint8_t* add_steps(const Steps& steps, const uint8_t* w, int32_t* to) {
  uint16x8_t sums[kPixels<W>][W][2];
#pragma GCC unroll 8
  for (int p = 0; p < kPixels<W>; ++p) {
    for (int k = 0; k < W; ++k) sums[p][k][0] = sums[p][k][1] = vdupq_n_u16(0);
  }
  const ptrdiff_t group = steps.group;
  for (int r = 0; r < steps.rows; ++r) {
    for (int s = 0; s < steps.taps; ++s) {
      const uint8_t* in = steps.in + r * steps.row + 16 * s;
      int left = steps.groups;
      for (; left >= M; left -= M, in += M * group, w += 16 * W * M) add_tables<FORM, W, M>(in, group, w, sums);
      for (; left > 0; --left, in += group, w += 16 * W) add_tables<FORM, W, 1>(in, group, w, sums);
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < kPixels<W>; ++p, to += 16) add_planes<W>(sums[p], to);
  return w;
}

template <Form FORM, int W, int M>
void tile(const ConvRows& job, const Finish& finish, const Strip& at, int most16, int channel, int y, int x) {
  constexpr int kCount = kPixels<W>;
  int32_t sums[kCount * 16];
  for (int p = 0; p < kCount; ++p) __builtin_memcpy(sums + 16 * p, job.start + channel, 64);
  const int steps = job.tap_rows * job.steps, taps = job.tap_rows, groups = job.steps / taps;  // taps are square
  const uint8_t* w = static_cast<const uint8_t*>(job.weights) + static_cast<ptrdiff_t>(channel) * steps * W;
  if (steps <= most16) {
    add_steps<FORM, W, M>({at.data, at.pixel, at.row, taps, taps, groups}, w, sums);
  } else {
    for (int tap = 0; tap < taps * taps; ++tap) {
      const uint8_t* in = at.data + tap / taps * at.row + 16 * (tap % taps);
      for (int g = 0; g < groups; g += most16) {
        const int n = groups - g < most16 ? groups - g : most16;
        w = add_steps<FORM, W, M>({in + g * at.pixel, at.pixel, 0, 1, 1, n}, w, sums);
      }
    }
  }
  int32x4_t acc[kCount][4];
#pragma GCC unroll 8
  for (int p = 0; p < kCount; ++p) {
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) acc[p][g] = vld1q_s32(sums + 16 * p + 4 * g);
  }
  put_pixels<kCount>(job, finish, acc, channel, y, x);
}

// Makes the 16 entries of every 4 channels, 16 channels at a time. The 4 sums over subsets of 2 neighbours are a word;
// an entry is one of the first 2 channels' and one of the other 2 channels'. Of signs, a subset stands for the sum with
// signs, 2 * sum - all, raised by 2 * amax for each 2 channels.
template <bool SIGNS>
class Maker {
 public:
  explicit Maker(int amax) : raised_(vdupq_n_u8(static_cast<uint8_t>(2 * amax))) {
    uint8_t index[4][16];
    for (int i = 0; i < 16; ++i) {
      index[0][i] = static_cast<uint8_t>(i % 4);
      index[1][i] = static_cast<uint8_t>(i / 4 + 4);
      index[2][i] = static_cast<uint8_t>(i % 4 + 8);
      index[3][i] = static_cast<uint8_t>(i / 4 + 12);
    }
    for (int i = 0; i < 4; ++i) index_[i] = vld1q_u8(index[i]);
  }

  // A row of pixels; `group`: bytes to the tables of the next 4 channels.
  void row(const ConvRows& job, const uint8_t* from, int pixels, uint8_t* to, ptrdiff_t group) const {
    const int channels = job.in_channels, rest = channels % 16;
    uint8_t exist[16];
    for (int i = 0; i < 16; ++i) exist[i] = i < rest ? 255 : 0;
    const uint8x16_t mask = vld1q_u8(exist);
    for (int x = 0; x < pixels; ++x, from += job.in_pixel, to += 16) {
      uint8_t* tables = to;
      int c = 0;
      for (; c + 16 <= channels; c += 16, tables += 4 * group) make(vld1q_u8(from + c), 4, tables, group);
      if (rest != 0) make(vandq_u8(vld1q_u8(from + c), mask), (rest + 3) / 4, tables, group);
    }
  }

 private:
  __attribute__((always_inline)) void make(uint8x16_t a, int count, uint8_t* to, ptrdiff_t group) const {
    // Bytes (0, first) and (second, both) of each 2 channels.
    const uint16x8_t two = vreinterpretq_u16_u8(a);
    uint16x8_t low = vshlq_n_u16(two, 8);
    uint16x8_t high = vsriq_n_u16(vreinterpretq_u16_u8(vaddq_u8(a, vreinterpretq_u8_u16(low))), two, 8);
    if constexpr (SIGNS) {
      const uint8x16_t bias = vsubq_u8(raised_, vaddq_u8(a, vrev16q_u8(a)));
      const auto twice = [&](uint16x8_t of) {
        const uint8x16_t bytes = vreinterpretq_u8_u16(of);
        return vreinterpretq_u16_u8(vaddq_u8(vaddq_u8(bytes, bytes), bias));
      };
      low = twice(low);
      high = twice(high);
    }
    const uint16x8x2_t words = vzipq_u16(low, high);
    const Table tables[2] = {table_of(vreinterpretq_u8_u16(words.val[0])),
                             table_of(vreinterpretq_u8_u16(words.val[1]))};
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      if (g >= count) break;
      const Table& table = tables[g / 2];
      vst1q_u8(to + g * group, vaddq_u8(look_up(table, index_[g % 2 * 2]), look_up(table, index_[g % 2 * 2 + 1])));
    }
  }

  uint8x16_t raised_, index_[4];
};

template <Form FORM, int W, int M>
void rows(const ConvRows& job, int most16) {
  const int groups = (job.in_channels + 3) / 4;
  const Maker<W == 1> maker((1 << job.abits) - 1);
  // What a row has room for: at least all its pixels.
  const auto stride = [&](ptrdiff_t row) { return row / groups / 16 * 16; };
  for_strips(
      job, groups * 16, 1, 16,
      [&](const uint8_t* from, int pixels, uint8_t* to, ptrdiff_t row) {
        maker.row(job, from, pixels, to, stride(row));
      },
      [&](Strip at, int channel, int y, int x, int pixels) {
        const Finish finish(job, channel);
        at.data -= at.column * (at.pixel - 16);
        at.pixel = stride(at.row);
        for (int p = 0; p < pixels; p += kPixels<W>, at.data += 16 * kPixels<W>) {
          tile<FORM, W, M>(job, finish, at, most16, channel, y, x + p);
        }
      });
}

template <Form FORM, int W>
void convolve(const ConvRows& job) {
  const int entry = ((1 << job.abits) - 1) * (W == 1 ? 8 : 4), most8 = 255 / entry, most16 = 65535 / entry;
  if constexpr (FORM == Form::kHalves) return rows<FORM, W, 1>(job, most16);
  (most8 < 2 ? rows<FORM, W, 1> : most8 < 4 ? rows<FORM, W, 2> : rows<FORM, W, 4>)(job, most16);
}

}  // namespace

void lut_signs_neon(const ConvRows& job) { convolve<Form::kWhole, 1>(job); }
void lut_twos2_neon(const ConvRows& job) { convolve<Form::kWhole, 2>(job); }
void lut_twos3_neon(const ConvRows& job) { convolve<Form::kWhole, 3>(job); }
void lut_halves_signs_neon(const ConvRows& job) { convolve<Form::kHalves, 1>(job); }
void lut_halves_twos2_neon(const ConvRows& job) { convolve<Form::kHalves, 2>(job); }
void lut_halves_twos3_neon(const ConvRows& job) { convolve<Form::kHalves, 3>(job); }

}  // namespace unetq
