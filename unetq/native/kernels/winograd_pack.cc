#include "winograd_weights.h"

namespace unetq {

void pack_winograd_any(const WeightSource& source, const Winograd& winograd, int first_out, int count, void* weights) {
  const auto put = [](const int8_t* from, int first, int last, uint8_t* to, size_t stride, int32_t* sums) {
    for (int step = first; step < last; ++step, to += stride) {
      for (int lane = 0; lane < 16; ++lane) {
        const int8_t* four = from + lane * kRun + 4 * step;
        std::memcpy(to + 4 * lane, four, 4);
        sums[lane] += four[0] + four[1] + four[2] + four[3];
      }
    }
  };
  pack_winograd_with(put, source, winograd, first_out, count, static_cast<uint8_t*>(weights));
}

}  // namespace unetq
