// Winograd convolutions in NEON: what is done around the multiplications, which M brings. In an unnamed namespace: each
// file has its own copy, compiled with its own flags.
//
// V are signed bytes, 16 channels of a tile side by side, tiles one behind the other (M::kLanes = 8: of pairs of tiles,
// 8 channels of both, then the others). When there are the sums of all positions of a block of tiles, in 32 bits, the
// output's transform reads them once:
//
//   M::kLanes = 16   M::multiply makes the sums of one position: [tile][position][16 outputs]
//   else             M::add adds to registers, so the transform's first half is done there, down each column of
//                    positions, for 6 tiles: [tile][upper, lower][column][16]. With a = row 1 and b = row 2,
//                    upper = (a + b) + row 0 and lower = (a - b) + row 3, whose weights have the other sign.
#pragma once

#include "../winograd_tiles.h"
#include "neon.h"

namespace unetq {

namespace {

// What M::multiply gets.
struct Position {
  const uint8_t* v;  // [tile][16]
  ptrdiff_t chunk;   // bytes to the next 16 channels
  int chunks, tiles;
  const int8_t* w;  // 256 bytes a chunk
  int32_t* sums;    // of the first tile
  ptrdiff_t next;   // elements from one tile's sums to the next one's
  int most16;       // products that fit into 16 bits together
};

// A^T of a row or a column of sums; factors of rows are in the weights (winograd.h).
inline void combine2(const int32x4_t* x, int32x4_t* out) {
  out[0] = vaddq_s32(vaddq_s32(x[0], x[1]), x[2]);
  out[1] = vsubq_s32(vsubq_s32(x[1], x[2]), x[3]);
}

// A third of what comes out, which the scale of 24 has: times the inverse of 3 modulo 2^32, so in unsigned numbers.
inline void combine4(const int32x4_t* sums, int32x4_t* out) {
  uint32x4_t x[6];
#pragma GCC unroll 6
  for (int k = 0; k < 6; ++k) x[k] = vreinterpretq_u32_s32(sums[k]);
  const uint32x4_t s = vaddq_u32(x[1], x[2]), d = vsubq_u32(x[1], x[2]);
  const uint32x4_t s4 = vaddq_u32(x[3], x[4]), d4 = vsubq_u32(x[3], x[4]);
  const uint32x4_t s2 = vaddq_u32(s, s), d2 = vaddq_u32(d, d), dd = vaddq_u32(d4, d4);
  const uint32x4_t third = vdupq_n_u32(0xAAAAAAABu);
  out[0] = vreinterpretq_s32_u32(vmulq_u32(vaddq_u32(vaddq_u32(x[0], s2), s4), third));
  out[1] = vreinterpretq_s32_u32(vmulq_u32(vaddq_u32(d2, dd), third));
  out[2] = vreinterpretq_s32_u32(vmulq_u32(vaddq_u32(s2, vshlq_n_u32(s4, 2)), third));
  out[3] = vreinterpretq_s32_u32(vmulq_u32(vaddq_u32(d2, vshlq_n_u32(vaddq_u32(dd, x[5]), 2)), third));
}

// 4 outputs of the tile's 2 x Wide pixels.
template <int Wide, bool FOLDED>
inline void combine(const int32_t* sums, [[maybe_unused]] const int32_t* start, int32x4_t (&out)[2][Wide]) {
  constexpr int kColumns = Wide + 2;
  int32x4_t upper[kColumns], lower[kColumns];
#pragma GCC unroll 6
  for (int j = 0; j < kColumns; ++j) {
    if constexpr (FOLDED) {
      upper[j] = vld1q_s32(sums + j * 16);
      lower[j] = vld1q_s32(sums + (kColumns + j) * 16);
    } else {
      int32x4_t x[4], y[2];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) x[i] = vld1q_s32(sums + (i * kColumns + j) * 16);
      if (j == 1) x[1] = vaddq_s32(x[1], vld1q_s32(start));
      combine2(x, y);
      upper[j] = y[0];
      lower[j] = y[1];
    }
  }
  if constexpr (Wide == 2) {
    combine2(upper, out[0]);
    combine2(lower, out[1]);
  } else {
    combine4(upper, out[0]);
    combine4(lower, out[1]);
  }
}

// Elements of a tile's sums.
template <int Wide, bool FOLDED>
constexpr int kTileSums = (Wide + 2) * (FOLDED ? 32 : 64);

template <int Wide, bool FOLDED, bool PLAIN>
__attribute__((noinline)) void finish_codes(const Block& block, const Finish& from, const int32_t* start) {
  const Finish finish = from;
  const int width = block.job.width, y1 = block.job.y1;
  const auto* sums = reinterpret_cast<const int32_t*>(block.sums);
  const Place* const end = block.places + block.tiles;
  for (const Place* at = block.places; at != end; ++at, sums += kTileSums<Wide, FOLDED>) {
    int16x4_t codes[2][Wide][4];
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      int32x4_t four[2][Wide];
      combine<Wide, FOLDED>(sums + 4 * g, start + 4 * g, four);
      const float32x4_t m = finish.m(g), b = finish.b(g);
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < Wide; ++j) codes[i][j][g] = finish.code(four[i][j], m, b);
      }
    }
    const int y = at->y, x = at->x;
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      if (y + i >= y1) break;
#pragma GCC unroll 4
      for (int j = 0; j < Wide; ++j) {
        if (x + j >= width) break;
        const int16x4_t(&of)[4] = codes[i][j];
        finish.put<PLAIN>(vcombine_s16(of[0], of[1]), vcombine_s16(of[2], of[3]), y + i, x + j);
      }
    }
  }
}

