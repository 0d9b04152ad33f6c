// Kernels for few bits: bit-serial (bitserial_*.cc) and lookup tables (lut_*.cc). They bring the input into a form of
// their own first, strip by strip, on the stack; the time for that is part of theirs.
#pragma once

#include "kernel.h"
#include "pack.h"

namespace unetq {

// More would not leave room for a strip of 3 x 10 pixels.
constexpr int kMaxPlaneChannels = 4096, kMaxTableChannels = 512;

bool is_lowbit(Layout layout);
int lowbit_lanes(Layout layout);
int lowbit_channels(Layout layout);  // at most
Taps lowbit_taps(Layout layout, int side, int channels);
size_t lowbit_block_bytes(Layout layout, const Taps& taps);
void pack_lowbit(const WeightSource& source, Layout layout, int first_out, int count, void* weights, int32_t* start);

constexpr int kProductBias = 6;  // products of 2-bit codes are -6 to 3

constexpr int kStripBytes = 64 * 1024;  // of stack
constexpr int kTilePixels = 8;          // at most
constexpr int kStripSlack = 64;         // bytes behind a row that may be read or written

// A prepared strip of the input; `data` is the first tap of the strip's first output.
struct Strip {
  const uint8_t* data;
  ptrdiff_t row, plane, pixel;  // bytes
  int column = 0;               // pixels from the strip's first one
};

// Cuts the job into strips, prepares each (prepare(from, pixels, to, plane) does one row), and calls
// tile(at, channel, y, x, pixels) for each `lanes` outputs of up to kTilePixels pixels; at.data is that tile's first
// tap.
template <typename Prepare, typename Tile>
static inline void for_strips(const ConvRows& job, int pixel_bytes, int planes, int lanes, const Prepare& prepare,
                              const Tile& tile) {
  alignas(64) uint8_t memory[kStripBytes];
  const int more = job.tap_rows - 1;
  // Of the strips that fit, the one that prepares fewest pixels twice.
  Strip strip = {memory, 0, 0, pixel_bytes};
  int rows = 0, columns = 0;
  for (int high = job.y1 - job.y0 < 4 ? job.y1 - job.y0 : 4; high > 0; high /= 2) {
    for (int wide = (job.width + kTilePixels - 1) / kTilePixels; wide > 0; wide /= 2) {
      const int pixels = wide * kTilePixels;
      const ptrdiff_t plane = (static_cast<ptrdiff_t>(pixels + more) * pixel_bytes + kStripSlack + 63) / 64 * 64;
      if (static_cast<ptrdiff_t>(high + more) * planes * plane > kStripBytes) continue;
      const int64_t made = static_cast<int64_t>(high + more) * (pixels + more),
                    of = static_cast<int64_t>(high) * pixels;
      const int64_t best_made = static_cast<int64_t>(rows + more) * (columns + more);
      if (rows > 0 && made * rows * columns >= best_made * of) continue;
      rows = high;
      columns = pixels;
      strip.plane = plane;
      strip.row = planes * plane;
    }
  }
  if (rows == 0) return;  // not with the channels that the table allows
  for (int y0 = job.y0; y0 < job.y1; y0 += rows) {
    const int y1 = y0 + rows < job.y1 ? y0 + rows : job.y1;
    for (int x0 = 0; x0 < job.width; x0 += columns) {
      const int x1 = x0 + columns < job.width ? x0 + columns : job.width;
      for (int y = y0; y < y1 + more; ++y) {
        prepare(job.in + y * job.in_row + x0 * job.in_pixel, x1 - x0 + more, memory + (y - y0) * strip.row,
                strip.plane);
      }
      for (int channel = 0; channel < job.channels; channel += lanes) {
        for (int y = y0; y < y1; ++y) {
          for (int x = x0; x < x1; x += kTilePixels) {
            Strip at = strip;
            at.data += (y - y0) * strip.row + (x - x0) * strip.pixel;
            at.column = x - x0;
            tile(at, channel, y, x, x1 - x < kTilePixels ? x1 - x : kTilePixels);
          }
        }
      }
    }
  }
}

}  // namespace unetq
