#include "select.h"

namespace unetq {

const std::vector<Kernel>& kernels() {
  static const std::vector<Kernel> table = {
#define UNETQ_CONV(name, op, isa, side, bits, max_out, layout, function) \
  {#name, OpKind::op, Isa::isa, side, bits, max_out, Layout::layout, function, nullptr},
#define UNETQ_MAP(name, op, isa, function) \
  {#name, OpKind::op, Isa::isa, 0, 16, 1 << 20, Layout::kNone, nullptr, function},
#include "kernels.inc"
#undef UNETQ_CONV
#undef UNETQ_MAP
  };
  return table;
}

const Kernel* find_kernel(const std::string& name) {
  for (const Kernel& kernel : kernels()) {
    if (name == kernel.name) return &kernel;
  }
  return nullptr;
}

const Kernel* select_kernel(const Demand& demand, Isa isa) {
  for (const Kernel& kernel : kernels()) {
    if (kernel.op != demand.op || kernel.isa > isa) continue;
    if (kernel.side != 0 && kernel.side != demand.side) continue;
    if (demand.wbits + demand.abits > kernel.bits || demand.out_channels > kernel.max_out) continue;
    return &kernel;
  }
  return nullptr;
}

}  // namespace unetq
