#include "winograd.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "winograd_weights.h"

namespace unetq {

namespace {

// 2 x 2: rows of positions in the order 1, 2, 0, 3; 2 x 4: column after column; 4 x 3: row after row, position 3 of two
// of them a pair; 1 x 2: the three rows of taps add up.
constexpr Pair kRows2x2[] = {{5, 6, false}, {4, 7, true}, {9, 10, false},  {8, 11, true},
                             {1, 2, false}, {0, 3, true}, {13, 14, false}, {12, 15, true}};
constexpr Pair kColumns2x4[] = {{6, 12, false},  {0, 18, true}, {7, 13, false},  {1, 19, true},
                                {8, 14, false},  {2, 20, true}, {9, 15, false},  {3, 21, true},
                                {10, 16, false}, {4, 22, true}, {11, 17, false}, {5, 23, true}};
constexpr Pair kRows4x3[] = {{2, 1, true},   {0, 4, false},   {3, 8, false},   {7, 6, true},   {5, 9, false},
                             {12, 11, true}, {10, 14, false}, {13, 18, false}, {17, 16, true}, {15, 19, false},
                             {22, 21, true}, {20, 24, false}, {23, 28, false}, {27, 26, true}, {25, 29, false}};
constexpr Pair kRows1x2[] = {{1, 2, false}, {5, 6, false}, {9, 10, false}, {0, 3, true}, {4, 7, true}, {8, 11, true}};
constexpr Winograd kTiles[] = {
    {&kAxis2, &kAxis2, kRows2x2, 8, 1, Layout::kWinograd2x2, false, 0},
    {&kAxis2, &kAxis2, kRows2x2, 8, 1, Layout::kWinograd2x2Pairs, true, 0},
    {&kAxis2, &kAxis4, kColumns2x4, 12, 1, Layout::kWinograd2x4, false, 0},
    {&kAxis4, &kAxis3, kRows4x3, 15, 0, Layout::kWinograd4x3, false, 0},
    {&kAxis1, &kAxis2, kRows1x2, 6, 3, Layout::kWinograd1x2, false, 0},
    {&kAxis2Folded, &kAxis2, nullptr, 8, 1, Layout::kWinograd2x2Fours, false, 4},
    {&kAxis2Folded, &kAxis2, nullptr, 8, 1, Layout::kWinograd2x2Eights, false, 8},
    {&kAxis2, &kAxis2, nullptr, 8, 1, Layout::kWinograd2x2Sixteens, false, 16},
    {&kAxis2Folded, &kAxis4, nullptr, 12, 1, Layout::kWinograd2x4Fours, false, 4},
    {&kAxis2Folded, &kAxis4, nullptr, 12, 1, Layout::kWinograd2x4Eights, false, 8},
    {&kAxis2, &kAxis4, nullptr, 12, 1, Layout::kWinograd2x4Sixteens, false, 16},
};

// Of products of a row's coefficients with any two rows: the largest sum of positive and of negative parts.
struct Range {
  int low = 0, high = 0;
};

Range range_of(const Winograd& winograd, int i, int j) {
  Range range;
  for (int r = 0; r < 6; ++r) {
    for (int s = 0; s < 6; ++s) {
      const int value = winograd.y->b[i][r] * winograd.x->b[j][s];
      (value < 0 ? range.low : range.high) += value;
    }
  }
  return range;
}

// U and -U are signed bytes. Two products of V <= 254 stay within 16 bits: 254 * 129 = 32766.
constexpr int kMostOfOne = 127, kMostOfPair = 129;

int l1_of(const int (&row)[3]) { return std::abs(row[0]) + std::abs(row[1]) + std::abs(row[2]); }

// The largest |U| of weights of magnitude 1.
int gain(const Winograd& winograd) {
  int u = 0;
  for (const auto& row : winograd.y->g) {
    for (const auto& other : winograd.x->g) u = std::max(u, l1_of(row) * l1_of(other));
  }
  return u;
}

}  // namespace

int Winograd::power() const {
  const int scale = y->scale * x->scale;
  return scale & -scale;
}

const Winograd* winograd_of(Layout layout) {
  for (const Winograd& winograd : kTiles) {
    if (winograd.layout == layout) return &winograd;
  }
  return nullptr;
}

int winograd_offset(const Winograd& winograd, int i, int j, int abits) {
  const Range range = range_of(winograd, i, j);
  if (winograd.run == 0) return range.low < 0 ? 128 : 0;
  return range.low == 0 && range.high * ((1 << abits) - 1) > 127 ? -128 : 0;
}

int winograd_most16(const Winograd& winograd, int wbits, int abits) {
  const int most = (1 << abits) - 1;
  int v = 1;
  for (int i = 0; i < winograd.y->positions; ++i) {
    for (int j = 0; j < winograd.x->positions; ++j) {
      const Range range = range_of(winograd, i, j);
      const int offset = winograd_offset(winograd, i, j, abits);
      v = std::max(v, std::max(std::abs(range.low * most + offset), std::abs(range.high * most + offset)));
    }
  }
  const int u = std::min(kMostOfOne, gain(winograd) * (wbits == 1 ? 1 : 1 << (wbits - 1)));
  return 32767 / (u * v);
}

int winograd_limit(const Winograd& winograd) {
  const int u = gain(winograd);
  return winograd.saturates ? kMostOfPair / (2 * u) : kMostOfOne / u;
}

Fit winograd_fit(const Winograd& winograd, int largest, int abits) {
  const int most = (1 << abits) - 1;  // bytes are codes + zero: 0 to this
  for (int i = 0; i < winograd.y->positions; ++i) {
    for (int j = 0; j < winograd.x->positions; ++j) {
      const Range range = range_of(winograd, i, j);
      const int offset = winograd_offset(winograd, i, j, abits), least = winograd.run == 0 ? 0 : -128;
      if (range.low * most + offset < least || range.high * most + offset > least + 255) return Fit::kNever;
    }
  }
  return largest <= winograd_limit(winograd) ? Fit::kAlways : Fit::kChecked;
}

int largest_weight(const WeightSource& source) { return source.binary || source.ternary ? 1 : 1 << (source.bits - 1); }

bool winograd_allows(const Winograd& winograd, const WeightSource& source, int abits, int outputs, Scales scales) {
  const int largest = largest_weight(source);
  const Fit fit = winograd_fit(winograd, largest, abits);
  if (fit == Fit::kNever) return false;
  const double most = 9.0 * source.channels * largest * (1 << abits);
  if (most * winograd.power() >= 2147483648.0) return false;
  for (int o = 0; o < outputs; ++o) {
    const double m = std::fabs(scales.m[o]), b = std::fabs(scales.b[o]);
    if (m != 0.0 && m < 0x1p-100) return false;      // m / power must not lose bits
    if (most * m + b >= 2147000000.0) return false;  // kernels convert before they clamp
  }
  if (fit == Fit::kAlways) return true;
  const int positions = winograd.y->positions * winograd.x->positions;
  int16_t u[30][kRun] = {};
  for (int o = 0; o < outputs; ++o) {
    for (int channel = 0; channel < source.channels; channel += kRun) {
      int8_t taps[9][kRun];
      load_taps(source, o, channel, taps);
      transform_taps(winograd, taps, u);
      int one = 0, pair = 0;
      for (int k = 0; k < positions * kRun; k += 2) {
        const int even = std::abs(u[k / kRun][k % kRun]), odd = std::abs(u[k / kRun][k % kRun + 1]);
        one = std::max(one, std::max(even, odd));
        pair = std::max(pair, even + odd);
      }
      if (one > kMostOfOne || (winograd.saturates && pair > kMostOfPair)) return false;
    }
  }
  return true;
}

bool makes_use_of_doubled(Layout layout) {
  const Winograd* winograd = winograd_of(layout);
  return winograd != nullptr && winograd->x->outputs % 2 == 0;
}

bool winograd_vanishes(const Winograd& winograd, int position) {
  // Tiles begin one pixel before a doubled pair.
  const auto vanishes = [](const Axis& axis, int i) {
    const int (&b)[6] = axis.b[i];
    return axis.outputs > 1 && b[0] == 0 && b[1] + b[2] == 0 && b[3] + b[4] == 0 && b[5] == 0;
  };
  const int wide = winograd.x->positions;
  return makes_use_of_doubled(winograd.layout) &&
         (vanishes(*winograd.y, position / wide) || vanishes(*winograd.x, position % wide));
}

size_t winograd_block_bytes(const Winograd& winograd, int channels, int doubled) {
  if (winograd.run > 0) return 64 + static_cast<size_t>(2 * winograd.pairs) * winograd_position_bytes(channels);
  size_t bytes = 0;
  for (int pair = 0; pair < winograd.pairs; ++pair) bytes += PairPlace(winograd, pair, channels, doubled).bytes();
  return bytes;
}

void pack_winograd(const WeightSource& source, const Winograd& winograd, int first_out, int count, void* weights) {
#if defined(UNETQ_ARM64) || defined(UNETQ_ARM32)
  if (winograd.run > 0) {
    pack_winograd_neon(source, winograd, first_out, count, weights);
    return;
  }
#elif defined(UNETQ_X86)
  if (source.isa >= Isa::kAvx512Vnni) {
    pack_winograd_avx512(source, winograd, first_out, count, weights);
    return;
  }
#endif
  pack_winograd_any(source, winograd, first_out, count, weights);
}

int winograd_chunk(int channels) { return channels <= 16 ? 16 : channels <= 32 ? 32 : 64; }

int winograd_block_tiles(const Winograd& winograd, int channels, bool lean) {
  // Of V. More tiles meet a weight less often out of the third-level cache; on CPUs with 1 MiB of the second.
  constexpr int kCache = 96 * 1024, kMostCache = 640 * 1024;
  if (winograd.run > 0) return 24;  // their sums take 12 to 36 KiB, and are read at once
  const int bytes = winograd.y->positions * winograd.x->positions * ((channels + 63) / 64 * 64);
  const int few = std::max(24, std::min(96, kCache / bytes / 12 * 12));
  return lean ? few : std::max(few, std::min(48, kMostCache / bytes / 12 * 12));
}

// Places for up to two vectors of 16 channels: of 2 x 2 (and 1 x 2) the outputs, of 2 x 4 two rows of 6 columns, of 4 x
// 3 three columns of 6 rows. With runs, for one of each position, or of every other one.
size_t winograd_sums_bytes(const Winograd& winograd) {
  if (winograd.run > 0) return size_t{64} * (winograd.run < 16 ? 1 : 2) * winograd.pairs;
  const int high = winograd.y->outputs, wide = winograd.x->outputs;
  return size_t{2 * 64} * (wide == 2 ? 4 : high == 2 ? 12 : 18);
}

size_t winograd_scratch_bytes(const Winograd& winograd, int channels, bool lean) {
  const size_t tiles = winograd_block_tiles(winograd, channels, lean),
               chunk = winograd.run > 0 ? 16 : winograd_chunk(channels);
  const size_t positions = static_cast<size_t>(winograd.y->positions) * winograd.x->positions;
  const size_t v = (channels + chunk - 1) / chunk * positions * (tiles + 1) * chunk + 1024;
  const size_t sums = tiles * winograd_sums_bytes(winograd), places = tiles * 64;
  return (v + sums + places + 63) / 64 * 64;
}

}  // namespace unetq
