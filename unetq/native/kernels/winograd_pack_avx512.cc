#include <immintrin.h>

#include "winograd_weights.h"

namespace unetq {

namespace {

struct Transposer {
  // 16 lanes x 16 steps of 4 bytes, to steps x lanes: twice pairs of two, twice quarters of four.
  void operator()(const int8_t* from, int first, int last, uint8_t* to, size_t stride, int32_t* sums) const {
    __m512i a[16], b[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) a[i] = _mm512_load_si512(from + i * kRun);
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
      b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
      b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {  // a[i + k]: of quarter q of the steps, step 4 q + k of lanes i to i + 3
      a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
      a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
      a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
      a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const __m512i low = _mm512_shuffle_i32x4(a[k], a[4 + k], 0x44),
                    low2 = _mm512_shuffle_i32x4(a[8 + k], a[12 + k], 0x44);
      const __m512i high = _mm512_shuffle_i32x4(a[k], a[4 + k], 0xEE),
                    high2 = _mm512_shuffle_i32x4(a[8 + k], a[12 + k], 0xEE);
      b[k] = _mm512_shuffle_i32x4(low, low2, 0x88);
      b[4 + k] = _mm512_shuffle_i32x4(low, low2, 0xDD);
      b[8 + k] = _mm512_shuffle_i32x4(high, high2, 0x88);
      b[12 + k] = _mm512_shuffle_i32x4(high, high2, 0xDD);
    }
    __m512i sum = _mm512_load_si512(sums);
    for (int step = first; step < last; ++step, to += stride) {
      _mm512_storeu_si512(to, b[step]);
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), b[step]);
    }
    _mm512_store_si512(sums, sum);
  }
};

}  // namespace

void pack_winograd_avx512(const WeightSource& source, const Winograd& winograd, int first_out, int count,
                          void* weights) {
  pack_winograd_with(Transposer(), source, winograd, first_out, count, static_cast<uint8_t*>(weights));
}

}  // namespace unetq
