// Lookup tables on AVX2: vpshufb looks up 32 output channels.
#include "finish_avx2.h"
#include "lut.h"

namespace unetq {

namespace {

struct V {
  using Reg = __m256i;
  static constexpr int kLanes = 32;

  static Reg zero() { return _mm256_setzero_si256(); }
  static Reg load(const void* from) { return _mm256_loadu_si256(static_cast<const Reg*>(from)); }
  static void store(void* to, Reg a) { _mm256_storeu_si256(static_cast<Reg*>(to), a); }
  static Reg repeat1(uint8_t byte) { return _mm256_set1_epi8(static_cast<char>(byte)); }
  // In assembly, in this order: gcc 12 hoists the tables, and then sums go through memory.
  static Reg repeat16(const uint8_t* from) {
    Reg table;
    __asm__ volatile("vbroadcasti128 %1, %0" : "=x"(table) : "m"(*reinterpret_cast<const uint8_t (*)[16]>(from)));
    return table;
  }
  static void add_lookup(Reg& sum, Reg table, Reg index) {
    Reg found;
    __asm__ volatile("vpshufb %3, %2, %1\n\tvpaddb %1, %0, %0" : "+x"(sum), "=&x"(found) : "x"(table), "x"(index));
  }
  static Reg add8(Reg a, Reg b) { return _mm256_add_epi8(a, b); }
  static Reg add16(Reg a, Reg b) { return _mm256_add_epi16(a, b); }
  static Reg sub16(Reg a, Reg b) { return _mm256_sub_epi16(a, b); }
  static Reg bit_or(Reg a, Reg b) { return _mm256_or_si256(a, b); }
  static Reg bit_and(Reg a, Reg b) { return _mm256_and_si256(a, b); }
  static Reg shift_right4(Reg a) { return _mm256_srli_epi16(a, 4); }
  static Reg shift_left(Reg a, int bits) { return _mm256_slli_epi16(a, bits); }
  static Reg even(Reg a) { return _mm256_and_si256(a, _mm256_set1_epi16(255)); }
  static Reg odd(Reg a) { return _mm256_srli_epi16(a, 8); }

  // 16-bit sums of even and of odd channels to wide[16 channels * stride].
  static void add_wide(const int16_t* narrow, int32_t* wide, int stride) {
    const Reg even = load(narrow), odd = load(narrow + 16);
    const Reg first = _mm256_unpacklo_epi16(even, odd), second = _mm256_unpackhi_epi16(even, odd);
    add8wide(wide, _mm256_castsi256_si128(first));
    add8wide(wide + 8, _mm256_castsi256_si128(second));
    add8wide(wide + stride, _mm256_extracti128_si256(first, 1));
    add8wide(wide + stride + 8, _mm256_extracti128_si256(second, 1));
  }

  static void add8wide(int32_t* wide, __m128i words) {
    store(wide, _mm256_add_epi32(load(wide), _mm256_cvtepi16_epi32(words)));
  }

  static void finish(const ConvRows& job, const int32_t* acc, int channel, int y, int x, int pixels) {
    finish_pixels(job, reinterpret_cast<const __m256i*>(acc), channel, y, x, pixels);
  }

  // Tables: entry e is the sum of 4 channels by the bits of e, as products with 0 and 1 (or -1 and 1).
  struct Maker {
    static constexpr int kChannels = 8;  // at once

    Maker(int raised, bool signs) : bias(repeat1(static_cast<uint8_t>(raised))) {
      for (int c = 0; c < 4; ++c) {
        alignas(32) int8_t of[32], from[32];
        for (int i = 0; i < 32; ++i) {
          of[i] = static_cast<int8_t>((i >> c & 1) != 0 ? 1 : (signs ? -1 : 0));
          from[i] = static_cast<int8_t>(i / 16 * 4 + c);
        }
        factor[c] = load(of);
        channel[c] = load(from);
      }
    }

    void make(const uint8_t* from, uint64_t exist, uint8_t* to) const {
      uint64_t eight;
      __builtin_memcpy(&eight, from, 8);
      const Reg bytes = _mm256_set1_epi64x(static_cast<int64_t>(eight & exist));
      Reg sum = bias;
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) {
        sum = add8(sum, _mm256_sign_epi8(_mm256_shuffle_epi8(bytes, channel[c]), factor[c]));
      }
      store(to, sum);
    }

    Reg bias, factor[4], channel[4];
  };
};

}  // namespace

// Sums, indices and a table fill the 16 registers.
void lut_signs_avx2(const ConvRows& job) { lut_tables<V, Tables1, 8>(job, true); }
void lut_twos2_avx2(const ConvRows& job) { lut_tables<V, Tables2, 4>(job, false); }
void lut_twos4_avx2(const ConvRows& job) { lut_tables<V, Tables4, 2>(job, false); }
void lut_products_avx2(const ConvRows& job) { lut_products<V, 8>(job); }

}  // namespace unetq
