// The peak of AVX-512 VNNI. Assembly, because a compiler would leave out what nobody reads.
#include <immintrin.h>

#include "peak.h"

namespace unetq {

double peak_avx512vnni(int rounds) {
  constexpr int kChains = 12;  // two a cycle, five cycles each, and some to spare
  const __m512i bytes = _mm512_set1_epi8(1), weights = _mm512_set1_epi8(2);
  __m512i acc[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) acc[i] = _mm512_setzero_si512();
  for (int round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) __asm__ volatile("vpdpbusd %1, %2, %0" : "+v"(acc[i]) : "v"(bytes), "v"(weights));
  }
  return 64.0 * kChains * rounds;
}

}  // namespace unetq