template <int Wide, bool FOLDED>
void finish_logits(const Block& block, const int32_t* start, int channel) {
  const auto* sums = reinterpret_cast<const int32_t*>(block.sums);
  for (int t = 0; t < block.tiles; ++t, sums += kTileSums<Wide, FOLDED>) {
    const Place place = block.places[t];
    int32x4_t out[2][Wide][4];
    for (int g = 0; g < 4; ++g) {
      int32x4_t four[2][Wide];
      combine<Wide, FOLDED>(sums + 4 * g, start + 4 * g, four);
      for (int i = 0; i < 2 * Wide; ++i) out[i / Wide][i % Wide][g] = four[i / Wide][i % Wide];
    }
    for (int i = 0; i < 2 && place.y + i < block.job.y1; ++i) {
      for (int j = 0; j < Wide && place.x + j < block.job.width; ++j) {
        put_logits(block.job, out[i][j], channel, place.y + i, place.x + j);
      }
    }
  }
}

constexpr int kSixTiles = 24;  // registers: 6 tiles x 16 outputs

// Makes gcc 12 load from memory what it has stored there: it would keep it in registers, which there are not.
inline __attribute__((always_inline)) void keep(int32_t*& memory) { __asm__ volatile("" : "+r"(memory) : : "memory"); }

// A column of positions of a block.
struct Column {
  const uint8_t* v;  // of row 0
  ptrdiff_t row, chunk;
  int chunks, tiles;
  int skipped, skipped2;  // first chunks that are left out in all rows, and in row 2
  const int8_t* w;
  ptrdiff_t w_row;
  const int32_t* start;  // [16] of row 1
  int32_t* sums;         // of the first tile
  ptrdiff_t lower, next;
};

