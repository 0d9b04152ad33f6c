// The peak of AVX-VNNI. Assembly, because a compiler would leave out what nobody reads.
#include <immintrin.h>

#include "dot_avxvnni.h"
#include "peak.h"

namespace unetq {

double peak_avxvnni(int rounds) {
  constexpr int kChains = 12;  // two a cycle, five cycles each, and some to spare
  const __m256i bytes = _mm256_set1_epi8(1), weights = _mm256_set1_epi8(2);
  __m256i acc[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) acc[i] = _mm256_setzero_si256();
  for (int round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i)
      __asm__ volatile(UNETQ_VPDPBUSD " %1, %2, %0" : "+x"(acc[i]) : "x"(bytes), "x"(weights));
  }
  return 32.0 * kChains * rounds;
}

}  // namespace unetq
