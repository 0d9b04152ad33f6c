// The peak of AVX2, whose products of bytes are of 16 bits and have to be widened. Assembly, because a compiler would
// leave out what nobody reads.
#include <immintrin.h>

#include "peak.h"

namespace unetq {

double peak_avx2(int rounds) {
  constexpr int kChains = 10;  // with the three operands and a product each register is in use
  const __m256i bytes = _mm256_set1_epi8(1), weights = _mm256_set1_epi8(2), ones = _mm256_set1_epi16(1);
  __m256i acc[kChains];
#pragma GCC unroll 10
  for (int i = 0; i < kChains; ++i) acc[i] = _mm256_setzero_si256();
  for (int round = 0; round < rounds; ++round) {
#pragma GCC unroll 10
    for (int i = 0; i < kChains; ++i) {
      __m256i product;
      __asm__ volatile("vpmaddubsw %2, %3, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
                       : "+x"(acc[i]), "=&x"(product)
                       : "x"(weights), "x"(bytes), "x"(ones));
    }
  }
  return 32.0 * kChains * rounds;
}

}  // namespace unetq
