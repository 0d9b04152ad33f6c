// One row of the table on made-up buffers: for the self-test, for the tests that Python generates from the table, and
// for measuring a kernel alone.
#pragma once

#include <cstdint>
#include <vector>

#include "../kernels/select.h"
#include "parallel.h"

namespace unetq {

struct TrialSettings {
  int lo = 0, hi = 255, in_zero = 0, out_zero = 0;
  int wbits = 8, abits = 8;
  int in_stride = 0, in_offset = 0, out_stride = 0, out_offset = 0;  // bytes a pixel (0: as the planner), first channel
  int out_height = 0, out_width = 0;                                 // upsampling, transposed: cut to it
  int logits = 0, ternary = 0, threads = 1, repeats = 1;
  int doubled = 0;  // first channels, as of a nearest upsampling (pack.h): a multiple of 4, fewer than all
  int low = 0;      // Winograd: these, then a multiple of 64, are given as before the upsampling
};

// Planar [channels, height, width]; codes, or for kQuantize an image.
struct TrialInput {
  const int16_t* codes = nullptr;
  const float* image = nullptr;
  int channels = 0, height = 0, width = 0;
};

struct TrialWeights {
  const int8_t* codes = nullptr;  // [out][side][side][in]
  int out = 0, side = 0;
  const float *m = nullptr, *b = nullptr;
};

struct TrialResult {
  int channels = 0, height = 0, width = 0;
  std::vector<int16_t> codes;  // planar; one of the two is filled
  std::vector<float> logits;
  double seconds = 0;  // the fastest of the repeats; one thread's own time, with several that on the wall
};

// Whether the row is exact for these numbers, and this CPU has its ISA.
bool trial_fits(const Kernel& kernel, const TrialInput& in, const TrialWeights& weights, const TrialSettings& set);

// std::invalid_argument: the numbers do not fit each other or the kernel; std::runtime_error: the kernel wrote outside
// its output.
TrialResult try_conv(const Kernel& kernel, const TrialInput& in, const TrialWeights& weights, const TrialSettings& set);
TrialResult try_map(const Kernel& kernel, const TrialInput& in, float m, const TrialSettings& set);

// 10^9 multiply-accumulates a second that this CPU's own instruction for bytes does with all threads of a pool
// (peak.h); 0 where that is not known.
double peak_gmacs(Isa isa, Pool* pool);

// Bits that a row takes, whatever the weights, or if their transforms allow it (winograd.h).
struct BitPair {
  int wbits, abits;
  bool checked;
};
std::vector<BitPair> bit_pairs(const Kernel& kernel);

}  // namespace unetq
