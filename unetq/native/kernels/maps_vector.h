// Operations without weights in vectors of the compiler: each file that includes this has its own copy, compiled with
// its own flags (WIDEST: bytes of its registers).
//
// A few pixels are done at a time, a chunk of channels of all of them before the next chunk: their lines stay in the
// first-level cache. Loads may reach beyond the channels (kOverreadBytes), stores never.
#pragma once

#include "epilogue.h"
#include "kernel.h"

namespace unetq {

// Other copies have other instructions: they must not be taken for the same function.
namespace {  // NOLINT(misc-anonymous-namespace-in-header)

template <int N>
using Bytes [[gnu::vector_size(N)]] = uint8_t;
template <int N>
using Words [[gnu::vector_size(2 * N)]] = uint16_t;

// N channels; `kWhole`: they are all stored, else the first few.
template <int N, bool kWhole>
struct Chunk {
  static constexpr int kBytes = N;
  int first, count;  // channels

  Bytes<N> load(const uint8_t* pixel) const {
    Bytes<N> bytes;
    __builtin_memcpy(&bytes, pixel + first, N);
    return bytes;
  }

  void store(uint8_t* pixel, Bytes<N> bytes) const {
    uint8_t* to = pixel + first;
    if constexpr (kWhole) {
      __builtin_memcpy(to, &bytes, N);
    } else {
      uint8_t all[N];
      __builtin_memcpy(all, &bytes, N);
      int i = 0;
      for (; i + 4 <= count; i += 4) __builtin_memcpy(to + i, all + i, 4);
      for (; i < count; ++i) to[i] = all[i];
    }
  }
};

// Calls row(chunk) until all channels are done. A rest behind 16 or more channels is done with its neighbours once
// more.
template <int WIDEST, typename Row>
inline void for_chunks(int channels, const Row& row) {
  int c = 0;
  if constexpr (WIDEST >= 64) {
    for (; c + 64 <= channels; c += 64) row(Chunk<64, true>{c, 64});
  }
  if constexpr (WIDEST >= 32) {
    for (; c + 32 <= channels; c += 32) row(Chunk<32, true>{c, 32});
  }
  for (; c + 16 <= channels; c += 16) row(Chunk<16, true>{c, 16});
  if (c == channels) return;
  if (c > 0) {
    row(Chunk<16, true>{channels - 16, 16});
  } else {
    row(Chunk<16, false>{0, channels});
  }
}

inline int at_most(int i, int last) { return i < last ? i : last; }

template <int N>
inline Bytes<N> larger(Bytes<N> a, Bytes<N> b) {
  return a > b ? a : b;
}

// Pixels in one row of the image are neighbours in memory where there is one channel.
void quantize_row(const MapRows& job, const float* __restrict from, uint8_t* __restrict to) {
  const float m = job.m, lo = job.lo, hi = job.hi;
  const int zero = job.zero;
  if (job.out_pixel == 1) {
    for (int x = 0; x < job.width; ++x) to[x] = requantize(from[x] * m, lo, hi, zero);
  } else {
    for (int x = 0; x < job.width; ++x) to[x * job.out_pixel] = requantize(from[x] * m, lo, hi, zero);
  }
}

[[maybe_unused]] void quantize_rows(const MapRows& job) {  // 32-bit ARM has its own
  for (int y = job.y0; y < job.y1; ++y) {
    for (int c = 0; c < job.channels; ++c) {
      const float* from = job.image + c * job.image_plane + static_cast<ptrdiff_t>(y) * job.width;
      quantize_row(job, from, job.out + y * job.out_row + c);
    }
  }
}

// Calls part(chunk, x0, x1) for a few of `pixels` at a time.
template <int WIDEST, typename Part>
inline void for_spans(int channels, int pixels, const Part& part) {
  constexpr int kSpan = 16;
  for (int x = 0; x < pixels; x += kSpan) {
    for_chunks<WIDEST>(channels, [&](auto chunk) { part(chunk, x, at_most(x + kSpan, pixels)); });
  }
}

template <int WIDEST>
void maxpool_rows(const MapRows& job) {
  const ptrdiff_t pixel = job.in_pixel;
  const int whole = job.in_width / 2;  // windows of two columns; an odd edge has one more, of one
  for (int y = job.y0; y < job.y1; ++y) {
    const uint8_t* top = job.in + static_cast<ptrdiff_t>(2 * y) * job.in_row;
    const uint8_t* bottom = job.in + static_cast<ptrdiff_t>(at_most(2 * y + 1, job.in_height - 1)) * job.in_row;
    uint8_t* to = job.out + y * job.out_row;
    for_spans<WIDEST>(job.channels, job.width, [&](auto chunk, int x0, int x1) {
      for (int x = x0; x < x1; ++x) {
        const ptrdiff_t left = 2 * x * pixel, right = x < whole ? left + pixel : left;
        const auto upper = larger<chunk.kBytes>(chunk.load(top + left), chunk.load(top + right));
        const auto lower = larger<chunk.kBytes>(chunk.load(bottom + left), chunk.load(bottom + right));
        chunk.store(to + x * job.out_pixel, larger<chunk.kBytes>(upper, lower));
      }
    });
  }
}

template <int WIDEST>
void copy_rows(const MapRows& job) {
  for (int y = job.y0; y < job.y1; ++y) {
    const uint8_t* from = job.in + y * job.in_row;
    uint8_t* to = job.out + y * job.out_row;
    for_spans<WIDEST>(job.channels, job.width, [&](auto chunk, int x0, int x1) {
      for (int x = x0; x < x1; ++x) chunk.store(to + x * job.out_pixel, chunk.load(from + x * job.in_pixel));
    });
  }
}

template <int WIDEST>
void nearest_rows(const MapRows& job) {
  for (int y = job.y0; y < job.y1; ++y) {
    const uint8_t* from = job.in + static_cast<ptrdiff_t>(y / 2) * job.in_row;
    uint8_t* to = job.out + y * job.out_row;
    for_spans<WIDEST>(job.channels, (job.width + 1) / 2, [&](auto chunk, int x0, int x1) {
      for (int x = x0; x < x1; ++x) {
        const auto bytes = chunk.load(from + x * job.in_pixel);
        chunk.store(to + 2 * x * job.out_pixel, bytes);
        chunk.store(to + at_most(2 * x + 1, job.width - 1) * job.out_pixel, bytes);
      }
    });
  }
}

// Half to even, on the code: a byte is code + zero, so an odd zero turns parity around. Sums are at most 16 * 255.
template <int N>
inline Bytes<N> sixteenth(Words<N> sum, Words<N> parity) {
  return __builtin_convertvector((sum + 7 + (((sum >> 4) ^ parity) & 1)) >> 4, Bytes<N>);
}

// 9 a + 3 b + 3 c + d = 3 (3 a + c) + (3 b + d): rows first, once for an input pixel, then columns. Outputs 2 i + 1 and
// 2 i + 2 lie between inputs i and i + 1; edges repeat. Input columns [x0, x1], with the outputs between them.
template <int N, bool kWhole>
void bilinear_span(const MapRows& job, Chunk<N, kWhole> chunk, int y, int x0, int x1) {
  const int far_y = y % 2 == 0 ? (y >= 2 ? y / 2 - 1 : 0) : at_most(y / 2 + 1, job.in_height - 1);
  const uint8_t* near = job.in + static_cast<ptrdiff_t>(y / 2) * job.in_row + x0 * job.in_pixel;
  const uint8_t* far = job.in + static_cast<ptrdiff_t>(far_y) * job.in_row + x0 * job.in_pixel;
  uint8_t* to = job.out + y * job.out_row + (2 * x0 + 1) * job.out_pixel;
  const Words<N> parity = static_cast<uint16_t>(job.zero & 1) + Words<N>{};
  const auto rows = [&] {
    const Words<N> a = __builtin_convertvector(chunk.load(near), Words<N>);
    return a + a + a + __builtin_convertvector(chunk.load(far), Words<N>);
  };
  Words<N> left = rows();
  if (x0 == 0) chunk.store(to - job.out_pixel, sixteenth<N>(4 * left, parity));
  for (int x = x0 + 1; x <= x1; ++x, to += 2 * job.out_pixel) {
    near += job.in_pixel;
    far += job.in_pixel;
    const Words<N> right = rows(), both = left + right;
    chunk.store(to, sixteenth<N>(both + left + left, parity));
    chunk.store(to + job.out_pixel, sixteenth<N>(both + right + right, parity));
    left = right;
  }
  if (x1 == job.in_width - 1 && job.width % 2 == 0) chunk.store(to, sixteenth<N>(4 * left, parity));
}

template <int WIDEST>
void bilinear_rows(const MapRows& job) {
  const int last = job.in_width - 1;
  for (int y = job.y0; y < job.y1; ++y) {  // in 16 bits; an image of one column has a span, too
    for_spans<WIDEST / 2>(job.channels, last > 0 ? last : 1,
                          [&](auto chunk, int x0, int x1) { bilinear_span(job, chunk, y, x0, at_most(x1, last)); });
  }
}

template <int N>
using Ints [[gnu::vector_size(4 * N)]] = int32_t;

// Floats as integers in the same order, -0 and 0 one: NEON of 32-bit ARM takes denormal numbers for 0 where it
// compares.
template <int N>
inline Ints<N> in_order(const float* from, int count) {
  Ints<N> bits{};
  if (count == N) {
    __builtin_memcpy(&bits, from, 4 * N);
  } else {
    for (int i = 0; i < count; ++i) __builtin_memcpy(reinterpret_cast<char*>(&bits) + 4 * i, from + i, 4);
  }
  const Ints<N> order = bits ^ ((bits >> 31) & 0x7fffffff);
  return order - (order == -1);
}

// `count` pixels of a row, at most N.
template <int N>
inline void argmax_span(const MapRows& job, const float* from, int count, uint8_t* to) {
  const bool one = job.channels == 1;
  Ints<N> best{}, label{};
  if (!one) best = in_order<N>(from, count);
  for (int k = one ? 0 : 1; k < job.channels; ++k) {
    const Ints<N> value = in_order<N>(from + k * job.image_plane, count), wins = value > best;
    best = wins ? value : best;
    label = wins ? (one ? 1 : k) + Ints<N>{} : label;
  }
  const Bytes<N> bytes = __builtin_convertvector(label, Bytes<N>);
  if (count == N && job.out_pixel == 1) {
    __builtin_memcpy(to, &bytes, N);
  } else {
    for (int i = 0; i < count; ++i) to[i * job.out_pixel] = bytes[i];
  }
}

// N: floats in a register.
template <int N>
void argmax_rows(const MapRows& job) {
  for (int y = job.y0; y < job.y1; ++y) {
    const float* from = job.image + static_cast<ptrdiff_t>(y) * job.width;
    uint8_t* to = job.out + y * job.out_row;
    for (int x = 0; x < job.width; x += N) {
      const int count = job.width - x < N ? job.width - x : N;
      argmax_span<N>(job, from + x, count, to + x * job.out_pixel);
    }
  }
}

}  // namespace

}  // namespace unetq