template <typename M>
__attribute__((noinline)) void add_column(const Column& at) {
  const uint8_t* v = at.v + at.skipped * at.chunk;
  int32_t* to = at.sums;
  const ptrdiff_t row = at.row, chunk = at.chunk, w_row = at.w_row;
  const ptrdiff_t bytes = static_cast<ptrdiff_t>(256) * (at.chunks - at.skipped);
  const ptrdiff_t more = at.skipped2 - at.skipped;
  int32_t memory[4 * kSixTiles], *kept = memory;
  for (int left = at.tiles; left > 0; left -= 6, v += 96, to += 6 * at.next) {
    int32x4_t acc[kSixTiles];
    const int8_t *const w0 = at.w + static_cast<ptrdiff_t>(256) * at.skipped, *w = w0 + w_row;
    M::begin(at.start, acc);
    M::add(v + row, chunk, w, w + bytes, acc);
#pragma GCC unroll 24
    for (int k = 0; k < kSixTiles; ++k) {
      vst1q_s32(kept + 4 * k, acc[k]);
      acc[k] = vdupq_n_s32(0);
    }
    keep(kept);
    w += w_row;
    M::add(v + 2 * row + more * chunk, chunk, w + 256 * more, w + bytes, acc);
#pragma GCC unroll 24
    for (int k = 0; k < kSixTiles; ++k) {
      const int32x4_t first = vld1q_s32(kept + 4 * k);
      vst1q_s32(kept + 4 * k, vsubq_s32(first, acc[k]));
      acc[k] = vaddq_s32(first, acc[k]);
    }
    keep(kept);
    M::add(v, chunk, w0, w0 + bytes, acc);
    M::put(acc, to, at.next);
#pragma GCC unroll 24
    for (int k = 0; k < kSixTiles; ++k) acc[k] = vld1q_s32(kept + 4 * k);
    w += w_row;
    M::add(v + 3 * row, chunk, w, w + bytes, acc);
    M::put(acc, to + at.lower, at.next);
  }
}

// All sums of 16 outputs.
template <typename M, int Wide>
void add_positions(const Block& block, const int8_t* w, const int32_t* start, int channels, int most16) {
  constexpr int kColumns = Wide + 2;
  const int chunks = (channels + 15) / 16, doubled = block.job.doubled / 4;  // whole chunks of doubled channels
  const ptrdiff_t bytes = static_cast<ptrdiff_t>(winograd_position_bytes(channels));
  auto* sums = reinterpret_cast<int32_t*>(block.sums);
  if constexpr (M::kLanes == 16) {
    for (int position = 0; position < 4 * kColumns; ++position, w += bytes, sums += 16) {
      const bool vanishes = position / kColumns == 2 || position % kColumns == 2;
      const int skipped = vanishes ? doubled : 0;
      M::multiply({block.v + position * block.position + skipped * block.chunk, block.chunk, chunks - skipped,
                   block.tiles, w + static_cast<ptrdiff_t>(256) * skipped, sums, kTileSums<Wide, false>, most16});
    }
  } else {
    constexpr int32_t kNone[16] = {};
    for (int j = 0; j < kColumns; ++j, w += bytes, sums += 16) {
      add_column<M>({block.v + j * block.position, kColumns * block.position, block.chunk, chunks, block.tiles,
                     j == 2 ? doubled : 0, doubled, w, kColumns * bytes, j == 1 ? start : kNone, sums, 16 * kColumns,
                     kTileSums<Wide, true>});
    }
  }
}

template <typename M, int Wide>
void winograd_rows(Layout layout, const ConvRows& job) {
  const Winograd& winograd = *winograd_of(layout);
  constexpr bool kFolded = M::kLanes < 16;
  const int channels = 4 * job.steps;
  const int most16 = winograd_most16(winograd, job.bits - job.abits, job.abits);
  convolve<16, 2, Wide, M::kLanes == 8>(layout, job, [&](const Block& block) {
    for (int channel = 0; channel < job.channels; channel += 16) {
      const auto* w = static_cast<const uint8_t*>(job.weights) + channel / 16 * block.weights;
      const auto* start = reinterpret_cast<const int32_t*>(w);
      add_positions<M, Wide>(block, reinterpret_cast<const int8_t*>(w + 64), start, channels, most16);
      if (job.out == nullptr) {
        finish_logits<Wide, kFolded>(block, start, channel);
        continue;
      }
      const Finish finish(job, channel);
      const auto codes = finish.plain() ? finish_codes<Wide, kFolded, true> : finish_codes<Wide, kFolded, false>;
      codes(block, finish, start);
    }
  });
}

}  // namespace

}  // namespace unetq
