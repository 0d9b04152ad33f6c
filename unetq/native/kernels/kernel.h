// The contract of every kernel. Kernels are raw-pointer functions: they allocate nothing, know no model, plan or
// thread.
//
// Storage: codes are unsigned bytes, channels last, byte = code + zero. A buffer has a halo of `zero` bytes around the
// image, and its channel stride (`in_pixel`) may exceed the channels in use: producers of a concatenation write side by
// side. Bytes of channels that do not exist meet zero weights.
//
// conv (odd side k, stride 1, zero padding) and transposed (2x2, stride 2, as four 1x1 convolutions, one a parity):
//
//   acc[y][x][o] = start[o] + sum over r, s, c of w[o][r][s][c] * in[y + r][x + s][c]      int32, modulo 2^32
//   start[o]     = -zero_in * sum of w[o]                                                  takes `zero` out of the
//   bytes out[y][x][o] = zero_out + rint(min(max(float32(acc) * m[o] + b[o], lo), hi))           two float32 roundings,
//   no fma logit        = float32(acc) * m[o] + b[o]
//
// The model promises |acc| < 2^31 without the zero point, so the modular sum is the true one. lo and hi are integers:
// clamping before rounding gives the same code as after it, and keeps the conversion to int in range.
//
// Files with their own ISA flags must not instantiate templates or inline functions of the standard library: the linker
// may keep that copy for everybody, and it would not run on an older CPU.
#pragma once

#include <cstddef>
#include <cstdint>

namespace unetq {

// Of one architecture: a CPU that has one has all before it, but for kAvxVnni, which many with AVX-512 lack and none of
// them needs. kAvx512Icelake: VPOPCNTDQ and VBMI, too (Ice Lake, Zen 4 and later). kArmv7: NEON of 32-bit ARM; kNeon:
// of 64-bit ARM, and the next two its extensions of Armv8.2 and later. kAvx512Amx: tiles of bytes, too (Xeons from
// Sapphire Rapids on).
enum class Isa { kScalar, kAvx2, kAvxVnni, kAvx512Vnni, kAvx512Icelake, kAvx512Amx, kArmv7, kNeon, kDotprod, kI8mm };

// Whether rows of one instruction set are for a CPU of another.
constexpr bool runs_on(Isa row, Isa cpu) { return row <= cpu && (row != Isa::kAvxVnni || cpu == Isa::kAvxVnni); }

// Rows [y0, y1) of one panel of output channels. Strides are in bytes for codes and in elements for logits.
struct ConvRows {
  const uint8_t* in = nullptr;  // first tap of output pixel (0, 0)
  ptrdiff_t in_row = 0, in_pixel = 0;
  // Taps: `tap_rows` rows of `tap_segments` runs of 4 * steps neighbouring bytes; run (r, s) of output pixel (y, x)
  // starts at in + (y + r) * in_row + (x + s) * in_pixel. Where pixels are dense a row of taps is one run.
  int tap_rows = 0, tap_segments = 0, steps = 0;
  int doubled = 0;  // first steps of doubled channels (pack.h): y0 and y1 are even then
  // Winograd: pixel (-1, -1) of the image that they are an upsampling of, for channels in multiples of 64; null: they
  // are in `in`.
  const uint8_t* low = nullptr;
  ptrdiff_t low_row = 0, low_pixel = 0;
  const void* weights = nullptr;           // packed for the kernel's layout (pack.h)
  const int32_t* start = nullptr;          // Winograd: among the weights
  const float *m = nullptr, *b = nullptr;  // like start: padded to whole blocks of lanes
  int channels = 0;                        // outputs of this panel, at most
  int bits = 16;                           // weight bits + activation bits: |w * in| < 2^(bits - 1)
  int abits = 8, in_channels = 0;
  int width = 0, y0 = 0, y1 = 0;
  float lo = 0, hi = 0;
  int zero = 0;            // zero_out
  uint8_t* out = nullptr;  // codes, or null for logits
  ptrdiff_t out_row = 0, out_pixel = 0;
  float* logits = nullptr;  // planar
  ptrdiff_t logits_row = 0, logits_pixel = 0, logits_plane = 0;
  uint8_t* scratch = nullptr;  // of this thread, aligned to 64 bytes (Winograd)
  int block_tiles = 0;         // that it has room for (Winograd)
};

// Rows [y0, y1) of the output of an operation without weights (graph.py has the formulas). argmax writes a label a
// pixel: of one channel 1 where it is above 0, of several the first of the largest. No NaN.
struct MapRows {
  const uint8_t* in = nullptr;  // pixel (0, 0)
  ptrdiff_t in_row = 0, in_pixel = 0;
  int in_height = 0, in_width = 0;
  uint8_t* out = nullptr;
  ptrdiff_t out_row = 0, out_pixel = 0;
  int width = 0, channels = 0, y0 = 0, y1 = 0;
  int zero = 0;
  const float* image = nullptr;  // quantize, argmax: planar float32
  ptrdiff_t image_plane = 0;     // elements; a row has `width`
  float m = 0, lo = 0, hi = 0;
};

using ConvFn = void (*)(const ConvRows&);
using MapFn = void (*)(const MapRows&);

// The two pixels behind a row's right halo (the next row's left halo and first pixel, or the first two behind the
// buffer) hold codes, whichever: Winograd of 4 columns adds them to bytes and takes them away again, which is exact
// only if they are not larger than codes are.
//
// Every kernel may read this many pixels beyond the end of a row, and this many bytes beyond that.
constexpr int kOverreadPixels = 32;
constexpr int kOverreadBytes = 128;

#define UNETQ_CONV(name, op, isa, side, bits, max_out, layout, function) void function(const ConvRows&);
#define UNETQ_LOWBIT(name, op, isa, side, codes, wbits, abits, worth, layout, function) void function(const ConvRows&);
#define UNETQ_MAP(name, op, isa, function) void function(const MapRows&);
#include "kernels.inc"
#undef UNETQ_CONV
#undef UNETQ_LOWBIT
#undef UNETQ_MAP

}  // namespace unetq
