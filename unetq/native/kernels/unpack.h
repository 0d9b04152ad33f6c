// Where 16 packed weight codes of any width lie in 16 bytes: a byte shuffle and a multiplication bring them up.
// Static: each file has its own copy.
#pragma once

#include <cstdint>

namespace unetq {

namespace {  // NOLINT(misc-anonymous-namespace-in-header)

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

}  // namespace unetq
