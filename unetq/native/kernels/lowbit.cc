#include "lowbit.h"

#include <algorithm>
#include <cstring>

namespace unetq {

namespace {

// How a layout cuts weights: an element is `bytes` bytes of `channels` channels each, and there are `planes` of them.
struct Cut {
  int lanes, channels, bytes, planes;
};

// By Layout, from kTwosPlanes16 on.
constexpr Cut kCuts[] = {
    {16, 8, 4, 2},  // kTwosPlanes16
    {16, 8, 4, 2},  // kSignPlanes16
};

const Cut& cut_of(Layout layout) { return kCuts[static_cast<int>(layout) - static_cast<int>(Layout::kTwosPlanes16)]; }

constexpr uint64_t kEach = 0x0101010101010101;

// Bit 0 of each of 8 bytes, side by side.
uint8_t gather(uint64_t bytes) { return static_cast<uint8_t>(((bytes & kEach) * 0x0102040810204080) >> 56); }

}  // namespace

bool is_lowbit(Layout layout) { return layout >= Layout::kTwosPlanes16; }

int lowbit_lanes(Layout layout) { return cut_of(layout).lanes; }

int lowbit_channels(Layout layout) { return cut_of(layout).planes == 2 ? kMaxPlaneChannels : kMaxTableChannels; }

Taps lowbit_taps(Layout layout, int side, int channels) {
  Taps taps;
  taps.rows = side;
  taps.segments = 1;
  taps.run_pixels = side;
  const Cut& cut = cut_of(layout);
  const int pixel = (channels + cut.channels - 1) / cut.channels;  // a pixel takes whole bytes
  taps.steps = (side * pixel + cut.bytes - 1) / cut.bytes;
  return taps;
}

size_t lowbit_block_bytes(Layout layout, const Taps& taps) {
  const Cut& cut = cut_of(layout);
  return static_cast<size_t>(taps.rows) * taps.steps * cut.planes * cut.lanes * cut.bytes;
}

void pack_lowbit(const WeightSource& source, Layout layout, int first_out, int count, void* weights, int32_t* start) {
  const Cut& cut = cut_of(layout);
  const Taps taps = lowbit_taps(layout, source.side, source.channels);
  const int lanes = cut.lanes, stride = (source.channels + 7) / 8;
  std::memset(weights, 0, lowbit_block_bytes(layout, taps));
  std::memset(start, 0, static_cast<size_t>(lanes) * sizeof(int32_t));
  constexpr int kChunk = 512;
  int8_t codes[kChunk];
  for (int lane = 0; lane < count; ++lane) {
    size_t next = source.first + static_cast<size_t>(first_out + lane) * source.out_stride;
    int ones = 0, others = 0;  // set bits of both planes
    for (int tap = 0; tap < source.side * source.side; ++tap) {
      uint8_t* row = static_cast<uint8_t*>(weights) +
                     static_cast<size_t>(tap / source.side) * taps.steps * cut.planes * lanes * cut.bytes;
      for (int done = 0; done < source.channels; done += kChunk) {
        const int n = std::min(kChunk, source.channels - done);
        unpack_codes(source, next, n, codes);
        next += n;
        for (int i = n; i % 8 != 0; ++i) codes[i] = 0;
        for (int i = 0; i < n; i += 8) {
          uint64_t eight;
          std::memcpy(&eight, codes + i, 8);
          uint8_t planes[2] = {gather(eight), gather(eight >> 1)};
          if (layout == Layout::kSignPlanes16) {  // 1 is 01, -1 is 11, 0 is 00
            planes[1] = planes[0];
            planes[0] = gather(eight ^ (eight >> 1));
          }
          ones += __builtin_popcount(planes[0]);
          others += __builtin_popcount(planes[1]);
          const int byte = tap % source.side * stride + (done + i) / 8;
          uint8_t* at = row + (static_cast<size_t>(byte / 4) * 2 * lanes + lane) * 4 + byte % 4;
          at[0] = planes[0];
          at[4 * lanes] = planes[1];
        }
      }
    }
    const bool signs = layout == Layout::kSignPlanes16;
    const int sum = signs ? 2 * ones - others : ones - 2 * others;  // of the weights
    start[lane] = -source.in_zero * sum + (signs ? ((1 << source.abits) - 1) * ones : 0);
  }
}

}  // namespace unetq
