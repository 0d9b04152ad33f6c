// Operations without weights, in plain C++ that the compiler vectorises: they are bound by memory.
#include "epilogue.h"
#include "kernel.h"

namespace unetq {

void quantize_scalar(const MapRows& job) {
  for (int y = job.y0; y < job.y1; ++y) {
    for (int c = 0; c < job.channels; ++c) {
      const float* from = job.image + c * job.image_plane + static_cast<ptrdiff_t>(y) * job.width;
      uint8_t* to = job.out + y * job.out_row + c;
      for (int x = 0; x < job.width; ++x) to[x * job.out_pixel] = requantize(from[x] * job.m, job.lo, job.hi, job.zero);
    }
  }
}

namespace {

uint8_t max2(uint8_t a, uint8_t b) { return a > b ? a : b; }

// A row of the input that may lie beyond its end repeats the last one; columns likewise.
int at_most(int i, int last) { return i < last ? i : last; }

}  // namespace

void maxpool_scalar(const MapRows& job) {
  for (int y = job.y0; y < job.y1; ++y) {
    const uint8_t* top = job.in + static_cast<ptrdiff_t>(2 * y) * job.in_row;
    const uint8_t* bottom = job.in + static_cast<ptrdiff_t>(at_most(2 * y + 1, job.in_height - 1)) * job.in_row;
    for (int x = 0; x < job.width; ++x) {
      const ptrdiff_t left = 2 * x * job.in_pixel, right = at_most(2 * x + 1, job.in_width - 1) * job.in_pixel;
      uint8_t* __restrict to = job.out + y * job.out_row + x * job.out_pixel;
      for (int c = 0; c < job.channels; ++c) {
        to[c] = max2(max2(top[left + c], top[right + c]), max2(bottom[left + c], bottom[right + c]));
      }
    }
  }
}

namespace {

// Copies of a few bytes: a call of memcpy for each pixel would cost more than the copy.
inline void copy_pixel(uint8_t* __restrict to, const uint8_t* __restrict from, int channels) {
  int c = 0;
  for (; c + 16 <= channels; c += 16) __builtin_memcpy(to + c, from + c, 16);
  for (; c < channels; ++c) to[c] = from[c];
}

}  // namespace

void nearest_scalar(const MapRows& job) {
  for (int y = job.y0; y < job.y1; ++y) {
    const uint8_t* from = job.in + static_cast<ptrdiff_t>(y / 2) * job.in_row;
    uint8_t* to = job.out + y * job.out_row;
    for (int x = 0; x < job.width; ++x) copy_pixel(to + x * job.out_pixel, from + x / 2 * job.in_pixel, job.channels);
  }
}

void copy_scalar(const MapRows& job) {
  for (int y = job.y0; y < job.y1; ++y) {
    for (int x = 0; x < job.width; ++x) {
      copy_pixel(job.out + y * job.out_row + x * job.out_pixel, job.in + y * job.in_row + x * job.in_pixel,
                 job.channels);
    }
  }
}

void argmax_scalar(const MapRows& job) {
  for (int y = job.y0; y < job.y1; ++y) {
    const float* row = job.image + static_cast<ptrdiff_t>(y) * job.width;
    for (int x = 0; x < job.width; ++x) {
      int label = job.channels == 1 && row[x] > 0 ? 1 : 0;
      float best = row[x];
      for (int k = 1; k < job.channels; ++k) {
        const float value = row[k * job.image_plane + x];
        if (value > best) {
          best = value;
          label = k;
        }
      }
      job.out[y * job.out_row + x * job.out_pixel] = static_cast<uint8_t>(label);
    }
  }
}

void bilinear_scalar(const MapRows& job) {
  const unsigned parity = static_cast<unsigned>(job.zero) & 1u;
  for (int y = job.y0; y < job.y1; ++y) {
    // Output 2i lies between inputs i and i - 1, output 2i + 1 between i and i + 1; edges repeat.
    const int far_y = y % 2 == 0 ? (y >= 2 ? y / 2 - 1 : 0) : at_most(y / 2 + 1, job.in_height - 1);
    const uint8_t* near_row = job.in + static_cast<ptrdiff_t>(y / 2) * job.in_row;
    const uint8_t* far_row = job.in + static_cast<ptrdiff_t>(far_y) * job.in_row;
    for (int x = 0; x < job.width; ++x) {
      const int far_x = x % 2 == 0 ? (x >= 2 ? x / 2 - 1 : 0) : at_most(x / 2 + 1, job.in_width - 1);
      const ptrdiff_t near = x / 2 * job.in_pixel, far = far_x * job.in_pixel;
      uint8_t* __restrict to = job.out + y * job.out_row + x * job.out_pixel;
      for (int c = 0; c < job.channels; ++c) {
        const unsigned sum =
            9u * near_row[near + c] + 3u * near_row[far + c] + 3u * far_row[near + c] + far_row[far + c];
        // Half to even, on the code: a byte is code + zero, so an odd zero turns parity around.
        const uint16_t s = static_cast<uint16_t>(sum);  // at most 16 * 255
        to[c] = static_cast<uint8_t>((s + 7u + (((s >> 4) ^ parity) & 1u)) >> 4);
      }
    }
  }
}

}  // namespace unetq
