// The table as data, and the choice of a row.
#pragma once

#include <vector>

#include "../src/model.h"
#include "kernel.h"
#include "pack.h"

namespace unetq {

struct Kernel {
  const char* name;
  OpKind op;
  Isa isa;
  int side;  // 0: any odd side, or no kernel at all
  int bits;
  int max_out;
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
};

// The first row that can do it with this ISA; null where none can (a 1-row table of scalar kernels always can).
const Kernel* select_kernel(const Demand& demand, Isa isa);

}  // namespace unetq
