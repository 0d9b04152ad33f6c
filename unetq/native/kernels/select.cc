#include "select.h"

#include "winograd.h"

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

bool can(const Kernel& kernel, const Demand& demand) {
  if (kernel.op != demand.op || (kernel.side != 0 && kernel.side != demand.side)) return false;
  if (demand.wbits + demand.abits > kernel.bits || demand.out_channels > kernel.max_out) return false;
  const Winograd* winograd = winograd_of(kernel.layout);
  return winograd == nullptr ||
         winograd_allows(*winograd, *demand.source, demand.abits, demand.out_channels, {demand.m, demand.b});
}

std::vector<const Kernel*> candidates(const Demand& demand, Isa isa) {
  std::vector<const Kernel*> rows;
  for (const Kernel& kernel : kernels()) {
    if (kernel.isa <= isa && can(kernel, demand)) rows.push_back(&kernel);
  }
  return rows;
}

}  // namespace unetq
