#include "select.h"

#include <algorithm>

#include "lowbit.h"
#include "winograd.h"

namespace unetq {

const std::vector<Kernel>& kernels() {
  static const std::vector<Kernel> table = {
#define UNETQ_CONV(name, op, isa, side, bits, max_out, layout, function) \
  {#name, OpKind::op, Isa::isa, side, bits, max_out, {}, Layout::layout, function, nullptr},
#define UNETQ_LOWBIT(name, op, isa, side, codes, wbits, abits, worth, layout, function) \
  {#name,                                                                               \
   OpKind::op,                                                                          \
   Isa::isa,                                                                            \
   side,                                                                                \
   (wbits) + (abits),                                                                   \
   1 << 20,                                                                             \
   {WeightCodes::codes, wbits, abits, lowbit_channels(Layout::layout), worth},          \
   Layout::layout,                                                                      \
   function,                                                                            \
   nullptr},
#define UNETQ_MAP(name, op, isa, function) \
  {#name, OpKind::op, Isa::isa, 0, 16, 1 << 20, {}, Layout::kNone, nullptr, function},
#include "kernels.inc"
#undef UNETQ_CONV
#undef UNETQ_LOWBIT
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
  if (demand.source == nullptr) return true;
  const LowBit& most = kernel.lowbit;
  const bool signs = demand.source->binary || demand.source->ternary;
  if ((most.codes == WeightCodes::kSigns && !signs) || (most.codes == WeightCodes::kTwos && demand.source->binary))
    return false;
  if (demand.wbits > most.wbits || demand.abits > most.abits || demand.source->channels > most.max_in) return false;
  const Winograd* winograd = winograd_of(kernel.layout);
  return winograd == nullptr ||
         winograd_allows(*winograd, *demand.source, demand.abits, demand.out_channels, {demand.m, demand.b});
}

double products_of(const Kernel& kernel, int channels, int doubled) {
  if (kernel.conv == nullptr || is_lowbit(kernel.layout)) return 0.0;
  const Winograd* winograd = winograd_of(kernel.layout);
  if (winograd == nullptr) return 1.0;
  const int positions = winograd->y->positions * winograd->x->positions;
  int gone = 0;
  for (int i = 0; i < positions; ++i) gone += winograd_vanishes(*winograd, i) ? 1 : 0;
  const double products = static_cast<double>(positions) * channels - static_cast<double>(gone) * doubled;
  return products / (9.0 * winograd->y->outputs * winograd->x->outputs * channels);
}

std::vector<const Kernel*> candidates(const Demand& demand, Isa isa) {
  std::vector<const Kernel*> rows, others;
  const int channels = demand.source == nullptr ? 0 : std::min(demand.source->channels, demand.out_channels);
  for (const Kernel& kernel : kernels()) {
    if (!runs_on(kernel.isa, isa) || !can(kernel, demand)) continue;
    // A tile that makes no use of doubled channels multiplies more than one that does.
    const bool more =
        demand.doubled > 0 && winograd_of(kernel.layout) != nullptr && !makes_use_of_doubled(kernel.layout);
    (more || channels < kernel.lowbit.worth ? others : rows).push_back(&kernel);
  }
  rows.insert(rows.end(), others.begin(), others.end());
  return rows;
}

}  // namespace unetq
