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
    {16, 8, 4, 2},  // kSplitPlanes16
    {16, 4, 1, 1},  // kSignTables16
    {16, 4, 1, 2},  // kTwosTables16x2
    {16, 4, 1, 3},  // kTwosTables16x3
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

// How many of the 8 bytes have bit 0.
int count(uint64_t bytes) { return static_cast<int>(((bytes & kEach) * kEach) >> 56); }

// Bit 0 of each of 8 bytes, side by side.
uint8_t gather(uint64_t bytes) { return static_cast<uint8_t>(((bytes & kEach) * 0x0102040810204080) >> 56); }

constexpr int kChunk = 512;

// Calls put(row of taps, tap in it, channel, codes) for every 8 codes of one output, the last of a tap filled up with
// 0.
template <typename Put>
void for_eights(const WeightSource& source, int out, const Put& put) {
  int8_t codes[kChunk];
  size_t next = source.first + static_cast<size_t>(out) * source.out_stride;
  for (int row = 0; row < source.side; ++row) {
    for (int tap = 0; tap < source.side; ++tap) {
      for (int done = 0; done < source.channels; done += kChunk) {
        const int n = std::min(kChunk, source.channels - done);
        unpack_codes(source, next, n, codes);
        next += n;
        for (int i = n; i % 8 != 0; ++i) codes[i] = 0;
        for (int i = 0; i < n; i += 8) put(row, tap, done + i, codes + i);
      }
    }
  }
}

uint64_t word_of(const int8_t* codes) {
  uint64_t eight;
  std::memcpy(&eight, codes, 8);
  return eight;
}

// Every second bit from bit 0 on, side by side.
uint32_t evens(uint64_t bits) {
  bits &= 0x5555555555555555;
  bits = (bits | bits >> 1) & 0x3333333333333333;
  bits = (bits | bits >> 2) & 0x0F0F0F0F0F0F0F0F;
  bits = (bits | bits >> 4) & 0x00FF00FF00FF00FF;
  bits = (bits | bits >> 8) & 0x0000FFFF0000FFFF;
  return static_cast<uint32_t>(bits | bits >> 16);
}

// Packs the lanes of a block; C and B are the cut's channels and bytes. Each function gives a lane's start value.
template <int C, int B>
class Packer {
 public:
  Packer(const WeightSource& source, Layout layout, void* weights)
      : source_(source),
        cut_(cut_of(layout)),
        weights_(static_cast<uint8_t*>(weights)),
        pixel_((source.channels + C - 1) / C),
        steps_(lowbit_taps(layout, source.side, source.channels).steps),
        split_(layout == Layout::kSplitPlanes16),
        signs_(split_ || layout == Layout::kSignPlanes16 || source.binary) {}

  int32_t planes(int lane, int out) const {
    const size_t bit = (source_.first + static_cast<size_t>(out) * source_.out_stride) * source_.bits;
    // 8 codes of a pixel fill whole bytes of the stream: there the planes already are.
    if (source_.bits <= 2 && source_.channels % 8 == 0 && bit % 8 == 0) {
      return packed_planes(lane, source_.packed + bit / 8);
    }
    int ones = 0, others = 0;  // set bits of both planes
    for_eights(source_, out, [&](int row, int tap, int channel, const int8_t* codes) {
      const uint64_t eight = word_of(codes);
      // Of signs 1 is 01, -1 is 11, 0 is 00.
      const uint64_t first = signs_ ? eight ^ (eight >> 1) : eight, second = signs_ ? eight : eight >> 1;
      ones += count(first);
      others += count(second);
      uint8_t* to = at(row, tap, channel) + lane * B;
      to[0] = gather(first);
      to[cut_.lanes * B] = gather(split_ ? first ^ second : second);
    });
    return plane_start(ones, others);
  }

  int32_t tables(int lane, int out) const {
    const size_t bit = source_.first + static_cast<size_t>(out) * source_.out_stride;
    if (source_.binary && source_.channels % 8 == 0 && bit % 8 == 0) {
      return packed_tables(lane, source_.packed + bit / 8);
    }
    int sum = 0;
    for_eights(source_, out, [&](int row, int tap, int channel, const int8_t* codes) {
      uint64_t eight = word_of(codes);
      for (int i = 0; i < 8; ++i) sum += codes[i];
      if (signs_) eight ^= eight >> 1;  // 1 for 1, 0 for -1
      uint8_t* to = at(row, tap, channel) + lane;
      const bool both = channel + 4 < source_.channels;
      for (int k = 0; k < cut_.planes; ++k, to += cut_.lanes) {
        const uint8_t bits = gather(eight >> k);
        to[0] = bits & 15;
        if (both) to[cut_.planes * cut_.lanes] = bits >> 4;
      }
    });
    return table_start(sum);
  }

