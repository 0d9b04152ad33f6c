// What the AVX-512 VNNI kernels of all tiles share. In an unnamed namespace: each file has its own copy. Always inlined
// is what takes accumulators: a call would hand them over in memory, at half the speed.
#pragma once

#include "finish_avx512.h"
#include "winograd_tiles.h"

namespace unetq {

namespace {

// 16 outputs of 4 pixels to 64 bytes in their order. Nothing leaves int32 (winograd_allows), so the upper clamp can
// wait until there are bytes.
inline __m512i pack_bytes(__m512i a, __m512i b, __m512i c, __m512i d, __m512i hi) {
  const __m512i bytes = _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_min_epu8(_mm512_permutexvar_epi32(order, bytes), hi);
}

// kAxis4's output transform: 24 times 4 outputs of 6 sums, which are G vectors from one to the next, as the outputs.
template <int G>
inline void combine4(const __m512i* x, __m512i* out) {
  const __m512i s = _mm512_add_epi32(x[G], x[2 * G]), d = _mm512_sub_epi32(x[G], x[2 * G]);
  const __m512i s4 = _mm512_add_epi32(x[3 * G], x[4 * G]), d4 = _mm512_sub_epi32(x[3 * G], x[4 * G]);
  const __m512i s2 = _mm512_add_epi32(s, s), d2 = _mm512_add_epi32(d, d), dd = _mm512_add_epi32(d4, d4);
  out[0] = _mm512_add_epi32(_mm512_add_epi32(x[0], s2), s4);
  out[G] = _mm512_add_epi32(d2, dd);
  out[2 * G] = _mm512_add_epi32(s2, _mm512_slli_epi32(s4, 2));
  out[3 * G] = _mm512_add_epi32(d2, _mm512_slli_epi32(_mm512_add_epi32(dd, x[5 * G]), 2));
}

template <int G>
struct Scale {
  __m512 m[G], b[G];
  __m512i hi;

  Scale(const ConvRows& job, int channel) : hi(_mm512_set1_epi8(static_cast<char>(static_cast<int>(job.hi)))) {
#pragma GCC unroll 2
    for (int g = 0; g < G; ++g) {
      m[g] = _mm512_loadu_ps(job.m + channel + 16 * g);
      b[g] = _mm512_loadu_ps(job.b + channel + 16 * g);
    }
  }
};

// Codes of the first `count` of 4 pixels of G vectors of outputs, `next` bytes from one to the next.
template <int G>
inline void store_four(const __m512i (&acc)[4 * G], const Scale<G>& scale, uint8_t* out, ptrdiff_t next, int count) {
  __m512i bytes[G];
#pragma GCC unroll 2
  for (int k = 0; k < G; ++k) {
    __m512i code[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      code[i] = _mm512_cvtps_epi32(scaled(acc[4 * k + i], scale.m[i % G], scale.b[i % G]));
    }
    bytes[k] = pack_bytes(code[0], code[1], code[2], code[3], scale.hi);
  }
  if constexpr (G == 2) {
    const auto put = [](uint8_t* to, __m256i pixel) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), pixel); };
    put(out, _mm512_castsi512_si256(bytes[0]));
    if (count > 1) put(out + next, _mm512_extracti64x4_epi64(bytes[0], 1));
    if (count > 2) put(out + 2 * next, _mm512_castsi512_si256(bytes[1]));
    if (count > 3) put(out + 3 * next, _mm512_extracti64x4_epi64(bytes[1], 1));
  } else {
    const auto put = [](uint8_t* to, __m128i pixel) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), pixel); };
    put(out, _mm512_castsi512_si128(bytes[0]));
    if (count > 1) put(out + next, _mm512_extracti32x4_epi32(bytes[0], 1));
    if (count > 2) put(out + 2 * next, _mm512_extracti32x4_epi32(bytes[0], 2));
    if (count > 3) put(out + 3 * next, _mm512_extracti32x4_epi32(bytes[0], 3));
  }
}

using Four [[gnu::may_alias]] = int32_t;  // 4 channels

// 4 channels of a tile with the weights of G vectors of outputs. In assembly, because gcc 12 otherwise renames
// accumulators from one step to the next, and so keeps them in memory.
template <int G>
[[gnu::always_inline]] inline void multiply(const uint8_t* from, const __m512i (&w)[G], __m512i (&acc)[G]) {
  __m512i bytes;
  const Four& four = *reinterpret_cast<const Four*>(from);
  if constexpr (G == 2) {
    __asm__(
        "vpbroadcastd %3, %2\n\t"
        "vpdpbusd %4, %2, %0\n\t"
        "vpdpbusd %5, %2, %1"
        : "+v"(acc[0]), "+v"(acc[1]), "=&v"(bytes)
        : "m"(four), "v"(w[0]), "v"(w[1]));
  } else {
    __asm__(
        "vpbroadcastd %2, %1\n\t"
        "vpdpbusd %3, %1, %0"
        : "+v"(acc[0]), "=&v"(bytes)
        : "m"(four), "v"(w[0]));
  }
}

