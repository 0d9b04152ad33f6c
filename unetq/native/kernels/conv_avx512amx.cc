// Direct convolution for AMX. tdpbusd multiplies 16 neighbouring pixels with the weights of 16 output channels, up to
// 64 bytes of each: 16384 multiply-accumulates in 16 cycles, exact for all 8-bit codes. Pixels are read where they lie,
// a row of the tile each; the weights are packed as for AVX-512, whose 16 lanes of 4 bytes are a row of a tile.
//
// Two times two accumulators take 32 pixels and 32 outputs at once: four loads for four products. Winograd has nothing
// to save here: its transforms cost more than the products.
#include "finish_avx512.h"
#include "kernel.h"
#include "tiles_amx.h"

namespace unetq {

namespace {

constexpr int kPixels = 16, kMostSteps = 16;

// What stays the same for all tiles of a call.
struct Frame {
  const ConvRows& job;
  size_t block;    // bytes of the weights of 16 output channels
  int steps;       // of a product; they divide the run's
  bool saturates;  // finish_pixels
};

// P times 16 pixels, G times 16 outputs.
template <int P, int G>
void tile(const Frame& frame, int channel, int y, int x) {
  const ConvRows& job = frame.job;
  const int32_t* start = job.start + channel;  // the same for all pixels: rows of no distance
  _tile_loadd(0, start, 0);
  if constexpr (G == 2) _tile_loadd(1, start + 16, 0);
  if constexpr (P == 2) _tile_loadd(2, start, 0);
  if constexpr (P == 2 && G == 2) _tile_loadd(3, start + 16, 0);
  const int8_t* w = static_cast<const int8_t*>(job.weights) + static_cast<size_t>(channel / 16) * frame.block;
  const ptrdiff_t pixel = job.in_pixel;
  for (int r = 0; r < job.tap_rows; ++r) {
    for (int s = 0; s < job.tap_segments; ++s) {
      const uint8_t* in = job.in + (y + r) * job.in_row + (x + s) * pixel;
      for (int j = 0; j < job.steps; j += frame.steps, in += 4 * frame.steps, w += 64 * frame.steps) {
        _tile_loadd(4, in, pixel);
        _tile_loadd(6, w, 64);
        _tile_dpbusd(0, 4, 6);
        if constexpr (G == 2) _tile_loadd(7, w + frame.block, 64);
        if constexpr (G == 2) _tile_dpbusd(1, 4, 7);
        if constexpr (P == 2) _tile_loadd(5, in + kPixels * pixel, pixel);
        if constexpr (P == 2) _tile_dpbusd(2, 5, 6);
        if constexpr (P == 2 && G == 2) _tile_dpbusd(3, 5, 7);
      }
    }
  }
  alignas(64) __m512i results[P * kPixels * G];
  _tile_stored(0, results, 64 * G);
  if constexpr (G == 2) _tile_stored(1, results + 1, 64 * G);
  if constexpr (P == 2) _tile_stored(2, results + kPixels * G, 64 * G);
  if constexpr (P == 2 && G == 2) _tile_stored(3, results + kPixels * G + 1, 64 * G);
  const int left = job.width - x;
  finish_pixels<G>(job, frame.saturates, results, channel, y, x, left < P * kPixels ? left : P * kPixels);
}

template <int G>
void rows(const Frame& frame, int channel) {
  const ConvRows& job = frame.job;
  for (int y = job.y0; y < job.y1; ++y) {
    int x = 0;
    for (; job.width - x > kPixels; x += 2 * kPixels) tile<2, G>(frame, channel, y, x);
    if (x < job.width) tile<1, G>(frame, channel, y, x);
  }
}

}  // namespace

void conv_avx512amx(const ConvRows& job) {
  const size_t steps = static_cast<size_t>(job.tap_rows) * job.tap_segments * job.steps;
  int most = job.steps < kMostSteps ? job.steps : kMostSteps;
  while (job.steps % most != 0) --most;
  const Frame frame = {job, steps * 64, most, job.lo == 0.0f && job.zero == 0};
  shape_tiles(most);
  int channel = 0;
  for (; job.channels - channel > 16; channel += 32) rows<2>(frame, channel);
  if (channel < job.channels) rows<1>(frame, channel);
  _tile_release();
}

}  // namespace unetq
