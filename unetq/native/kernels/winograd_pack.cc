#include "winograd_weights.h"

namespace unetq {

namespace {

struct Plain {
  void transform(const Winograd& winograd, const int8_t (&taps)[9][kRun], int8_t (&u)[30][kRun]) const {
    transform_taps(winograd, taps, u);  // |U| <= 127 (winograd_allows), so sums modulo 256 do
  }

  void put(const int8_t* from, int first, int last, uint8_t* to, size_t stride, int32_t* sums) const {
    for (int step = first; step < last; ++step, to += stride) {
      for (int lane = 0; lane < 16; ++lane) {
        const int8_t* four = from + lane * kRun + 4 * step;
        std::memcpy(to + 4 * lane, four, 4);
        sums[lane] += four[0] + four[1] + four[2] + four[3];
      }
    }
  }
};

}  // namespace

void pack_winograd_any(const WeightSource& source, const Winograd& winograd, int first_out, int count, void* weights) {
  pack_winograd_with(Plain(), source, winograd, first_out, count, static_cast<uint8_t*>(weights));
}

}  // namespace unetq
