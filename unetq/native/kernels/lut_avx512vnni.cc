// Lookup tables on AVX-512: vpshufb looks up 64 output channels, one vpdpbusd makes a table.
#include "finish_avx512.h"
#include "lut.h"

namespace unetq {

namespace {

struct V {
  using Reg = __m512i;
  static constexpr int kLanes = 64;

  static Reg zero() { return _mm512_setzero_si512(); }
  static Reg load(const void* from) { return _mm512_loadu_si512(from); }
  static void store(void* to, Reg a) { _mm512_storeu_si512(to, a); }
  static Reg repeat1(uint8_t byte) { return _mm512_set1_epi8(static_cast<char>(byte)); }
  // In assembly, in this order: gcc 12 hoists the tables, and then sums go through memory.
  static Reg repeat16(const uint8_t* from) {
    Reg table;
    __asm__ volatile("vbroadcasti32x4 %1, %0" : "=v"(table) : "m"(*reinterpret_cast<const uint8_t (*)[16]>(from)));
    return table;
  }
  static void add_lookup(Reg& sum, Reg table, Reg index) {
    Reg found;
    __asm__ volatile("vpshufb %3, %2, %1\n\tvpaddb %1, %0, %0" : "+v"(sum), "=&v"(found) : "v"(table), "v"(index));
  }
  static Reg add8(Reg a, Reg b) { return _mm512_add_epi8(a, b); }
  static Reg add16(Reg a, Reg b) { return _mm512_add_epi16(a, b); }
  static Reg sub16(Reg a, Reg b) { return _mm512_sub_epi16(a, b); }
  static Reg bit_or(Reg a, Reg b) { return _mm512_or_si512(a, b); }
  static Reg bit_and(Reg a, Reg b) { return _mm512_and_si512(a, b); }
  static Reg shift_right4(Reg a) { return _mm512_srli_epi16(a, 4); }
  static Reg shift_left(Reg a, int bits) { return _mm512_sll_epi16(a, _mm_cvtsi32_si128(bits)); }
  static Reg even(Reg a) { return _mm512_and_si512(a, _mm512_set1_epi16(255)); }
  static Reg odd(Reg a) { return _mm512_srli_epi16(a, 8); }

  // 16-bit sums of even and of odd channels to wide[16 channels * stride].
  static void add_wide(const int16_t* narrow, int32_t* wide, int stride) {
    const Reg even = load(narrow), odd = load(narrow + 32);
    alignas(64) int16_t words[64];  // in order within 16-byte lanes: 8 channels of each of 4 from both halves
    store(words, _mm512_unpacklo_epi16(even, odd));
    store(words + 32, _mm512_unpackhi_epi16(even, odd));
    for (int lane = 0; lane < 4; ++lane, wide += stride) {
      const __m128i first = _mm_load_si128(reinterpret_cast<const __m128i*>(words + 8 * lane));
      const __m128i second = _mm_load_si128(reinterpret_cast<const __m128i*>(words + 32 + 8 * lane));
      const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
      store(wide, _mm512_add_epi32(load(wide), _mm512_cvtepi16_epi32(both)));
    }
  }

  static void finish(const ConvRows& job, const int32_t* acc, int channel, int y, int x, int pixels) {
    const __m512i* sums = reinterpret_cast<const __m512i*>(acc);
    if (job.out == nullptr) {
      finish_logits(job, sums, 1, channel, y, x, pixels);
    } else {
      finish_codes(job, sums, 1, channel, y, x, pixels);
    }
  }

  // Tables: entry e is the sum of 4 channels by the bits of e, as products with 0 and 1 (or -1 and 1).
  struct Maker {
    static constexpr int kChannels = 4;  // at once

    Maker(int raised, bool signs) : bias(_mm512_set1_epi32(raised)) {
      alignas(64) int8_t of[64];
      for (int i = 0; i < 64; ++i) of[i] = static_cast<int8_t>((i / 4 >> i % 4 & 1) != 0 ? 1 : (signs ? -1 : 0));
      factors = load(of);
    }

    void make(const uint8_t* from, uint64_t exist, uint8_t* to) const {
      uint32_t four;
      __builtin_memcpy(&four, from, 4);
      const Reg bytes = _mm512_set1_epi32(static_cast<int32_t>(four & static_cast<uint32_t>(exist)));
      const Reg sums = _mm512_dpbusd_epi32(bias, bytes, factors);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(sums));
    }

    Reg bias, factors;
  };
};

}  // namespace

void lut_signs_avx512vnni(const ConvRows& job) { lut_tables<V, Tables1, 8>(job, true); }
void lut_twos2_avx512vnni(const ConvRows& job) { lut_tables<V, Tables2, 8>(job, false); }
void lut_twos4_avx512vnni(const ConvRows& job) { lut_tables<V, Tables4, 4>(job, false); }
void lut_products_avx512vnni(const ConvRows& job) { lut_products<V, 8>(job); }

}  // namespace unetq
