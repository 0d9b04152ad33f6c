#include <immintrin.h>

#include "winograd_weights.h"

namespace unetq {

namespace {

inline __m512i twice(__m512i a) { return _mm512_add_epi8(a, a); }

// kAxis2.g: |U| <= 127 (winograd_allows), so sums modulo 256 do.
inline void weigh2(__m512i a, __m512i b, __m512i c, __m512i* to) {
  const __m512i ends = _mm512_add_epi8(a, c);
  to[0] = twice(a);
  to[1] = _mm512_add_epi8(ends, b);
  to[2] = _mm512_sub_epi8(ends, b);
  to[3] = twice(c);
}

// kAxis3.g.
inline void weigh3(__m512i a, __m512i b, __m512i c, __m512i* to) {
  const __m512i ends = _mm512_add_epi8(a, c), all = _mm512_add_epi8(ends, b), c2 = twice(c);
  to[0] = _mm512_add_epi8(twice(a), a);
  to[1] = _mm512_add_epi8(twice(all), all);
  to[2] = _mm512_sub_epi8(ends, b);
  to[3] = _mm512_add_epi8(a, twice(_mm512_add_epi8(b, c2)));
  to[4] = twice(_mm512_add_epi8(c2, c));
}

// kAxis4.g.
inline void weigh4(__m512i a, __m512i b, __m512i c, __m512i* to) {
  const __m512i a2 = twice(a), b2 = twice(b), c2 = twice(c), c4 = twice(c2);
  const __m512i ends = _mm512_add_epi8(a2, c2), far = _mm512_add_epi8(a, c4);
  to[0] = _mm512_add_epi8(twice(a2), a2);
  to[1] = _mm512_add_epi8(ends, b2);
  to[2] = _mm512_sub_epi8(ends, b2);
  to[3] = _mm512_add_epi8(far, b2);
  to[4] = _mm512_sub_epi8(far, b2);
  to[5] = _mm512_add_epi8(c4, c2);
}

template <int OUTPUTS>
inline void weigh_axis(__m512i a, __m512i b, __m512i c, __m512i* to) {
  if constexpr (OUTPUTS == 1) {
    to[0] = a;
    to[1] = b;
    to[2] = c;
  } else if constexpr (OUTPUTS == 2) {
    weigh2(a, b, c, to);
  } else if constexpr (OUTPUTS == 3) {
    weigh3(a, b, c, to);
  } else {
    weigh4(a, b, c, to);
  }
}

template <int HIGH, int WIDE>
inline void transform_all(const int8_t (&taps)[9][kRun], int8_t (&u)[30][kRun]) {
  __m512i down[3][HIGH + 2];
#pragma GCC unroll 3
  for (int s = 0; s < 3; ++s) {
    __m512i g[3];
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) g[r] = _mm512_load_si512(taps[3 * r + s]);
    weigh_axis<HIGH>(g[0], g[1], g[2], down[s]);
  }
#pragma GCC unroll 6
  for (int i = 0; i < HIGH + 2; ++i) {
    __m512i row[WIDE + 2];
    weigh_axis<WIDE>(down[0][i], down[1][i], down[2][i], row);
#pragma GCC unroll 6
    for (int j = 0; j < WIDE + 2; ++j) _mm512_store_si512(u[i * (WIDE + 2) + j], row[j]);
  }
}

struct Wide {
  void transform(const Winograd& winograd, const int8_t (&taps)[9][kRun], int8_t (&u)[30][kRun]) const {
    if (winograd.y->outputs == 1) {
      transform_all<1, 2>(taps, u);
    } else if (winograd.x->outputs == 2) {
      transform_all<2, 2>(taps, u);
    } else if (winograd.x->outputs == 3) {
      transform_all<4, 3>(taps, u);
    } else {
      transform_all<2, 4>(taps, u);
    }
  }

  // 16 lanes x 16 steps of 4 bytes, to steps x lanes: twice pairs of two, twice quarters of four.
  void put(const int8_t* from, int first, int last, uint8_t* to, size_t stride, int32_t* sums) const {
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
  pack_winograd_with(Wide(), source, winograd, first_out, count, static_cast<uint8_t*>(weights));
}

}  // namespace unetq
