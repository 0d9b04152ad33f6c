#include "winograd_weights.h"

namespace unetq {

void pack_winograd_any(const WeightSource& source, const Winograd& winograd, int first_out, int count, void* weights) {
  const auto put = [](const int8_t* from, int steps, uint8_t* to, int32_t* sums) {
    for (int step = 0; step < steps; ++step, from += 4, to += 128) {
      for (int lane = 0; lane < 16; ++lane) {
        const int8_t* four = from + lane * kRun;
        std::memcpy(to + 4 * lane, four, 4);
        sums[lane] += four[0] + four[1] + four[2] + four[3];
      }
    }
  };
  pack_winograd_with(put, source, winograd, first_out, count, static_cast<uint8_t*>(weights));
}

}  // namespace unetq
