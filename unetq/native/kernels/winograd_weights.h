// U = G g G^T of 64 channels at once, and packed blocks of it: what each way of packing shares.
// Static: each file has its own copy, compiled with its own flags, and none of it is of the standard library.
#pragma once

#include <cstring>

#include "winograd.h"

namespace unetq {

constexpr int kRun = 64;  // channels transformed at once

// Where the weights of a pair of positions stand: what vanishes in doubled channels does not.
struct PairPlace {
  int steps, doubled;             // the latter of the former
  bool gone[2] = {false, false};  // p, q

  PairPlace(const Winograd& winograd, int pair, int channels, int doubled_channels)
      : steps((channels + 3) / 4), doubled(doubled_channels / 4) {
    gone[0] = winograd_vanishes(winograd, winograd.order[pair].p);
    gone[1] = winograd_vanishes(winograd, winograd.order[pair].q);
  }

  // From one step to the next, of doubled channels and of others.
  size_t stride(bool in_doubled) const { return in_doubled ? 64 * (!gone[0] + !gone[1]) : 128; }
  size_t bytes() const { return at(steps, 0); }
  // From the pair's first byte to p (0) or q (1) of a step.
  size_t at(int step, int half) const {
    const int before = step < doubled ? step : doubled;
    const size_t first = 128 + before * stride(true) + static_cast<size_t>(step - before) * stride(false);
    return first + (half == 1 && (step >= doubled || !gone[0]) ? 64 : 0);
  }
};

static inline void load_taps(const WeightSource& source, int out, int channel, int8_t (&taps)[9][kRun]) {
  const int left = source.channels - channel, n = left < kRun ? left : kRun;
  for (int tap = 0; tap < 9; ++tap) {
    if (n < kRun) std::memset(taps[tap], 0, kRun);
    const size_t first = source.first + out * source.out_stride + static_cast<size_t>(tap) * source.channels + channel;
    unpack_codes(source, first, n, taps[tap]);
  }
}

// To: int16_t, or int8_t where the result is known to fit, which takes half the instructions.
template <typename T, typename To>
static inline void weigh(const int (&g)[3], const T* a, const T* b, const T* c, To* to) {
  const int16_t g0 = static_cast<int16_t>(g[0]), g1 = static_cast<int16_t>(g[1]), g2 = static_cast<int16_t>(g[2]);
  if (g1 == 0) {  // the first and the last row have one coefficient
    const T* one = g2 == 0 ? a : c;
    const int16_t by = static_cast<int16_t>(g0 + g2);
    for (int k = 0; k < kRun; ++k) to[k] = static_cast<To>(by * one[k]);
    return;
  }
  for (int k = 0; k < kRun; ++k) to[k] = static_cast<To>(g0 * a[k] + g1 * b[k] + g2 * c[k]);
}

template <typename T>
static inline void transform_taps(const Winograd& winograd, const int8_t (&taps)[9][kRun], T (&u)[30][kRun]) {
  T half[3][kRun];
  const int wide = winograd.x->positions;
  for (int i = 0; i < winograd.y->positions; ++i) {
    for (int s = 0; s < 3; ++s) weigh(winograd.y->g[i], taps[s], taps[3 + s], taps[6 + s], half[s]);
    for (int j = 0; j < wide; ++j) weigh(winograd.x->g[j], half[0], half[1], half[2], u[i * wide + j]);
  }
}

// V of each p and q where all codes are 0.
static inline void find_rest(const WeightSource& source, const Winograd& winograd, int32_t (&rest)[32]) {
  const int wide = winograd.x->positions;
  for (int half = 0; half < 2 * winograd.pairs; ++half) {
    const int position = half % 2 == 0 ? winograd.order[half / 2].p : winograd.order[half / 2].q;
    int down = 0, along = 0;
    for (int k = 0; k < 6; ++k) {
      down += winograd.y->b[position / wide][k];
      along += winograd.x->b[position % wide][k];
    }
    rest[half] =
        winograd_offset(winograd, position / wide, position % wide, source.abits) + source.in_zero * down * along;
  }
}

// What accumulators start at: it takes the offsets of V, and the zero of the input's codes, out again.
static inline void put_starts(const int32_t (&rest)[32], const Winograd& winograd, const int32_t (&sums)[32][16],
                              int lane, const size_t (&places)[16], uint8_t* to) {
  uint32_t starts[16][2] = {};
  for (int half = 0; half < 2 * winograd.pairs; ++half) {
    starts[half / 2][half % 2] = 0u - static_cast<uint32_t>(rest[half]) * static_cast<uint32_t>(sums[half][lane]);
  }
  const int fold = winograd.fold;
  // A + B must get p's start, A - B that of q, and only the first pair has starts. p and q are even:
  // their offsets are 128, and zeros cancel out.
  for (int group = 0; fold > 0 && group < winograd.pairs; group += 2 * fold) {
    uint32_t a = 0, b = 0, p = 0, q = 0;
    for (int k = 0; k < fold; ++k) {
      a += starts[group + k][0];
      b += starts[group + k][1];
      p += starts[group + fold + k][0];
      q += starts[group + fold + k][1];
    }
    starts[group][0] = a + static_cast<uint32_t>(static_cast<int32_t>(p + q) / 2);
    starts[group][1] = b + static_cast<uint32_t>(static_cast<int32_t>(p - q) / 2);
  }
  for (int pair = 0; pair < winograd.pairs; ++pair) {
    std::memcpy(to + places[pair], &starts[pair][0], 4);
    std::memcpy(to + places[pair] + 64, &starts[pair][1], 4);
  }
}

// Channels as outer loop: `how.transform(winograd, taps, u)` makes U of 64 channels in bytes, `how.put(bytes [16
// lanes][64], first, last, to, stride, sums)` writes step after step of 16 lanes x 4 channels, `stride` bytes apart,
// and adds each lane's numbers to its sum.
template <typename How>
static inline void pack_winograd_with(const How& how, const WeightSource& source, const Winograd& winograd,
                                      int first_out, int count, uint8_t* block) {
  const int halves = 2 * winograd.pairs;
  size_t places[16] = {};
  for (int pair = 0; pair + 1 < winograd.pairs; ++pair) {
    places[pair + 1] = places[pair] + PairPlace(winograd, pair, source.channels, source.doubled).bytes();
  }
  alignas(64) int32_t sums[32][16] = {};  // [p or q of a pair][lane] of the numbers as they are stored
  alignas(64) int8_t stored[32][16][kRun];
  std::memset(stored, 0, sizeof(stored));
  for (int channel = 0; channel < source.channels; channel += kRun) {
    for (int lane = 0; lane < count; ++lane) {
      alignas(64) int8_t taps[9][kRun], u[30][kRun];
      load_taps(source, first_out + lane, channel, taps);
      how.transform(winograd, taps, u);
      for (int half = 0; half < halves; ++half) {
        const Pair& order = winograd.order[half / 2];
        const int position = half % 2 == 0 ? order.p : order.q;
        int8_t* to = stored[half][lane];
        const auto sign = static_cast<int8_t>(half % 2 == 1 && order.negate_q ? -1 : 0);
        for (int k = 0; k < kRun; ++k) to[k] = static_cast<int8_t>((u[position][k] ^ sign) - sign);
      }
    }
    const int left = source.channels - channel, steps = ((left < kRun ? left : kRun) + 3) / 4;
    for (int half = 0; half < halves; ++half) {
      const PairPlace place(winograd, half / 2, source.channels, source.doubled);
      const int first = channel / 4, left_doubled = place.doubled - first;
      const int split = left_doubled < 0 ? 0 : left_doubled < steps ? left_doubled : steps;
      uint8_t* to = block + places[half / 2];
      if (split > 0 && !place.gone[half % 2]) {
        how.put(&stored[half][0][0], 0, split, to + place.at(first, half % 2), place.stride(true), sums[half]);
      }
      if (split < steps) {
        how.put(&stored[half][0][0], split, steps, to + place.at(first + split, half % 2), place.stride(false),
                sums[half]);
      }
    }
  }
  int32_t rest[32] = {};
  find_rest(source, winograd, rest);
  for (int lane = 0; lane < 16; ++lane) put_starts(rest, winograd, sums, lane, places, block + 4 * lane);
}

}  // namespace unetq
