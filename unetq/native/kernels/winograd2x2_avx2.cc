// Winograd F(2x2, 3x3) for plain AVX2 (winograd2x2_ymm.h).
//
// vpmaddubsw adds two products to 16 bits, where it saturates: V <= 254, so |U| of channels 2 k and 2 k + 1 must not
// exceed 129 together (winograd_allows). That leaves nothing for further sums in 16 bits: each is widened at once, 3
// instructions for 32 products, but 2.25 times fewer products than a direct convolution has.
#include "winograd2x2_ymm.h"

namespace unetq {

namespace {

using Four [[gnu::may_alias]] = int32_t;  // 4 channels

struct Dot {
  __m256i ones = _mm256_set1_epi16(1);

  // In assembly, because gcc 12 otherwise renames accumulators from one step to the next, and so keeps them in memory.
  void add(const uint8_t* from, const uint8_t* w, __m256i (&acc)[2]) const {
    __m256i bytes, sum;
    __asm__(
        "vpbroadcastd %4, %2\n\t"
        "vpmaddubsw %5, %2, %3\n\t"
        "vpmaddwd %7, %3, %3\n\t"
        "vpaddd %3, %0, %0\n\t"
        "vpmaddubsw %6, %2, %2\n\t"
        "vpmaddwd %7, %2, %2\n\t"
        "vpaddd %2, %1, %1"
        : "+x"(acc[0]), "+x"(acc[1]), "=&x"(bytes), "=&x"(sum)
        : "m"(*reinterpret_cast<const Four*>(from)), "m"(*reinterpret_cast<const __m256i*>(w)),
          "m"(*reinterpret_cast<const __m256i*>(w + 32)), "x"(ones));
  }
};

}  // namespace

void winograd2x2_avx2(const ConvRows& job) { convolve2x2<Dot>(Layout::kWinograd2x2Pairs, job); }

}  // namespace unetq
