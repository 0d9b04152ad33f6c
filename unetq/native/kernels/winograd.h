// Exact integer Winograd convolutions of side 3: which numbers fit, and how weights are packed for the kernels.
//
//   out = A^T [(G g G^T) * (B^T d B)] A        F(m): m outputs along an axis from m + 2 inputs, m + 2 products, not 3 m
//
// V = B^T d B is integer already. The rows of G are multiplied until U = G g G^T is integer too, so that the output
// transform yields `scale` times the direct sum. Everything is added modulo 2^32, where the odd part of the scale has
// an inverse, and the power of two goes into m: float32(2^k acc) * (m / 2^k) is the same product. So the result is the
// direct one, bit for bit, provided that each V fits a byte, each U and -U a signed byte, and 2^k acc an int32.
#pragma once

#include "pack.h"

namespace unetq {

// F(m, 3) along one axis; m = 1 is no transform at all: 3 taps, added up as positions of their own.
struct Axis {
  int outputs, positions;
  int scale;  // of the output transform that these integers need
  int g[6][3], b[6][6];
};

constexpr Axis kAxis1 = {1, 3, 1, {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}, {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
constexpr Axis kAxis2 = {2,
                         4,
                         2,
                         {{2, 0, 0}, {1, 1, 1}, {1, -1, 1}, {0, 0, 2}},
                         {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}}};
// The same for kernels that add where the transform subtracts row 3: its weights have the other sign.
constexpr Axis kAxis2Folded = {2,
                               4,
                               2,
                               {{2, 0, 0}, {1, 1, 1}, {1, -1, 1}, {0, 0, -2}},
                               {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}}};
// Points 0, 1, -1, 2 and infinity; outputs x 6 are [1 -1 -1 1 0; 0 -1 1 2 0; 0 -1 -1 4 1]: rows of G take over 3, 3
// and 6.
constexpr Axis kAxis3 = {3,
                         5,
                         6,
                         {{3, 0, 0}, {3, 3, 3}, {1, -1, 1}, {1, 2, 4}, {0, 0, 6}},
                         {{2, -1, -2, 1, 0}, {0, -2, -1, 1, 0}, {0, 2, -3, 1, 0}, {0, -1, 0, 1, 0}, {0, 2, -1, -2, 1}}};
// Points 0, 1, -1, 2, -2 and infinity; outputs x 24 are [1 2 2 1 1 0; 0 2 -2 2 -2 0; 0 2 2 4 4 0; 0 2 -2 8 -8 4]: what
// rows of G have room for below the largest, 7, they take over.
constexpr Axis kAxis4 = {4,
                         6,
                         24,
                         {{6, 0, 0}, {2, 2, 2}, {2, -2, 2}, {1, 2, 4}, {1, -2, 4}, {0, 0, 6}},
                         {{4, 0, -5, 0, 1, 0},
                          {0, 4, 4, -1, -1, 0},
                          {0, -4, 4, 1, -1, 0},
                          {0, -2, -1, 2, 1, 0},
                          {0, 2, -1, -2, 1, 0},
                          {0, 4, 0, -5, 0, 1}}};

// A pair of positions whose products run side by side, in the order of a kernel.
struct Pair {
  int p, q;
  bool negate_q;  // q's weights are stored with the other sign, so that the kernel may add
};

struct Winograd {
  const Axis *y, *x;
  // Pairs come in twos (1, 2), (0, -3): sums A and B of the first become A + B and A - B, which go on adding the
  // second. `fold` pairs of the first kind are added up, then as many of the second, and so on. 0: as the kernel likes,
  // and every position has a start of its own.
  const Pair* order;
  int pairs, fold;
  Layout layout;
  bool saturates;  // products are added two by two to 16 bits, where they must fit
  int run;         // 0: blocks of pairs; else V are signed bytes, blocks are of positions, with so many channels a run,
                   // and below 16 kernels fold rows of positions two by two in registers
  int power() const;  // the power of two within the scale
};

const Winograd* winograd_of(Layout layout);  // null: a direct layout

// What is added to V of position (i, j) to make it a byte. An unsigned one: nothing where no coefficient is negative. A
// signed one: nothing where the codes are so small that it fits.
int winograd_offset(const Winograd& winograd, int i, int j, int abits);

// Products of a V and a U that an int16 can always add up, at least 2.
int winograd_most16(const Winograd& winograd, int wbits, int abits);

enum class Fit {
  kNever,
  kChecked,  // if the |U| of these weights allow it (winograd_allows)
  kAlways
};

// Weights up to this in magnitude fit, whichever they are.
int winograd_limit(const Winograd& winograd);

// Derives from the transforms alone whether activations of `abits` and weights up to `largest` in magnitude fit.
Fit winograd_fit(const Winograd& winograd, int largest, int abits);

// The largest weight in magnitude that a source can hold.
int largest_weight(const WeightSource& source);

struct Scales {
  const float *m, *b;  // [outputs]
};

// Whether these weights and scales are exact: |U| <= 127, and neither int32 nor the normal floats are left.
bool winograd_allows(const Winograd& winograd, const WeightSource& source, int abits, int outputs, Scales scales);

// Whether kernels of a layout make use of doubled channels (pack.h), as Winograd's do. Tiles 3 wide do not: they begin
// anywhere in a pair.
bool makes_use_of_doubled(Layout layout);

// Whether V of a position is 0, its offset aside, in doubled channels (pack.h): 7 of 16 are with 2 x 2 tiles, 9 of 24
// with 2 x 4. Neither their V nor, without runs, their U exist.
bool winograd_vanishes(const Winograd& winograd, int position);

// Block: [pair][start of p, then of q: 16 int32 each][step][p: 16 lanes x 4 channels, q: the same].
size_t winograd_block_bytes(const Winograd& winograd, int channels, int doubled);
// With runs: [16 starts, int32, of position (1, 1), the only one that has any][position][channels / run][16
// lanes][run].
void pack_winograd(const WeightSource& source, const Winograd& winograd, int first_out, int count, void* weights);
static inline size_t winograd_position_bytes(int channels) { return static_cast<size_t>((channels + 15) / 16) * 256; }
void pack_winograd_neon(const WeightSource& source, const Winograd& winograd, int first_out, int count, void* weights);
void pack_winograd_any(const WeightSource& source, const Winograd& winograd, int first_out, int count, void* weights);
void pack_winograd_avx512(const WeightSource& source, const Winograd& winograd, int first_out, int count,
                          void* weights);

// Tiles whose V a kernel keeps at once, in the second-level cache (lean: fewer, where memory counts more than time),
// and bytes of a channel run of a pixel in it.
int winograd_block_tiles(const Winograd& winograd, int channels, bool lean);
int winograd_chunk(int channels);                                                  // without runs; else 16
size_t winograd_sums_bytes(const Winograd& winograd);                              // of a tile
size_t winograd_scratch_bytes(const Winograd& winograd, int channels, bool lean);  // of each thread

}  // namespace unetq
