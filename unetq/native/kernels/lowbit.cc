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
    {32, 4, 1, 1},  // kSignTables32
    {32, 4, 1, 2},  // kTwosTables32x2
    {32, 4, 1, 4},  // kTwosTables32x4
    {32, 2, 1, 1},  // kProducts32
    {64, 4, 1, 1},  // kSignTables64
    {64, 4, 1, 2},  // kTwosTables64x2
    {64, 4, 1, 4},  // kTwosTables64x4
    {64, 2, 1, 1},  // kProducts64
};

const Cut& cut_of(Layout layout) { return kCuts[static_cast<int>(layout) - static_cast<int>(Layout::kTwosPlanes16)]; }

constexpr uint64_t kEach = 0x0101010101010101;

// Bit 0 of each of 8 bytes, side by side.
uint8_t gather(uint64_t bytes) { return static_cast<uint8_t>(((bytes & kEach) * 0x0102040810204080) >> 56); }

constexpr int kChunk = 512;

// Calls put(tap, channel, codes) for every 8 codes of one output, the last of a tap filled up with 0.
template <typename Put>
void for_eights(const WeightSource& source, int out, const Put& put) {
  int8_t codes[kChunk];
  size_t next = source.first + static_cast<size_t>(out) * source.out_stride;
  for (int tap = 0; tap < source.side * source.side; ++tap) {
    for (int done = 0; done < source.channels; done += kChunk) {
      const int n = std::min(kChunk, source.channels - done);
      unpack_codes(source, next, n, codes);
      next += n;
      for (int i = n; i % 8 != 0; ++i) codes[i] = 0;
      for (int i = 0; i < n; i += 8) put(tap, done + i, codes + i);
    }
  }
}

// Packs one lane. Where a lane's bytes stand: element `unit / bytes` of a row of taps, plane, lane, byte.
class Lane {
 public:
  Lane(const WeightSource& source, Layout layout, int lane, void* weights)
      : source_(source), layout_(layout), cut_(cut_of(layout)), lane_(lane), weights_(static_cast<uint8_t*>(weights)) {
    pixel_ = (source.channels + cut_.channels - 1) / cut_.channels;
    steps_ = lowbit_taps(layout, source.side, source.channels).steps;
  }

  // Both give the start value of the accumulator.

  int32_t pack_planes(int out) const {
    const bool signs = layout_ == Layout::kSignPlanes16;
    int ones = 0, others = 0;  // set bits of both planes
    for_eights(source_, out, [&](int tap, int channel, const int8_t* codes) {
      uint64_t eight;
      std::memcpy(&eight, codes, 8);
      uint8_t planes[2] = {gather(eight), gather(eight >> 1)};
      if (signs) {  // 1 is 01, -1 is 11, 0 is 00
        planes[1] = planes[0];
        planes[0] = gather(eight ^ (eight >> 1));
      }
      ones += __builtin_popcount(planes[0]);
      others += __builtin_popcount(planes[1]);
      for (int k = 0; k < 2; ++k) *at(tap, channel, k) = planes[k];
    });
    const int sum = signs ? 2 * ones - others : ones - 2 * others;  // of the weights
    return -source_.in_zero * sum + (signs ? amax() * ones : 0);
  }

  int32_t pack_tables(int out) const {
    const bool signs = source_.binary;
    int sum = 0;
    for_eights(source_, out, [&](int tap, int channel, const int8_t* codes) {
      uint64_t eight;
      std::memcpy(&eight, codes, 8);
      for (int i = 0; i < 8; ++i) sum += codes[i];
      if (signs) eight ^= eight >> 1;  // 1 for 1, 0 for -1
      for (int k = 0; k < cut_.planes; ++k) {
        const uint8_t bits = gather(eight >> k);
        *at(tap, channel, k) = bits & 15;
        if (channel + 4 < source_.channels) *at(tap, channel + 4, k) = bits >> 4;
      }
    });
    return -source_.in_zero * sum - (signs ? 4 * amax() * lookups() : 0);  // entries are raised by 4 * amax
  }

  int32_t pack_products(int out) const {
    int sum = 0;
    for_eights(source_, out, [&](int tap, int channel, const int8_t* codes) {
      for (int i = 0; i < 8; ++i) sum += codes[i];
      for (int i = 0; i < 8 && channel + i < source_.channels; i += 2) {
        *at(tap, channel + i, 0) = static_cast<uint8_t>((codes[i] & 3) | ((codes[i + 1] & 3) << 4));
      }
    });
    return -source_.in_zero * sum - 2 * kProductBias * lookups();
  }

 private:
  int amax() const { return (1 << source_.abits) - 1; }
  int lookups() const { return source_.side * steps_; }

  uint8_t* at(int tap, int channel, int plane) const {
    const int unit = tap % source_.side * pixel_ + channel / cut_.channels;
    const size_t element = static_cast<size_t>(tap / source_.side) * steps_ + unit / cut_.bytes;
    return weights_ + ((element * cut_.planes + plane) * cut_.lanes + lane_) * cut_.bytes + unit % cut_.bytes;
  }

  const WeightSource& source_;
  const Layout layout_;
  const Cut& cut_;
  const int lane_;
  uint8_t* const weights_;
  int pixel_ = 0, steps_ = 0;
};

}  // namespace

bool is_lowbit(Layout layout) { return layout >= Layout::kTwosPlanes16; }

int lowbit_lanes(Layout layout) { return cut_of(layout).lanes; }

int lowbit_channels(Layout layout) { return cut_of(layout).channels == 8 ? kMaxPlaneChannels : kMaxTableChannels; }

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
  std::memset(weights, 0, lowbit_block_bytes(layout, lowbit_taps(layout, source.side, source.channels)));
  std::memset(start, 0, static_cast<size_t>(cut.lanes) * sizeof(int32_t));
  for (int i = 0; i < count; ++i) {
    const Lane lane(source, layout, i, weights);
    start[i] = cut.channels == 8   ? lane.pack_planes(first_out + i)
               : cut.channels == 4 ? lane.pack_tables(first_out + i)
                                   : lane.pack_products(first_out + i);
  }
}

}  // namespace unetq
