// The table as data, and the choice of a row.
#pragma once

#include <vector>

#include "../src/model.h"
#include "kernel.h"
#include "pack.h"

namespace unetq {

// What kernels that work bit by bit can do; the defaults are any other kernel's.
enum class WeightCodes { kAny, kTwos, kSigns };  // kTwos: no binary weights; kSigns: only binary and ternary ones

struct LowBit {
  WeightCodes codes = WeightCodes::kAny;
  int wbits = 8, abits = 8, max_in = 1 << 20;  // at most
  int worth = 0;                               // channels from which it is faster than the rows behind it
};

struct Kernel {
  const char* name;
  OpKind op;
  Isa isa;
  int side;  // 0: any odd side, or no kernel at all
  int bits;
  int max_out;
  LowBit lowbit;
  Layout layout;
  ConvFn conv;  // one of the two is set
  MapFn map;
};

const std::vector<Kernel>& kernels();
const Kernel* find_kernel(const std::string& name);

// What a kernel must be able to do.
struct Demand {
  OpKind op;
  int side = 0;
  int wbits = 0;
  int abits = 0;
  int out_channels = 0;
  const WeightSource* source = nullptr;  // of a convolution
  const float *m = nullptr, *b = nullptr;
  int doubled = 0;  // input channels that are (pack.h)
};

// Whether a row can do it, exactly.
bool can(const Kernel& kernel, const Demand& demand);

// Products of bytes that a convolution does for each of the direct one; 0: it multiplies otherwise. `doubled` of the
// input's channels are (pack.h).
double products_of(const Kernel& kernel, int channels, int doubled);

// The rows that can do it with this ISA in order of preference; the scalar kernels can do anything.
std::vector<const Kernel*> candidates(const Demand& demand, Isa isa);

}  // namespace unetq
