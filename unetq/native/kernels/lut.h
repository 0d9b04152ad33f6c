// Convolution by lookup tables, for registers of any width: each file that includes this has its own copy, compiled
// with its own flags, and brings `V`, the operations on a register.
//
// tables   Each 4 channels of a pixel become 16 bytes, the sums over all subsets of them (for binary weights: all
//          sums with signs, raised by 4 * amax so that none is negative). A bit plane of 4 weights is the index, so a
//          shuffle looks up 4 products for each of its bytes, which are output channels.
// products DeepGEMM's: the index is (a << 2) | w for one channel, the table the 16 products of 2-bit codes, raised by
//          6; an input byte holds two channels at bits 2 and 6, a weight byte at 0 and 4.
//
// Lookups add up in bytes, `most8` at a time: 255 / the largest entry. Then planes meet in 16 bits, the top one of
// two's complement negative, `most16` lookups at a time: 32767 / (the largest entry << (planes - 1)). Then in 32 bits.
#pragma once

#include "lowbit.h"

namespace unetq {

// Other copies have other instructions: they must not be taken for the same function.
namespace {  // NOLINT(misc-anonymous-namespace-in-header)

// Sums of one tile; 16-bit ones of even channels before those of odd ones.
template <typename V>
struct LutSums {
  alignas(64) int16_t narrow[kTilePixels][V::kLanes];
  alignas(64) int32_t wide[V::kLanes / 16][kTilePixels][16];
};

template <typename V, int P>
inline void widen(LutSums<V>& sums) {
  for (int p = 0; p < P; ++p) {
    V::add_wide(sums.narrow[p], &sums.wide[0][p][0], kTilePixels * 16);
    for (int i = 0; i < V::kLanes; i += V::kLanes / 2) V::store(sums.narrow[p] + i, V::zero());
  }
}

// bytes[plane] to 16 bits: plane k counts 2^k, and W > 1 is two's complement.
template <typename V, int W>
inline void add_narrow(const typename V::Reg* bytes, int16_t* narrow) {
#pragma GCC unroll 4
  for (int k = 0; k < W; ++k) {
    const typename V::Reg even = V::shift_left(V::even(bytes[k]), k), odd = V::shift_left(V::odd(bytes[k]), k);
    for (int half = 0; half < 2; ++half) {
      int16_t* to = narrow + half * (V::kLanes / 2);
      const typename V::Reg old = V::load(to), more = half == 0 ? even : odd;
      V::store(to, W > 1 && k == W - 1 ? V::sub16(old, more) : V::add16(old, more));
    }
  }
}

// A multiplication for P pixels: `n` steps added up in bytes.
template <typename V, int W, int P>
struct Tables {
  static constexpr int kPlanes = W, kPixels = P;
  static constexpr int kStep = 16;  // bytes of input

  __attribute__((noinline)) static void add(const Strip& at, const uint8_t* in, const uint8_t* w, int n,
                                            int16_t (*narrow)[V::kLanes]) {
    typename V::Reg sums[P][W];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 4
      for (int k = 0; k < W; ++k) sums[p][k] = V::zero();
    }
    for (int j = 0; j < n; ++j, in += kStep, w += W * V::kLanes) {
      typename V::Reg index[W];
#pragma GCC unroll 4
      for (int k = 0; k < W; ++k) index[k] = V::load(w + k * V::kLanes);
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        const typename V::Reg table = V::repeat16(in + p * at.pixel);
#pragma GCC unroll 4
        for (int k = 0; k < W; ++k) V::add_lookup(sums[p][k], table, index[k]);
      }
    }
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) add_narrow<V, W>(sums[p], narrow[p]);
  }
};

alignas(16) constexpr uint8_t kProductTable[16] = {
    kProductBias, kProductBias,     kProductBias,     kProductBias,      // a = 0, w = 0, 1, -2, -1
    kProductBias, kProductBias + 1, kProductBias - 2, kProductBias - 1,  // a = 1
    kProductBias, kProductBias + 2, kProductBias - 4, kProductBias - 2,  // a = 2
    kProductBias, kProductBias + 3, kProductBias - 6, kProductBias - 3,  // a = 3
};

template <typename V, int P>
struct Products {
  static constexpr int kPlanes = 1, kPixels = P;
  static constexpr int kStep = 1;

  __attribute__((noinline)) static void add(const Strip& at, const uint8_t* in, const uint8_t* w, int n,
                                            int16_t (*narrow)[V::kLanes]) {
    const typename V::Reg table = V::repeat16(kProductTable), low = V::repeat1(15);
    typename V::Reg sums[P];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) sums[p] = V::zero();
    for (int j = 0; j < n; ++j, in += kStep, w += V::kLanes) {
      const typename V::Reg weights = V::load(w);
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        // for_strips prepared it, though the analyzer sees a loop of no rows.
        const uint8_t two = in[p * at.pixel];  // NOLINT(clang-analyzer-core.uninitialized.Assign)
        const typename V::Reg both = V::bit_or(weights, V::repeat1(two));
        V::add_lookup(sums[p], table, V::bit_and(both, low));
        V::add_lookup(sums[p], table, V::bit_and(V::shift_right4(both), low));
      }
    }
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) add_narrow<V, 1>(&sums[p], narrow[p]);
  }
};

