// Weights stay packed at their own width in memory (docs/model-file.md) and are expanded into scratch at every call, a
// panel of output channels at a time: reading 4-bit weights and expanding them costs less than keeping bytes of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel.h"

namespace unetq {

// Block = `lanes` output channels. All numbers of a block stand in the order a kernel reads them.
enum class Layout {
  kNone,
  kBytes1,       // int8 [block][run][step][1 lane][4 channels]
  kBytes16,      // int8 [block][run][step][16 lanes][4 channels]
  kPairs16,      // int16 [block][run][step][channels 0 and 2, then 1 and 3][16 lanes][2]
  kDots,         // int8 [output][tap][multiple of 64 channels]; for pixels of 16 or 32 bytes repeated to fill 64
  kWinograd2x2,  // winograd.h
  kWinograd1x2,
  kWinograd2x4,
  kWinograd4x3,
  kWinograd2x2Pairs,
  kWinograd2x2Fours,  // of signed V: positions one by one, 4, 8 or 16 channels side by side
  kWinograd2x2Eights,
  kWinograd2x2Sixteens,
  kWinograd2x4Fours,
  kWinograd2x4Eights,
  kWinograd2x4Sixteens,
  kTwosPlanes16,   // lowbit.h
  kSignPlanes16,   // where weights are 1, and where they are not 0
  kSplitPlanes16,  // where weights are 1, and where they are -1
  kSignTables16,
  kTwosTables16x2,
  kTwosTables16x3,
  kSignTables32,
  kTwosTables32x2,
  kTwosTables32x4,
  kProducts32,
  kSignTables64,
  kTwosTables64x2,
  kTwosTables64x4,
  kProducts64,
};

int lanes_of(Layout layout);

// Taps of one output pixel as runs of neighbouring bytes (kernel.h).
struct Taps {
  int rows = 0, segments = 0, steps = 0;
  int run_pixels = 1;  // pixels side by side in a run
  int doubled = 0;     // first steps of doubled channels, where the kernels of the layout make use of them
};

// Dense pixels (stride = channels, or that rounded up to 4) make one run of a row of taps: fewer, longer loops, and
// with one or two input channels fewer multiplications than runs padded to 4 bytes a pixel.
//
// The first `doubled` channels, a multiple of 4 and not all of them, come from a nearest upsampling of an image of even
// height and width: 2 x 2 pixels, from even rows and columns on, are the same.
Taps taps_of(Layout layout, int side, int channels, ptrdiff_t in_pixel, int doubled);

// Where the codes of one convolution lie in their bit stream.
struct WeightSource {
  const uint8_t* packed = nullptr;
  size_t packed_bytes = 0;
  int bits = 0;
  bool binary = false;    // 0 is -1, 1 is +1; else two's complement
  bool ternary = false;   // never -2
  size_t out_stride = 0;  // codes from one output channel to the next
  size_t first = 0;       // code of tap (0, 0), channel 0 of output 0
  int side = 0;           // taps are side x side
  int channels = 0, doubled = 0;
  int in_pixel = 0;
  int in_zero = 0;
  int abits = 0;
  Isa isa = Isa::kScalar;  // what may be used to expand them
};

// `count` codes from number `first` of the stream on.
void unpack_codes(const WeightSource& source, size_t first, int count, int8_t* out);

// The same for a first part of them, 16 at a time and never beyond the stream's end; returns how many.
int unpack_codes_avx2(const WeightSource& source, size_t first, int count, int8_t* out);
int unpack_codes_neon(const WeightSource& source, size_t first, int count, int8_t* out);

// Sets steps of 4 codes of 16 outputs, `stride` bytes from one to the next, side by side; 8 steps at a time, returns
// how many.
int interleave_avx2(const int8_t* codes, int stride, int steps, int8_t* out);

size_t block_bytes(Layout layout, const Taps& taps);

// Packs the block of outputs [first_out, first_out + count), count <= lanes, and its accumulators' start values.
void pack_block(const WeightSource& source, Layout layout, int first_out, int count, void* weights, int32_t* start);

}  // namespace unetq
