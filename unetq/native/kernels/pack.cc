#include "pack.h"

#include <algorithm>
#include <cstring>

#include "lowbit.h"
#include "winograd.h"

namespace unetq {

int lanes_of(Layout layout) {
  if (is_lowbit(layout)) return lowbit_lanes(layout);
  return layout == Layout::kBytes16 || layout == Layout::kPairs16 || winograd_of(layout) != nullptr ? 16 : 1;
}

Taps taps_of(Layout layout, int side, int channels, ptrdiff_t in_pixel, int doubled) {
  if (is_lowbit(layout)) return lowbit_taps(layout, side, channels);
  const Winograd* winograd = winograd_of(layout);
  Taps taps;
  if (makes_use_of_doubled(layout)) taps.doubled = doubled / 4;
  taps.rows = side;
  if (layout == Layout::kDots) {
    taps.segments = side;
    taps.steps = (channels + 63) / 64 * 16;
  } else if (winograd == nullptr && (in_pixel == channels || in_pixel == (channels + 3) / 4 * 4)) {
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
  int i = 0;
#ifdef UNETQ_X86
  if (source.isa >= Isa::kAvx2) i = unpack_codes_avx2(source, first, count, out);
#elif defined(UNETQ_ARM64) || defined(UNETQ_ARM32)
  if (source.isa >= Isa::kArmv7) i = unpack_codes_neon(source, first, count, out);
#endif
  size_t bit = (first + i) * static_cast<size_t>(bits);
  for (; i < count; i += 8) {
    // 8 codes end at most 7 + 8 * bits bits behind the byte of the first: 64 for bits <= 7, and 8-bit codes start a
    // byte.
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
  if (const Winograd* winograd = winograd_of(layout))
    return winograd_block_bytes(*winograd, 4 * taps.steps, 4 * taps.doubled);
  if (is_lowbit(layout)) return lowbit_block_bytes(layout, taps);
  const size_t words = static_cast<size_t>(taps.rows) * taps.segments * taps.steps * lanes_of(layout);
  return words * (layout == Layout::kPairs16 ? 8 : 4);
}

namespace {

constexpr int kChunk = 512, kMostLanes = 16;  // codes unpacked at once, on the stack

// Writes steps of 4 codes of some lanes, from step `index` of the block on.
void put(const WeightSource& source, Layout layout, const int8_t (*codes)[kChunk], int count, int steps, void* weights,
         size_t index) {
  const int lanes = lanes_of(layout);
  int8_t* to = static_cast<int8_t*>(weights) + index * 4 * lanes;
  if (layout == Layout::kPairs16) {
    int16_t* pairs = static_cast<int16_t*>(weights) + index * 4 * lanes;
    for (int lane = 0; lane < count; ++lane) {
      const int8_t* from = codes[lane];
      int16_t* at = pairs + 2 * lane;
      for (int i = 0; i < steps; ++i, from += 4, at += 4 * lanes) {
        at[0] = from[0];
        at[1] = from[2];
        at[2 * lanes] = from[1];
        at[2 * lanes + 1] = from[3];
      }
    }
    return;
  }
  int first = 0;
#ifdef UNETQ_X86
  if (layout == Layout::kBytes16 && source.isa >= Isa::kAvx2) first = interleave_avx2(codes[0], kChunk, steps, to);
#endif
  static_cast<void>(source);
  for (int lane = 0; lane < count; ++lane) {
    for (int i = first; i < steps; ++i) std::memcpy(to + (i * lanes + lane) * 4, codes[lane] + 4 * i, 4);
  }
}

// How the codes of one output channel, which follow one another in the stream, fall into steps of 4: each span starts a
// step.
struct Spans {
  int runs, per_run, length;  // spans: runs * per_run of `length` codes
  int run_steps, span_steps;  // from the start of one to the next

  Spans(const WeightSource& source, const Taps& taps) {
    const bool gapless = source.in_pixel == source.channels && taps.run_pixels == source.side;
    runs = taps.rows * taps.segments;
    per_run = gapless ? 1 : taps.run_pixels;
    length = gapless ? taps.run_pixels * source.channels : source.channels;
    run_steps = taps.steps;
    span_steps = source.in_pixel / 4;
    if (gapless && source.channels % 4 == 0) {  // not even between rows
      length *= runs;
      runs = 1;
    }
  }
};

// Pixels of 16 or 32 bytes: a vector of 64 bytes covers several, so each tap's weights repeat.
void repeat_taps(const WeightSource& source, const Taps& taps, int8_t* weights) {
  if (source.in_pixel != 16 && source.in_pixel != 32) return;
  for (int tap = 0; tap < taps.rows * taps.segments; ++tap, weights += 64) {
    for (int at = source.in_pixel; at < 64; at += source.in_pixel) std::memcpy(weights + at, weights, source.in_pixel);
  }
}

}  // namespace

void pack_block(const WeightSource& source, Layout layout, int first_out, int count, void* weights, int32_t* start) {
  if (is_lowbit(layout)) return pack_lowbit(source, layout, first_out, count, weights, start);
  if (const Winograd* winograd = winograd_of(layout)) {
    pack_winograd(source, *winograd, first_out, count, weights);
    return;
  }
  const Taps taps = taps_of(layout, source.side, source.channels, source.in_pixel, source.doubled);
  const Spans spans(source, taps);
  const int lanes = lanes_of(layout);
  std::memset(weights, 0, block_bytes(layout, taps));
  std::memset(start, 0, static_cast<size_t>(lanes) * sizeof(int32_t));
  uint32_t sums[kMostLanes] = {};  // modulo 2^32, like the accumulators
  int8_t codes[kMostLanes][kChunk];
  for (int lane = count; lane < lanes; ++lane) std::memset(codes[lane], 0, kChunk);
  for (int span = 0; span < spans.runs * spans.per_run; ++span) {
    const size_t index = static_cast<size_t>(span / spans.per_run) * spans.run_steps +
                         static_cast<size_t>(span % spans.per_run) * spans.span_steps;
    for (int done = 0; done < spans.length; done += kChunk) {
      const int n = std::min(kChunk, spans.length - done);
      const size_t next = source.first + static_cast<size_t>(span) * spans.length + done;
      for (int lane = 0; lane < count; ++lane) {
        unpack_codes(source, next + static_cast<size_t>(first_out + lane) * source.out_stride, n, codes[lane]);
        if (source.in_zero != 0) {
          for (int i = 0; i < n; ++i) sums[lane] += static_cast<uint32_t>(static_cast<int32_t>(codes[lane][i]));
        }
        for (int i = n; i % 4 != 0; ++i) codes[lane][i] = 0;
      }
      put(source, layout, codes, count, (n + 3) / 4, weights, index + static_cast<size_t>(done) / 4);
    }
  }
  for (int lane = 0; lane < count; ++lane) {
    start[lane] = static_cast<int32_t>(-static_cast<uint32_t>(source.in_zero) * sums[lane]);
  }
  if (layout == Layout::kDots) repeat_taps(source, taps, static_cast<int8_t*>(weights));
}

}  // namespace unetq
