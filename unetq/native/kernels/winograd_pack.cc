#include "winograd_weights.h"

namespace unetq {

void pack_winograd_any(const WeightSource& source, const Winograd& winograd, int first_out, int count, void* weights) {
  const auto put = [](const int8_t* from, int steps, uint8_t* to, int32_t* sums) {
    for (int step = 0; step < steps; ++step, from += 4, to += 128) {
      for (int lane = 0; lane < 16; ++lane) {
        const int8_t* four = from + lane * kRun;
        std::memcpy(to + 4 * lane, four, 4);
        sums[lane] += four[0] + four[1] + four[2] + four[3];
      }
    }
  };
  pack_winograd_with(put, source, winograd, first_out, count, static_cast<uint8_t*>(weights));
}

namespace {

// One position of 16 lanes x 64 channels, in runs.
template <int RUN>
void put_runs(const int8_t* from, int channels, uint8_t* to) {
  for (int channel = 0; channel < channels; channel += RUN) {
    for (int lane = 0; lane < 16; ++lane, to += RUN) std::memcpy(to, from + lane * kRun + channel, RUN);
  }
}

}  // namespace

void pack_winograd_runs(const WeightSource& source, const Winograd& winograd, int first_out, int count, void* weights) {
  uint8_t* const block = static_cast<uint8_t*>(weights);
  const size_t bytes = winograd_position_bytes(source.channels);
  const int positions = 2 * winograd.pairs, wide = winograd.x->positions, centre = wide + 1;
  alignas(64) int8_t stored[24][16][kRun];
  std::memset(stored, 0, sizeof(stored));
  int32_t sums[16] = {};  // of U of the position that has an offset, and meets the zero of the codes
  for (int channel = 0; channel < source.channels; channel += kRun) {
    for (int lane = 0; lane < count; ++lane) {
      int8_t taps[9][kRun];
      int8_t u[30][kRun] = {};  // as many as there are positions; |U| <= 127 (winograd_allows), so sums modulo 256 do
      load_taps(source, first_out + lane, channel, taps);
      transform_taps(winograd, taps, u);
      for (int position = 0; position < positions; ++position) {
        std::memcpy(stored[position][lane], u[position], kRun);
      }
      for (int k = 0; k < kRun; ++k) sums[lane] += u[centre][k];
    }
    const int left = source.channels - channel, steps = ((left < kRun ? left : kRun) + 15) / 16;
    for (int position = 0; position < positions; ++position) {
      uint8_t* to = block + 64 + position * bytes + static_cast<size_t>(channel) * 16;
      const auto put = winograd.run == 4 ? put_runs<4> : winograd.run == 8 ? put_runs<8> : put_runs<16>;
      put(&stored[position][0][0], 16 * steps, to);
    }
  }
  // The rows of B add up to 0, but for row 1: only there do offsets and zeros not cancel out.
  int down = 0, along = 0;
  for (int k = 0; k < 6; ++k) {
    down += winograd.y->b[1][k];
    along += winograd.x->b[1][k];
  }
  const int rest = winograd_offset(winograd, 1, 1, source.abits) + source.in_zero * down * along;
  for (int lane = 0; lane < 16; ++lane) {
    const uint32_t start = 0u - static_cast<uint32_t>(rest) * static_cast<uint32_t>(sums[lane]);
    std::memcpy(block + 4 * lane, &start, 4);
  }
}

}  // namespace unetq
