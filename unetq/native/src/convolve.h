// Drives a convolution kernel: weights unpacked panel by panel into scratch, rows shared out among threads.
#pragma once

#include "../kernels/select.h"
#include "parallel.h"

namespace unetq {

// Channels-last bytes; `data` is pixel (0, 0), around it a halo of half the kernel.
struct View {
  uint8_t* data = nullptr;
  int height = 0, width = 0, channels = 0;
  ptrdiff_t row = 0, pixel = 0;
};

struct ConvJob {
  View in, out;             // out.data is null for logits; its size counts anyway
  float* logits = nullptr;  // row 0 of channel 0
  ptrdiff_t logits_plane = 0;
  bool transposed = false;
  int side = 0;              // of the convolution; 2 for transposed
  int doubled = 0;           // first channels of the input that are (pack.h); y0 and y1 are even then
  View low;                  // what they are an upsampling of, to be read in their place; of no data: they are in `in`
  int wbits = 0, abits = 0;  // of weights and input
  bool binary = false, ternary = false;
  const uint8_t* packed = nullptr;
  size_t packed_bytes = 0;
  const float *m = nullptr, *b = nullptr;
  int in_zero = 0, out_zero = 0, lo = 0, hi = 0;
  int y0 = 0, y1 = 0;     // rows of the output to make
  bool expanded = false;  // the weights are in the scratch already, by the same layer (conv_fits_panel)
  bool lean = false;      // few weights are expanded at a time
};

// Bytes of scratch for a layer: what all threads share, and what each of them has.
struct ConvScratch {
  size_t shared = 0, thread = 0;
};

// Where they lie, both aligned to 64 bytes.
struct ConvPlace {
  uint8_t* layer = nullptr;
  uint8_t* threads = nullptr;
};

// Of a layer: what decides how its weights are packed. `side` x `side` taps a pixel (1 for transposed).
struct ConvShape {
  int side = 0, in_channels = 0, in_pixel = 0, doubled = 0, out_channels = 0;
};

ConvScratch conv_scratch(const Kernel& kernel, const ConvShape& shape, bool lean);

// The codes of all weights of a job; of parity (dy, dx) for transposed.
WeightSource weight_source(const ConvJob& job, int dy, int dx);

// Whether all of a layer's weights are expanded at once.
bool conv_fits_panel(const Kernel& kernel, const ConvShape& shape, bool lean);

void run_conv(const Kernel& kernel, const ConvJob& job, const ConvPlace& place, Pool* pool);

}  // namespace unetq
