// The head for NEON without dot products. Two products fit into 16 bits unless both factors may be -128.
#include "dots_neon.h"

namespace unetq {

namespace {

struct Pairs {
  static int32x4_t add(int32x4_t sum, int8x16_t a, int8x16_t w) {
    return vpadalq_s16(sum, add_high(product_low(a, w), a, w));
  }
};

struct Singles {
  static int32x4_t add(int32x4_t sum, int8x16_t a, int8x16_t w) {
    return vpadalq_s16(vpadalq_s16(sum, product_low(a, w)), vmull_s8(vget_high_s8(a), vget_high_s8(w)));
  }
};

}  // namespace

void dots_neon(const ConvRows& job) { job.bits < 16 ? dots_rows<Pairs>(job) : dots_rows<Singles>(job); }

}  // namespace unetq
