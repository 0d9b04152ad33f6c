// Codes of 1 to 7 bits, packed: what skips take in memory where bytes would be too many.
//
// 64 codes are 8 * bits bytes: for each part of 4, 2 or 1 bits that `bits` is the sum of, from the lowest bits of a
// code up, 8 * part bytes. Byte i of a part holds the codes i, i + 8 * part, i + 16 * part and so on, the first in its
// lowest bits: 64 codes are packed and unpacked by the same few vector instructions, whatever the part.
#pragma once

#include <cstddef>
#include <cstdint>

namespace unetq {

constexpr int kMaxPackedBits = 7;

// Of a row of codes.
size_t packed_bytes(int64_t codes, int bits);

// A row of pixels of `channels` bytes, `pixel` bytes apart; bytes are below 2^bits.
struct PixelRow {
  ptrdiff_t pixel = 0;
  int channels = 0, width = 0;
};
void pack_row(const uint8_t* codes, const PixelRow& row, int bits, uint8_t* packed);
void unpack_row(const uint8_t* packed, const PixelRow& row, int bits, uint8_t* codes);

}  // namespace unetq
