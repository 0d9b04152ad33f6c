// Convolution with few output channels (the head) for AVX2: lanes hold channels of pixels, as in dots_avx512vnni.cc.
// wbits + abits <= 15: vpmaddubsw does not saturate, and a vector of 32 bytes is two pixels of 16 bytes, or 32 channels
// of one. Any width: 16 channels at a time, widened to 16 bits.
#include <immintrin.h>

#include "epilogue.h"
#include "kernel.h"

namespace unetq {

namespace {

inline __m256i load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }

// Adds within each half: half h of the result has the four sums of half h of a, b, c, d.
inline __m256i sum_halves(const __m256i* acc) {
  return _mm256_hadd_epi32(_mm256_hadd_epi32(acc[0], acc[1]), _mm256_hadd_epi32(acc[2], acc[3]));
}

// 8 vectors to the sums of 8 pixels (V = 1) or 16 (V = 2), in their order.
template <int V>
inline void reduce(const __m256i (&acc)[8], __m256i (&sums)[V]) {
  const __m256i a = sum_halves(acc), b = sum_halves(acc + 4);
  if constexpr (V == 1) {
    sums[0] = _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
  } else {
    // Half h of vector i is pixel 2 * i + h.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    sums[0] = _mm256_permutevar8x32_epi32(a, order);
    sums[1] = _mm256_permutevar8x32_epi32(b, order);
  }
}

void finish(const ConvRows& job, __m256i sums, int channel, int y, int x) {
  const int left = job.width - x, pixels = left < 8 ? left : 8;
  sums = _mm256_add_epi32(sums, _mm256_set1_epi32(job.start[channel]));
  if (job.out == nullptr && job.logits_pixel == 1 && pixels == 8) {
    const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(job.m[channel]));
    float* logits = job.logits + channel * job.logits_plane + y * job.logits_row + x;
    _mm256_storeu_ps(logits, _mm256_add_ps(product, _mm256_set1_ps(job.b[channel])));
    return;
  }
  alignas(32) uint32_t acc[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(acc), sums);
  for (int p = 0; p < pixels; ++p) store(job, y, x + p, channel, acc[p]);
}

struct Bytes {
  static constexpr int kChannels = 32;
  static __m256i multiply(const uint8_t* in, const int8_t* w) {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(load(in), load(w)), _mm256_set1_epi16(1));
  }
};

struct Pairs {
  static constexpr int kChannels = 16;
  static __m256i multiply(const uint8_t* in, const int8_t* w) {
    return _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in))),
                             _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w))));
  }
};

template <typename Arithmetic, int V>
__attribute__((noinline)) void rows(const ConvRows& job) {
  constexpr int kChannels = Arithmetic::kChannels;
  // A tap's weights fill a multiple of 64 bytes, but pixels of 16 or 32 bytes are repeated there.
  const int bytes = job.in_pixel == 16 || job.in_pixel == 32 ? static_cast<int>(job.in_pixel) : 4 * job.steps;
  const int chunks = (bytes + kChannels - 1) / kChannels;
  const ptrdiff_t tap = static_cast<ptrdiff_t>(job.steps) * 4, vector = V * job.in_pixel;
  const ptrdiff_t block = tap * job.tap_rows * job.tap_segments;
  for (int y = job.y0; y < job.y1; ++y) {
    for (int x = 0; x < job.width; x += 8 * V) {
      for (int channel = 0; channel < job.channels; ++channel) {
        const int8_t* w = static_cast<const int8_t*>(job.weights) + channel * block;
        __m256i acc[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) acc[i] = _mm256_setzero_si256();
        for (int r = 0; r < job.tap_rows; ++r) {
          for (int s = 0; s < job.tap_segments; ++s, w += tap) {
            const uint8_t* in = job.in + (y + r) * job.in_row + (x + s) * job.in_pixel;
            for (int chunk = 0; chunk < chunks; ++chunk, in += kChannels) {
#pragma GCC unroll 8
              for (int i = 0; i < 8; ++i) {
                acc[i] = _mm256_add_epi32(acc[i], Arithmetic::multiply(in + i * vector, w + kChannels * chunk));
              }
            }
          }
        }
        __m256i sums[V];
        reduce<V>(acc, sums);
        for (int i = 0; i < V && x + 8 * i < job.width; ++i) finish(job, sums[i], channel, y, x + 8 * i);
      }
    }
  }
}

}  // namespace

void dots_avx2_bytes(const ConvRows& job) {
  if (job.in_pixel == 16) {
    rows<Bytes, 2>(job);
  } else {
    rows<Bytes, 1>(job);
  }
}

void dots_avx2_pairs(const ConvRows& job) { rows<Pairs, 1>(job); }

}  // namespace unetq
