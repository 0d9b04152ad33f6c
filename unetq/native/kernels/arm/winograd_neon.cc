// Winograd for NEON without dot products: 16 channels of a tile meet 16 of one output, smull and smlal to 8 sums of 16
// bits, as long as |V| <= 128 and |U| <= 127 leave room (winograd_most16: 2 products at least, 3 for W4A6, 14 for
// W2A6), then sadalp to 4 of 32. The sums of an output are added across lanes once, at the end of a position.
#include "winograd_neon.h"

namespace unetq {

namespace {

#ifdef UNETQ_ARM64
constexpr int kTiles = 6;  // x 4 outputs: 24 of 32 registers are sums
#else
constexpr int kTiles = 2;  // of 16
#endif

inline void load_tiles(const uint8_t* v, int8x16_t (&a)[kTiles]) {
  uint8x16_t two[kTiles / 2][2];
  load_two<0>(v, two[0]);
#ifdef UNETQ_ARM64
  load_two<32>(v, two[1]);
  load_two<64>(v, two[2]);
#endif
#pragma GCC unroll 6
  for (int t = 0; t < kTiles; ++t) a[t] = vreinterpretq_s8_u8(two[t / 2][t % 2]);
}

// 16 channels' products, the first ones or more of them.
template <bool FIRST>
inline __attribute__((always_inline)) void add_chunk(const uint8_t* v, const int8_t* w, int16x8_t (&acc)[kTiles][4]) {
  int8x16_t a[kTiles];
  load_tiles(v, a);
#pragma GCC unroll 2
  for (int o = 0; o < 4; o += 2) {
    uint8x16_t two[2];
    load_two<0>(reinterpret_cast<const uint8_t*>(w) + 16 * o, two);
#pragma GCC unroll 2
    for (int k = 0; k < 2; ++k) {
      const int8x16_t weights = vreinterpretq_s8_u8(two[k]);
#pragma GCC unroll 6
      for (int t = 0; t < kTiles; ++t) {
        int16x8_t& sum = acc[t][o + k];
        sum = add_high(FIRST ? product_low(a[t], weights) : add_low(sum, a[t], weights), a[t], weights);
      }
    }
  }
}

// The same, every 2 products to 32 bits.
template <bool FIRST>
inline __attribute__((always_inline)) void add_chunk(const uint8_t* v, const int8_t* w, int32x4_t (&acc)[kTiles][4]) {
  int8x16_t a[kTiles];
  load_tiles(v, a);
#pragma GCC unroll 4
  for (int o = 0; o < 4; ++o) {
    const int8x16_t weights = vld1q_s8(w + 16 * o);
#pragma GCC unroll 6
    for (int t = 0; t < kTiles; ++t) {
      const int16x8_t sum = add_high(product_low(a[t], weights), a[t], weights);
      acc[t][o] = FIRST ? vpaddlq_s16(sum) : vpadalq_s16(acc[t][o], sum);
    }
  }
}

// Sums of `chunks` chunks of all tiles. In this form, because gcc 12 copies all sums before another form of loop.
template <typename Sum>
inline __attribute__((always_inline)) void add_chunks(const uint8_t* v, ptrdiff_t chunk, const int8_t* w,
                                                      const int8_t* end, Sum (&acc)[kTiles][4]) {
  add_chunk<true>(v, w, acc);
  w += 256;
  if (w == end) return;
  do {
    v += chunk;
    add_chunk<false>(v, w, acc);
    w += 256;
  } while (w != end);
}

// 4 outputs of all tiles.
__attribute__((noinline)) void add_pairs(const Position& at, const int8_t* first, int32_t* to) {
  const uint8_t* tiles = at.v;
  const int8_t* const end = first + static_cast<ptrdiff_t>(256) * at.chunks;
  const ptrdiff_t chunk = at.chunk, next = at.next;
  for (int left = at.tiles; left > 0; left -= kTiles, tiles += 16 * kTiles) {
    int32x4_t acc[kTiles][4];
    add_chunks(tiles, chunk, first, end, acc);
#pragma GCC unroll 6
    for (int t = 0; t < kTiles; ++t, to += next) vst1q_s32(to, sums_of(acc[t][0], acc[t][1], acc[t][2], acc[t][3]));
  }
}

// Sums of 4 outputs; EARLY: pairs of lanes still fit into 16 bits.
template <bool EARLY>
inline int32x4_t across(const int16x8_t (&acc)[4]) {
#ifdef UNETQ_ARM64
  if constexpr (EARLY) {
    return vpaddq_s32(vpaddlq_s16(vpaddq_s16(acc[0], acc[1])), vpaddlq_s16(vpaddq_s16(acc[2], acc[3])));
  }
#endif
  return sums_of(vpaddlq_s16(acc[0]), vpaddlq_s16(acc[1]), vpaddlq_s16(acc[2]), vpaddlq_s16(acc[3]));
}

// The same, all of `chunks` in 16 bits; MORE: added to what there is.
template <bool EARLY, bool MORE>
__attribute__((noinline)) void add_many(const Position& at, const uint8_t* tiles, const int8_t* first, int chunks,
                                        int32_t* to) {
  const int8_t* const end = first + static_cast<ptrdiff_t>(256) * chunks;
  const ptrdiff_t chunk = at.chunk, next = at.next;
  for (int left = at.tiles; left > 0; left -= kTiles, tiles += 16 * kTiles) {
    int16x8_t acc[kTiles][4];
    add_chunks(tiles, chunk, first, end, acc);
#pragma GCC unroll 6
    for (int t = 0; t < kTiles; ++t, to += next) {
      const int32x4_t sum = across<EARLY>(acc[t]);
      vst1q_s32(to, MORE ? vaddq_s32(sum, vld1q_s32(to)) : sum);
    }
  }
}

struct Products {
  static constexpr int kLanes = 16;  // of weights of an output

  static void multiply(const Position& at) {
    const int most = at.most16 / 2;
    for (int g = 0; g < 4; ++g) {
      const int8_t* w = at.w + 64 * g;
      if (most < 3) {  // emptying 16 bits costs as much as a chunk
        add_pairs(at, w, at.sums + 4 * g);
        continue;
      }
      for (int begin = 0; begin < at.chunks; begin += most) {
        const int chunks = at.chunks - begin < most ? at.chunks - begin : most;
        const bool early = 4 * chunks <= at.most16;
        const auto add = begin > 0 ? (early ? add_many<true, true> : add_many<false, true>)
                                   : (early ? add_many<true, false> : add_many<false, false>);
        add(at, at.v + begin * at.chunk, w + static_cast<ptrdiff_t>(256) * begin, chunks, at.sums + 4 * g);
      }
    }
  }
};

}  // namespace

void winograd2x2_neon(const ConvRows& job) { winograd_rows<Products, 2>(Layout::kWinograd2x2Sixteens, job); }
void winograd2x4_neon(const ConvRows& job) { winograd_rows<Products, 4>(Layout::kWinograd2x4Sixteens, job); }

}  // namespace unetq
