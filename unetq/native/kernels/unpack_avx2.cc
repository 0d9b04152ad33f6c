// Expands 16 packed weight codes of any width at a time, and sets those of 16 outputs side by side.
#include <immintrin.h>

#include "pack.h"
#include "unpack.h"

namespace unetq {

int unpack_codes_avx2(const WeightSource& source, size_t first, int count, int8_t* out) {
  const int bits = source.bits;
  const size_t bit = first * static_cast<size_t>(bits);
  const Spread& spread = kSpreads.of[bits][bit % 8];
  const __m256i bytes = _mm256_load_si256(reinterpret_cast<const __m256i*>(spread.bytes));
  const __m256i factor = _mm256_load_si256(reinterpret_cast<const __m256i*>(spread.factor));
  const __m128i down = _mm_cvtsi32_si128(16 - bits);
  const __m128i one = _mm_set1_epi8(1);
  size_t at = bit / 8;
  int done = 0;
  // 16 codes take 2 * bits bytes, so the shift stays.
  for (; done + 16 <= count && at + 16 <= source.packed_bytes; done += 16, at += 2 * static_cast<size_t>(bits)) {
    const __m128i stream = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source.packed + at));
    const __m256i top = _mm256_mullo_epi16(_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(stream), bytes), factor);
    const __m256i wide = _mm256_sra_epi16(top, down);
    __m128i codes = _mm_packs_epi16(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    // One bit, sign-extended, is 0 or -1, and means -1 or +1.
    if (source.binary) codes = _mm_sub_epi8(_mm_sub_epi8(_mm_setzero_si128(), one), _mm_add_epi8(codes, codes));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + done), codes);
  }
  return done;
}

int interleave_avx2(const int8_t* codes, int stride, int steps, int8_t* out) {
  int done = 0;
  for (; done + 8 <= steps; done += 8, codes += 32, out += 8 * 64) {
    for (int half = 0; half < 2; ++half) {  // 8 outputs by 8 steps of 4 codes
      __m256i lane[8], two[8], four[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        lane[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + (8 * half + i) * stride));
      }
#pragma GCC unroll 4
      for (int i = 0; i < 8; i += 2) {
        two[i] = _mm256_unpacklo_epi32(lane[i], lane[i + 1]);
        two[i + 1] = _mm256_unpackhi_epi32(lane[i], lane[i + 1]);
      }
#pragma GCC unroll 2
      for (int i = 0; i < 8; i += 4) {
        four[i] = _mm256_unpacklo_epi64(two[i], two[i + 2]);
        four[i + 1] = _mm256_unpackhi_epi64(two[i], two[i + 2]);
        four[i + 2] = _mm256_unpacklo_epi64(two[i + 1], two[i + 3]);
        four[i + 3] = _mm256_unpackhi_epi64(two[i + 1], two[i + 3]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        __m256i* to = reinterpret_cast<__m256i*>(out + 64 * i + 32 * half);
        _mm256_storeu_si256(to, _mm256_permute2x128_si256(four[i], four[i + 4], 0x20));
        _mm256_storeu_si256(to + 8, _mm256_permute2x128_si256(four[i], four[i + 4], 0x31));
      }
    }
  }
  return done;
}

}  // namespace unetq
