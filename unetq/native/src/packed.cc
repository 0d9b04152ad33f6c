#include "packed.h"

#include <algorithm>
#include <cstring>

namespace unetq {

namespace {

constexpr int kBlock = 64;

constexpr int kWords = kBlock / 8;

// 8 codes a word, shifted together: what is masked before leaves no bit in another code's byte. Plain loops of known
// length, which the compiler turns into vector instructions of any CPU's baseline.
template <int kPart>
uint64_t* pack_part(const uint64_t* codes, int shift, uint64_t* packed) {
  constexpr uint64_t kMask = 0x0101010101010101 * ((1 << kPart) - 1);
  for (int i = 0; i < kPart; ++i) {
    uint64_t word = 0;
    for (int k = 0; k < 8 / kPart; ++k) word |= ((codes[i + k * kPart] >> shift) & kMask) << (k * kPart);
    packed[i] = word;
  }
  return packed + kPart;
}

template <int kPart>
const uint64_t* unpack_part(const uint64_t* packed, int shift, uint64_t* codes) {
  constexpr uint64_t kMask = 0x0101010101010101 * ((1 << kPart) - 1);
  for (int k = 0; k < 8 / kPart; ++k) {
    for (int i = 0; i < kPart; ++i) codes[i + k * kPart] |= ((packed[i] >> (k * kPart)) & kMask) << shift;
  }
  return packed + kPart;
}

void pack_block(const uint8_t* codes, int bits, uint8_t* packed) {
  uint64_t from[kWords], to[kWords] = {};
  std::memcpy(from, codes, kBlock);
  uint64_t* next = to;
  if ((bits & 4) != 0) next = pack_part<4>(from, 0, next);
  if ((bits & 2) != 0) next = pack_part<2>(from, bits & 4, next);
  if ((bits & 1) != 0) pack_part<1>(from, bits & 6, next);
  std::memcpy(packed, to, 8 * static_cast<size_t>(bits));
}

void unpack_block(const uint8_t* packed, int bits, uint8_t* codes) {
  uint64_t from[kWords], to[kWords] = {};
  std::memcpy(from, packed, 8 * static_cast<size_t>(bits));
  const uint64_t* next = from;
  if ((bits & 4) != 0) next = unpack_part<4>(next, 0, to);
  if ((bits & 2) != 0) next = unpack_part<2>(next, bits & 4, to);
  if ((bits & 1) != 0) unpack_part<1>(next, bits & 6, to);
  std::memcpy(codes, to, kBlock);
}

// Walks through a row's codes, some at a time, from pixel to pixel.
class Walk {
 public:
  explicit Walk(const PixelRow& row) : row_(row) {}

  // Calls move(place of the codes in the row, number among the block's, how many) for the next block's pieces.
  template <typename Move>
  void block(const Move& move) {
    for (int done = 0; done < kBlock && x_ < row_.width;) {
      const int some = std::min(kBlock - done, row_.channels - channel_);
      move(x_ * row_.pixel + channel_, done, some);
      done += some;
      channel_ += some;
      if (channel_ < row_.channels) continue;
      channel_ = 0;
      ++x_;
    }
  }
  bool ends() const { return x_ == row_.width; }

 private:
  const PixelRow& row_;
  int x_ = 0, channel_ = 0;
};

// Most pieces are of 16 bytes or more: a copy of known length is a few instructions, another one a call.
void copy(uint8_t* to, const uint8_t* from, int bytes) {
  for (; bytes >= 16; bytes -= 16, to += 16, from += 16) std::memcpy(to, from, 16);
  if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}

}  // namespace

size_t packed_bytes(int64_t codes, int bits) {
  return static_cast<size_t>((codes + kBlock - 1) / kBlock) * 8 * static_cast<size_t>(bits);
}

void pack_row(const uint8_t* codes, const PixelRow& row, int bits, uint8_t* packed) {
  uint8_t block[kBlock] = {};
  for (Walk walk(row); !walk.ends(); packed += ptrdiff_t{8} * bits) {
    walk.block([&](ptrdiff_t at, int i, int some) { copy(block + i, codes + at, some); });
    pack_block(block, bits, packed);
  }
}

void unpack_row(const uint8_t* packed, const PixelRow& row, int bits, uint8_t* codes) {
  uint8_t block[kBlock];
  for (Walk walk(row); !walk.ends(); packed += ptrdiff_t{8} * bits) {
    unpack_block(packed, bits, block);
    walk.block([&](ptrdiff_t at, int i, int some) { copy(codes + at, block + i, some); });
  }
}

}  // namespace unetq
