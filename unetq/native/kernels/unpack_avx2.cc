// Expands 16 packed weight codes of any width at a time.
#include <immintrin.h>

#include "pack.h"

namespace unetq {

namespace {

// For codes of `bits` bits that start at bit `shift` of a byte: code i lies within the 16 bits from byte (i * bits +
// shift) / 8 on, because 7 + 8 <= 16. `bytes` fetches these two, `factor` moves the code to the top of the 16 bits.
struct Spread {
  alignas(32) uint8_t bytes[32];
  alignas(32) uint16_t factor[16];
};

struct Spreads {
  Spread of[9][8];  // [bits][shift]
};

constexpr Spreads make_spreads() {
  Spreads all{};
  for (int bits = 1; bits <= 8; ++bits) {
    for (int shift = 0; shift < 8; ++shift) {
      for (int i = 0; i < 16; ++i) {
        const int byte = (i * bits + shift) / 8, low = (i * bits + shift) % 8;
        all.of[bits][shift].bytes[2 * i] = static_cast<uint8_t>(byte);
        // The 17th byte exists only in a shuffle index; 8-bit codes start a byte and need none of it.
        all.of[bits][shift].bytes[2 * i + 1] = static_cast<uint8_t>(byte + 1 < 16 ? byte + 1 : 0x80);
        all.of[bits][shift].factor[i] = static_cast<uint16_t>(1u << (16 - bits - low));
      }
    }
  }
  return all;
}

constexpr Spreads kSpreads = make_spreads();

}  // namespace

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

}  // namespace unetq
