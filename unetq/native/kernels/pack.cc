#include "pack.h"

#include <algorithm>
#include <cstring>

namespace unetq {

int lanes_of(Layout layout) {
  switch (layout) {
    case Layout::kBytes8:
    case Layout::kPairs8:
      return 8;
    case Layout::kBytes16:
      return 16;
    default:
      return 1;
  }
}

Taps taps_of(int side, int channels, ptrdiff_t in_pixel) {
  Taps taps;
  taps.rows = side;
  if (in_pixel == channels || in_pixel == (channels + 3) / 4 * 4) {
    taps.segments = 1;
    taps.run_pixels = side;
    taps.steps = static_cast<int>(((side - 1) * in_pixel + channels + 3) / 4);
  } else {
    taps.segments = side;
    taps.steps = (channels + 3) / 4;
  }
  return taps;
}

void unpack_codes(const WeightSource& source, size_t first, int count, int8_t* out) {
  const int bits = source.bits;
  const uint64_t mask = (1u << bits) - 1;
  const int sign = 1 << (bits - 1);
  size_t bit = first * static_cast<size_t>(bits);
  for (int i = 0; i < count; i += 8) {
    // 8 codes end at most 7 + 8 * bits bits behind the byte of the first: 64 for bits <= 7, and 8-bit codes start a byte.
    const size_t byte = bit / 8;
    uint64_t word = 0;
    std::memcpy(&word, source.packed + byte, std::min<size_t>(8, source.packed_bytes - byte));
    word >>= bit % 8;
    const int n = std::min(8, count - i);
    for (int k = 0; k < n; ++k, word >>= bits) {
      const int code = static_cast<int>(word & mask);
      out[i + k] = static_cast<int8_t>(source.binary ? 2 * code - 1 : (code ^ sign) - sign);
    }
    bit += 8 * static_cast<size_t>(bits);
  }
}

size_t block_bytes(Layout layout, const Taps& taps) {
  const size_t words = static_cast<size_t>(taps.rows) * taps.segments * taps.steps * lanes_of(layout);
  return words * (layout == Layout::kPairs8 ? 8 : 4);
}

namespace {

constexpr int kChunk = 256;  // codes unpacked at once, on the stack

// Writes 4 codes of one lane.
void put(Layout layout, void* weights, size_t index, int lanes, int lane, const int8_t* codes) {
  if (layout == Layout::kPairs8) {
    int16_t* to = static_cast<int16_t*>(weights) + index * 4 * lanes + 2 * lane;
    to[0] = codes[0];
    to[1] = codes[2];
    to[2 * lanes] = codes[1];
    to[2 * lanes + 1] = codes[3];
  } else {
    std::memcpy(static_cast<int8_t*>(weights) + (index * lanes + lane) * 4, codes, 4);
  }
}

}  // namespace

void pack_block(const WeightSource& source, Layout layout, int first_out, int count, void* weights, int32_t* start) {
  const Taps taps = taps_of(source.side, source.channels, source.in_pixel);
  const int lanes = lanes_of(layout);
  std::memset(weights, 0, block_bytes(layout, taps));
  std::memset(start, 0, static_cast<size_t>(lanes) * sizeof(int32_t));
  // Codes without a gap between pixels form one span of the run; else each pixel is a span that starts a step.
  const bool gapless = source.in_pixel == source.channels;
  const int spans = gapless ? 1 : taps.run_pixels;
  const int span = gapless ? taps.run_pixels * source.channels : source.channels;
  alignas(8) int8_t codes[kChunk];
  for (int lane = 0; lane < count; ++lane) {
    size_t next = source.first + static_cast<size_t>(first_out + lane) * source.out_stride;
    uint32_t sum = 0;  // modulo 2^32, like the accumulators
    for (int run = 0; run < taps.rows * taps.segments; ++run) {
      for (int s = 0; s < spans; ++s) {
        size_t index = static_cast<size_t>(run) * taps.steps + static_cast<size_t>(s) * source.in_pixel / 4;
        for (int done = 0; done < span; done += kChunk) {
          const int n = std::min(kChunk, span - done);
          unpack_codes(source, next, n, codes);
          next += n;
          for (int i = 0; i < n; ++i) sum += static_cast<uint32_t>(static_cast<int32_t>(codes[i]));
          for (int i = n; i % 4 != 0; ++i) codes[i] = 0;
          for (int i = 0; i < n; i += 4) put(layout, weights, index++, lanes, lane, codes + i);
        }
      }
    }
    start[lane] = static_cast<int32_t>(-static_cast<uint32_t>(source.in_zero) * sum);
  }
}

}  // namespace unetq
