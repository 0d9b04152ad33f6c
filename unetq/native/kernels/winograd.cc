#include "winograd.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace unetq {

namespace {

// Rows 1, 2, 0, 3 (see winograd2x2_avx512vnni.cc).
constexpr Winograd kTiles[] = {
    {Layout::kWinograd2x2,
     &kAxis2,
     &kAxis2,
     8,
     {{5, 6, false},
      {4, 7, true},
      {9, 10, false},
      {8, 11, true},
      {1, 2, false},
      {0, 3, true},
      {13, 14, false},
      {12, 15, true}},
     1},
    {Layout::kWinograd1x2,
     &kAxis1,
     &kAxis2,
     6,
     {{1, 2, false}, {5, 6, false}, {9, 10, false}, {0, 3, true}, {4, 7, true}, {8, 11, true}},
     3},
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

int sum_of(const int (&row)[6]) { return row[0] + row[1] + row[2] + row[3] + row[4] + row[5]; }

int l1_of(const int (&row)[3]) { return std::abs(row[0]) + std::abs(row[1]) + std::abs(row[2]); }

constexpr int kRun = 64;  // channels transformed at once

// U of `kRun` channels of one output, [position][channel].
class Transform {
 public:
  explicit Transform(const Winograd& winograd) : winograd_(winograd) {}

  void operator()(const WeightSource& source, int out, int channel) {
    int8_t taps[9][kRun];
    const int n = std::min(kRun, source.channels - channel);
    for (int tap = 0; tap < 9; ++tap) {
      std::memset(taps[tap], 0, kRun);
      const size_t first = source.first + out * source.out_stride + static_cast<size_t>(tap) * source.channels + channel;
      unpack_codes(source, first, n, taps[tap]);
    }
    int16_t half[6][3][kRun];
    for (int i = 0; i < winograd_.y->positions; ++i) {
      for (int s = 0; s < 3; ++s) weigh(winograd_.y->g[i], taps[s], taps[3 + s], taps[6 + s], half[i][s]);
    }
    for (int i = 0; i < winograd_.y->positions; ++i) {
      for (int j = 0; j < winograd_.x->positions; ++j) {
        weigh(winograd_.x->g[j], half[i][0], half[i][1], half[i][2], u[i * winograd_.x->positions + j]);
      }
    }
  }

  int16_t u[30][kRun];

 private:
  template <typename T>
  static void weigh(const int (&g)[3], const T* a, const T* b, const T* c, int16_t* to) {
    const int16_t g0 = static_cast<int16_t>(g[0]), g1 = static_cast<int16_t>(g[1]), g2 = static_cast<int16_t>(g[2]);
    for (int k = 0; k < kRun; ++k) to[k] = static_cast<int16_t>(g0 * a[k] + g1 * b[k] + g2 * c[k]);
  }

  const Winograd& winograd_;
};

size_t pair_bytes(int channels) { return 128 + static_cast<size_t>((channels + 3) / 4) * 128; }

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

int winograd_offset(const Winograd& winograd, int i, int j) { return range_of(winograd, i, j).low < 0 ? 128 : 0; }

int winograd_gain(const Winograd& winograd) {
  int u = 0;
  for (const auto& row : winograd.y->g) {
    for (const auto& other : winograd.x->g) u = std::max(u, l1_of(row) * l1_of(other));
  }
  return u;
}

Fit winograd_fit(const Winograd& winograd, int largest, int abits) {
  const int most = (1 << abits) - 1;  // bytes are codes + zero: 0 to this
  for (int i = 0; i < winograd.y->positions; ++i) {
    for (int j = 0; j < winograd.x->positions; ++j) {
      const Range range = range_of(winograd, i, j);
      const int offset = winograd_offset(winograd, i, j);
      if (range.low * most + offset < 0 || range.high * most + offset > 255) return Fit::kNever;
    }
  }
  return winograd_gain(winograd) * largest <= 127 ? Fit::kAlways : Fit::kChecked;
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
  Transform transform(winograd);
  const int positions = winograd.y->positions * winograd.x->positions;
  for (int o = 0; o < outputs; ++o) {
    for (int channel = 0; channel < source.channels; channel += kRun) {
      transform(source, o, channel);
      int16_t low = 0, high = 0;
      for (int k = 0; k < positions * kRun; ++k) {
        const int16_t value = transform.u[k / kRun][k % kRun];
        low = std::min(low, value);
        high = std::max(high, value);
      }
      if (low < -127 || high > 127) return false;
    }
  }
  return true;
}

size_t winograd_block_bytes(const Winograd& winograd, int channels) { return winograd.pairs * pair_bytes(channels); }

void pack_winograd(const WeightSource& source, const Winograd& winograd, int first_out, int count, void* weights) {
  auto* block = static_cast<uint8_t*>(weights);
  std::memset(block, 0, winograd_block_bytes(winograd, source.channels));
  const int wide = winograd.x->positions;
  const size_t bytes = pair_bytes(source.channels);
  Transform transform(winograd);
  for (int lane = 0; lane < count; ++lane) {
    int32_t sums[16][2] = {};  // [pair][p or q] of the numbers as they are stored
    for (int channel = 0; channel < source.channels; channel += kRun) {
      transform(source, first_out + lane, channel);
      const int steps = (std::min(kRun, source.channels - channel) + 3) / 4;
      for (int pair = 0; pair < 2 * winograd.pairs; ++pair) {
        const Pair& order = winograd.order[pair / 2];
        const int position = pair % 2 == 0 ? order.p : order.q;
        if (position < 0) continue;
        const int16_t sign = pair % 2 == 1 && order.negate_q ? -1 : 1;
        int8_t bytes4[kRun];
        int32_t sum = 0;
        for (int k = 0; k < kRun; ++k) {
          bytes4[k] = static_cast<int8_t>(sign * transform.u[position][k]);
          sum += bytes4[k];
        }
        sums[pair / 2][pair % 2] += sum;
        uint8_t* to = block + pair / 2 * bytes + 128 + channel * 32 + pair % 2 * 64 + lane * 4;
        for (int step = 0; step < steps; ++step) std::memcpy(to + step * 128, bytes4 + 4 * step, 4);
      }
    }
    // An accumulator starts at what takes the offsets, and the zero of the input's codes, out again.
    uint32_t starts[16][2] = {};
    for (int pair = 0; pair < 2 * winograd.pairs; ++pair) {
      const int position = pair % 2 == 0 ? winograd.order[pair / 2].p : winograd.order[pair / 2].q;
      if (position < 0) continue;
      const int i = position / wide, j = position % wide;
      const int zero = source.in_zero * sum_of(winograd.y->b[i]) * sum_of(winograd.x->b[j]);
      starts[pair / 2][pair % 2] =
          0u - static_cast<uint32_t>(winograd_offset(winograd, i, j) + zero) * static_cast<uint32_t>(sums[pair / 2][pair % 2]);
    }
    if (winograd.fold != 0) {
      // A + B must get p's start, A - B that of q, and only the first pair has starts. Offsets of 128 make them even.
      for (int group = 0; group < winograd.pairs; group += 2 * winograd.fold) {
        uint32_t a = 0, b = 0, p = 0, q = 0;
        for (int k = 0; k < winograd.fold; ++k) {
          a += starts[group + k][0];
          b += starts[group + k][1];
          p += starts[group + winograd.fold + k][0];
          q += starts[group + winograd.fold + k][1];
        }
        const int32_t sum = static_cast<int32_t>(p + q), difference = static_cast<int32_t>(p - q);
        starts[group][0] = a + static_cast<uint32_t>(sum / 2);
        starts[group][1] = b + static_cast<uint32_t>(difference / 2);
      }
    }
    for (int pair = 0; pair < winograd.pairs; ++pair) {
      std::memcpy(block + pair * bytes + lane * 4, &starts[pair][0], 4);
      std::memcpy(block + pair * bytes + 64 + lane * 4, &starts[pair][1], 4);
    }
  }
}

int winograd_chunk(int channels) { return channels <= 16 ? 16 : channels <= 32 ? 32 : 64; }

int winograd_block_tiles(const Winograd& winograd, int channels) {
  constexpr int kCache = 192 * 1024;
  const int bytes = winograd.y->positions * winograd.x->positions * ((channels + 63) / 64 * 64);
  return std::max(24, std::min(96, kCache / bytes / 12 * 12));
}

size_t winograd_scratch_bytes(const Winograd& winograd, int channels) {
  const size_t tiles = winograd_block_tiles(winograd, channels), chunk = winograd_chunk(channels);
  const size_t positions = static_cast<size_t>(winograd.y->positions) * winograd.x->positions;
  const size_t v = (channels + chunk - 1) / chunk * positions * (tiles + 1) * chunk + 1024;
  const size_t sums = tiles * 4 * 2 * 64, places = tiles * 64;
  return (v + sums + places + 63) / 64 * 64;
}

}  // namespace unetq
