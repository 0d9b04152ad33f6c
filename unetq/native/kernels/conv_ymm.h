// The frame of direct convolutions in vectors of 32 bytes: tiles of P pixels of a row times 16 output channels (two
// vectors of 8 lanes). In an unnamed namespace: each file has its own copy, compiled with its own flags.
#pragma once

#include <immintrin.h>

#include "finish_avx2.h"
#include "kernel.h"

namespace unetq {

namespace {

struct Tile {
  const ConvRows& job;
  const int8_t* weights;  // of the block
  int channel, y, x;
};

template <int P>
inline void begin(const Tile& tile, __m256i* sums) {
#pragma GCC unroll 6
  for (int p = 0; p < P; ++p) {
    sums[2 * p] = load(tile.job.start + tile.channel);
    sums[2 * p + 1] = load(tile.job.start + tile.channel + 8);
  }
}

using TileFn = void (*)(const Tile&);

// tiles[P - 1] does P pixels. A row is cut into as few tiles as possible, of nearly equal width.
template <int N>
void rows(const ConvRows& job, const TileFn (&tiles)[N], size_t step_bytes) {
  const size_t block = step_bytes * job.tap_rows * job.tap_segments * job.steps;
  const int count = (job.width + N - 1) / N, pixels = (job.width + count - 1) / count;
  for (int channel = 0; channel < job.channels; channel += 16) {
    const int8_t* weights = static_cast<const int8_t*>(job.weights) + channel / 16 * block;
    for (int y = job.y0; y < job.y1; ++y) {
      for (int x = 0; x < job.width; x += pixels) tiles[pixels - 1]({job, weights, channel, y, x});
    }
  }
}

}  // namespace

}  // namespace unetq
