// The convolution every CPU can run: any side, any bits, one output at a time.
#include "epilogue.h"
#include "kernel.h"

namespace unetq {

void conv_scalar(const ConvRows& job) {
  const size_t run_bytes = static_cast<size_t>(job.steps) * 4;
  const size_t block = run_bytes * job.tap_rows * job.tap_segments;
  for (int y = job.y0; y < job.y1; ++y) {
    for (int x = 0; x < job.width; ++x) {
      for (int channel = 0; channel < job.channels; ++channel) {
        const int8_t* w = static_cast<const int8_t*>(job.weights) + channel * block;
        uint32_t acc = static_cast<uint32_t>(job.start[channel]);  // unsigned: wraps without undefined behaviour
        for (int r = 0; r < job.tap_rows; ++r) {
          for (int s = 0; s < job.tap_segments; ++s, w += run_bytes) {
            const uint8_t* in = job.in + (y + r) * job.in_row + (x + s) * job.in_pixel;
            for (size_t i = 0; i < run_bytes; ++i) acc += static_cast<uint32_t>(static_cast<int32_t>(w[i]) * in[i]);
          }
        }
        store(job, y, x, channel, acc);
      }
    }
  }
}

}  // namespace unetq
