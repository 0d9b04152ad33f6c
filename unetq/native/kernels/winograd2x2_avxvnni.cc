// Winograd F(2x2, 3x3) for AVX-VNNI (winograd2x2_ymm.h): processors with vpdpbusd but no AVX-512, as Intel's from Alder
// Lake on, its small N100 among them. vpdpbusd does not saturate, so the weights need no more than AVX-512 asks of
// them.
#include "dot_avxvnni.h"
#include "winograd2x2_ymm.h"

namespace unetq {

namespace {

struct Dot {
  void add(const uint8_t* from, const uint8_t* w, __m256i (&acc)[2]) const {
    dot_avxvnni(from, load(w), load(w + 32), &acc[0], &acc[1]);
  }
};

}  // namespace

void winograd2x2_avxvnni(const ConvRows& job) { convolve2x2<Dot>(Layout::kWinograd2x2, job); }

}  // namespace unetq