// A tile of M::kPixels pixels and one block of outputs.
template <typename V, typename M>
void lut_tile(const ConvRows& job, const Strip& at, int entry, int channel, int y, int x) {
  constexpr int kPixels = M::kPixels;
  LutSums<V> sums;
  for (int p = 0; p < kPixels; ++p) {
    for (int i = 0; i < V::kLanes; i += V::kLanes / 2) V::store(sums.narrow[p] + i, V::zero());
    for (int g = 0; g < V::kLanes / 16; ++g) __builtin_memcpy(sums.wide[g][p], job.start + channel + 16 * g, 64);
  }
  const int most8 = 255 / entry, most16 = 32767 / (entry << (M::kPlanes - 1));
  const uint8_t* w = static_cast<const uint8_t*>(job.weights);
  w += static_cast<size_t>(channel / V::kLanes) * job.tap_rows * job.steps * M::kPlanes * V::kLanes;
  int narrow = 0;  // steps in 16 bits
  for (int r = 0; r < job.tap_rows; ++r) {
    const uint8_t* in = at.data + r * at.row;
    for (int j = 0; j < job.steps; j += most8) {
      const int n = job.steps - j < most8 ? job.steps - j : most8;
      if (narrow + n > most16) {
        widen<V, kPixels>(sums);
        narrow = 0;
      }
      M::add(at, in + static_cast<ptrdiff_t>(j) * M::kStep, w, n, sums.narrow);
      narrow += n;
      w += static_cast<ptrdiff_t>(n) * M::kPlanes * V::kLanes;
    }
  }
  widen<V, kPixels>(sums);
  for (int g = 0; g < V::kLanes / 16 && channel + 16 * g < job.channels; ++g) {
    V::finish(job, sums.wide[g][0], channel + 16 * g, y, x, kPixels);
  }
}

// Few pixels at the right end go one by one: each number of them would be another function.
template <typename V, template <typename, int> class M, int P>
void lut_pixels(const ConvRows& job, Strip at, int entry, int channel, int y, int x, int pixels) {
  int p = 0;
  for (; p + P <= pixels; p += P, at.data += P * at.pixel) lut_tile<V, M<V, P>>(job, at, entry, channel, y, x + p);
  for (; p < pixels; ++p, at.data += at.pixel) lut_tile<V, M<V, 1>>(job, at, entry, channel, y, x + p);
}

template <typename V, int P>
using Tables1 = Tables<V, 1, P>;
template <typename V, int P>
using Tables2 = Tables<V, 2, P>;
template <typename V, int P>
using Tables4 = Tables<V, 4, P>;

// The 16 entries of every 4 channels; signs: sums with signs.
template <typename V, template <typename, int> class M, int P>
void lut_tables(const ConvRows& job, bool signs) {
  constexpr int kOnce = V::Maker::kChannels;
  const int channels = job.in_channels, amax = (1 << job.abits) - 1, rest = channels % kOnce;
  const ptrdiff_t pixel = (channels + 3) / 4 * 16;
  const uint64_t all = ~uint64_t{0}, last = rest == 0 ? all : (uint64_t{1} << (8 * rest)) - 1;
  const typename V::Maker maker(signs ? 4 * amax : 0, signs);
  for_strips(
      job, static_cast<int>(pixel), 1, V::kLanes,
      [&](const uint8_t* from, int pixels, uint8_t* to, ptrdiff_t) {
        for (int x = 0; x < pixels; ++x, from += job.in_pixel, to += pixel) {
          int c = 0;
          for (; c + kOnce <= channels; c += kOnce) maker.make(from + c, all, to + 4 * c);
          if (rest != 0) maker.make(from + c, last, to + 4 * c);  // what does not exist is 0
        }
      },
      [&](const Strip& at, int channel, int y, int x, int pixels) {
        lut_pixels<V, M, P>(job, at, (signs ? 8 : 4) * amax, channel, y, x, pixels);
      });
}

template <typename V, int P>
void lut_products(const ConvRows& job) {
  for_strips(
      job, (job.in_channels + 1) / 2, 1, V::kLanes,
      [&](const uint8_t* from, int pixels, uint8_t* to, ptrdiff_t) {
        for (int x = 0; x < pixels; ++x, from += job.in_pixel) {
          for (int c = 0; c < job.in_channels; c += 2)
            *to++ = static_cast<uint8_t>((from[c] & 3) << 2 | from[c + 1] << 6);
        }
      },
      [&](const Strip& at, int channel, int y, int x, int pixels) {
        lut_pixels<V, Products, P>(job, at, 2 * (kProductBias + 3), channel, y, x, pixels);
      });
}

}  // namespace

}  // namespace unetq