// The products of steps [first, last) of a pair of positions, or of its p alone. C: bytes of a tile in a chunk.
template <int T, int G, int C, bool BOTH>
[[gnu::always_inline]] inline const uint8_t* multiply_steps(const Block& block, Pointers at, int first, int last,
                                                            const uint8_t* w, __m512i (&a)[T][G], __m512i (&b)[T][G]) {
  const size_t next = block.weights;
  const ptrdiff_t to_q = at.q - at.p;
  const uint8_t* chunk = at.p + first / (C / 4) * block.chunk;
  int skip = first % (C / 4), left = last - first;
  do {
    const int room = C / 4 - skip;
    const uint8_t* from = chunk + 4 * skip;
    const uint8_t* end = from + 4 * (left < room ? left : room);
    do {
      __m512i wp[G], wq[G];
#pragma GCC unroll 2
      for (int g = 0; g < G; ++g) {
        wp[g] = _mm512_loadu_si512(w + g * next);
        if constexpr (BOTH) wq[g] = _mm512_loadu_si512(w + g * next + 64);
      }
#pragma GCC unroll 12
      for (int t = 0; t < T; ++t) multiply<G>(from + t * C, wp, a[t]);
      if constexpr (BOTH) {
#pragma GCC unroll 12
        for (int t = 0; t < T; ++t) multiply<G>(from + to_q + t * C, wq, b[t]);
      }
      from += 4;
      w += BOTH ? 128 : 64;
    } while (from != end);
    left -= room;
    skip = 0;
    chunk += block.chunk;
  } while (left > 0);
  return w;
}

// The sums of one pair of positions over all channels, added to a and b.
template <int T, int G, int C>
[[gnu::always_inline]] inline const uint8_t* multiply(const Block& block, Pointers at, Live live, const uint8_t* w,
                                                      __m512i (&a)[T][G], __m512i (&b)[T][G]) {
  w += 128;
  const int doubled = live == Live::kBoth ? 0 : block.job.doubled;
  if (live == Live::kP && doubled > 0) w = multiply_steps<T, G, C, false>(block, at, 0, doubled, w, a, b);
  return multiply_steps<T, G, C, true>(block, at, doubled, block.job.steps, w, a, b);
}

// Accumulators of one pair, at their starts.
template <int T, int G>
[[gnu::always_inline]] inline void begin(const Block& block, const uint8_t* w, __m512i (&a)[T][G], __m512i (&b)[T][G]) {
#pragma GCC unroll 2
  for (int g = 0; g < G; ++g) {
    const __m512i start_a = _mm512_loadu_si512(w + g * block.weights);
    const __m512i start_b = _mm512_loadu_si512(w + g * block.weights + 64);
#pragma GCC unroll 12
    for (int t = 0; t < T; ++t) {
      a[t][g] = start_a;
      b[t][g] = start_b;
    }
  }
}

template <int T, int G>
[[gnu::always_inline]] inline void butterfly(__m512i (&a)[T][G], __m512i (&b)[T][G]) {
#pragma GCC unroll 12
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 2
    for (int g = 0; g < G; ++g) {
      const __m512i sum = _mm512_add_epi32(a[t][g], b[t][g]);
      b[t][g] = _mm512_sub_epi32(a[t][g], b[t][g]);
      a[t][g] = sum;
    }
  }
}

template <int C>
struct Chunk {
  static constexpr int kBytes = C;
};

// Calls the kernel with the Chunk of the input's channels.
template <typename Kernel>
inline void with_chunk(const ConvRows& job, const Kernel& kernel) {
  const int bytes = winograd_chunk(4 * job.steps);
  if (bytes == 16) {
    kernel(Chunk<16>());
  } else if (bytes == 32) {
    kernel(Chunk<32>());
  } else {
    kernel(Chunk<64>());
  }
}

// Of the first-level cache, 32 KiB on a Zen 4: weights that all tiles of a block meet before the next ones do.
constexpr size_t kWeightsAtOnce = 24 * 1024;

// Two sums of each tile in memory, a whole number of vectors of 64 bytes apart.
template <int TILE, int SECOND>
struct Sums {
  uint8_t* first;

  template <int T, int G>
  [[gnu::always_inline]] void load(__m512i (&a)[T][G], __m512i (&b)[T][G]) const {
#pragma GCC unroll 12
    for (int t = 0; t < T; ++t) {
#pragma GCC unroll 2
      for (int g = 0; g < G; ++g) {
        a[t][g] = _mm512_load_si512(first + (t * TILE + g) * 64);
        b[t][g] = _mm512_load_si512(first + (t * TILE + SECOND + g) * 64);
      }
    }
  }

  template <int T, int G>
  [[gnu::always_inline]] void store(const __m512i (&a)[T][G], const __m512i (&b)[T][G]) const {
#pragma GCC unroll 12
    for (int t = 0; t < T; ++t) {
#pragma GCC unroll 2
      for (int g = 0; g < G; ++g) {
        _mm512_store_si512(first + (t * TILE + g) * 64, a[t][g]);
        _mm512_store_si512(first + (t * TILE + SECOND + g) * 64, b[t][g]);
      }
    }
  }
};

}  // namespace

}  // namespace unetq
