// The head for CPUs with sdot.
#include "dots_neon.h"

namespace unetq {

namespace {

struct Dots {
  static int32x4_t add(int32x4_t sum, int8x16_t a, int8x16_t w) { return vdotq_s32(sum, a, w); }
};

}  // namespace

void dots_dotprod(const ConvRows& job) { dots_rows<Dots>(job); }

}  // namespace unetq
