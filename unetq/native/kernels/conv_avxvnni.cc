// Direct convolution for AVX-VNNI: vpdpbusd adds 4 products to 32 bits, exactly for all 8-bit codes, where plain AVX2
// takes three instructions. 6 pixels x 2 vectors are 12 accumulators.
#include "conv_ymm.h"
#include "dot_avxvnni.h"

namespace unetq {

namespace {

template <int P>
__attribute__((noinline)) void tile_dots(const Tile& tile) {
  const ConvRows& job = tile.job;
  __m256i sums[P * 2], acc[P][2];
  begin<P>(tile, sums);
#pragma GCC unroll 6
  for (int p = 0; p < P; ++p) {
    acc[p][0] = sums[2 * p];
    acc[p][1] = sums[2 * p + 1];
  }
  const ptrdiff_t pixel = job.in_pixel, pixel3 = 3 * pixel, pixel5 = 5 * pixel;
  const int8_t* w = tile.weights;
  for (int r = 0; r < job.tap_rows; ++r) {
    for (int s = 0; s < job.tap_segments; ++s) {
      const uint8_t* in = job.in + (tile.y + r) * job.in_row + (tile.x + s) * pixel;
      for (int j = 0; j < job.steps; ++j, in += 4, w += 64) {
        const __m256i w0 = load(w), w1 = load(w + 32);
#pragma GCC unroll 6
        for (int p = 0; p < P; ++p) {
          dot_avxvnni(in + (p == 5 ? pixel5 : p == 3 ? pixel3 : p * pixel), w0, w1, &acc[p][0], &acc[p][1]);
        }
      }
    }
  }
  // Out of the registers only here: an array that is handed on would be in memory all the time.
#pragma GCC unroll 6
  for (int p = 0; p < P; ++p) {
    sums[2 * p] = acc[p][0];
    sums[2 * p + 1] = acc[p][1];
  }
  finish_pixels(job, sums, tile.channel, tile.y, tile.x, P);
}

}  // namespace

void conv_avxvnni(const ConvRows& job) {
  static constexpr TileFn kTiles[] = {tile_dots<1>, tile_dots<2>, tile_dots<3>,
                                      tile_dots<4>, tile_dots<5>, tile_dots<6>};
  rows(job, kTiles, 64);
}

}  // namespace unetq
