#include "peak.h"

namespace unetq {

PeakFn peak_of(Isa isa) {
#ifdef UNETQ_X86
  if (isa == Isa::kAvx512Amx) return peak_avx512amx;
  if (isa == Isa::kAvx512Vnni || isa == Isa::kAvx512Icelake) return peak_avx512vnni;
  if (isa == Isa::kAvxVnni) return peak_avxvnni;
  if (isa == Isa::kAvx2) return peak_avx2;
#endif
  static_cast<void>(isa);
  return nullptr;
}

}  // namespace unetq