  int32_t products(int lane, int out) const {
    int sum = 0;
    for_eights(source_, out, [&](int row, int tap, int channel, const int8_t* codes) {
      for (int i = 0; i < 8; ++i) sum += codes[i];
      uint8_t* to = at(row, tap, channel) + lane;
      for (int i = 0; i < 8 && channel + i < source_.channels; i += 2, to += cut_.lanes) {
        *to = static_cast<uint8_t>((codes[i] & 3) | ((codes[i + 1] & 3) << 4));
      }
    });
    return -source_.in_zero * sum - 2 * kProductBias * lookups();
  }

 private:
  // The same for 32 codes at a time.
  int32_t packed_planes(int lane, const uint8_t* from) const {
    const int bytes = source_.side * pixel_;  // of a row of taps
    int ones = 0, others = 0;
    for (int row = 0; row < source_.side; ++row) {
      uint8_t* to = at(row, 0, 0) + lane * B;
      for (int left = bytes; left > 0; left -= 4, to += cut_.planes * cut_.lanes * B) {
        const int n = std::min(4, left);
        uint64_t codes = 0;
        if (n == 4 && !source_.binary) {
          std::memcpy(&codes, from, 8);
        } else {
          std::memcpy(&codes, from, static_cast<size_t>(n) * source_.bits);
        }
        from += static_cast<ptrdiff_t>(n) * source_.bits;
        // Binary codes are the first plane, and the second has all that exist.
        const uint32_t even = source_.binary ? ~uint32_t{0} >> (32 - 8 * n) : evens(codes);
        const uint32_t odd = source_.binary ? even ^ static_cast<uint32_t>(codes) : evens(codes >> 1);
        const uint32_t first = signs_ ? even ^ odd : even;
        uint32_t second = signs_ ? even : odd;
        ones += __builtin_popcount(first);
        others += __builtin_popcount(second);
        if (split_) second ^= first;
        std::memcpy(to, &first, 4);
        std::memcpy(to + static_cast<ptrdiff_t>(cut_.lanes) * B, &second, 4);
      }
    }
    return plane_start(ones, others);
  }

  // Binary codes, two lookups' bits a byte of the stream.
  int32_t packed_tables(int lane, const uint8_t* from) const {
    const int bytes = source_.side * pixel_ / 2;  // of a row of taps
    int ones = 0;
    for (int row = 0; row < source_.side; ++row) {
      uint8_t* to = at(row, 0, 0) + lane;
      for (int i = 0; i < bytes; ++i, to += 2 * static_cast<ptrdiff_t>(cut_.lanes)) {
        const uint8_t byte = *from++;
        ones += __builtin_popcount(byte);
        to[0] = byte & 15;
        to[cut_.lanes] = byte >> 4;
      }
    }
    return table_start(2 * ones - 8 * bytes * source_.side);
  }

  int32_t table_start(int sum) const {
    return -source_.in_zero * sum - (signs_ ? 4 * amax() * lookups() : 0);  // entries are raised by 4 * amax
  }

  int32_t plane_start(int ones, int others) const {
    const int sum = signs_ ? 2 * ones - others : ones - 2 * others;  // of the weights
    return -source_.in_zero * sum + (signs_ ? amax() * ones : 0);
  }

  int amax() const { return (1 << source_.abits) - 1; }
  int lookups() const { return source_.side * steps_; }

  // Lane 0, plane 0.
  uint8_t* at(int row, int tap, int channel) const {
    const int unit = tap * pixel_ + channel / C;
    const size_t element = static_cast<size_t>(row) * steps_ + unit / B;
    return weights_ + element * cut_.planes * cut_.lanes * B + unit % B;
  }

  const WeightSource& source_;
  const Cut& cut_;
  uint8_t* const weights_;
  const int pixel_, steps_;
  const bool split_, signs_;
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
  if (cut.channels == 8) {
    const Packer<8, 4> packer(source, layout, weights);
    for (int i = 0; i < count; ++i) start[i] = packer.planes(i, first_out + i);
  } else if (cut.channels == 4) {
    const Packer<4, 1> packer(source, layout, weights);
    for (int i = 0; i < count; ++i) start[i] = packer.tables(i, first_out + i);
  } else {
    const Packer<2, 1> packer(source, layout, weights);
    for (int i = 0; i < count; ++i) start[i] = packer.products(i, first_out + i);
  }
}

}  // namespace unetq
