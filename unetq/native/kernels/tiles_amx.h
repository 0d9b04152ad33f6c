// The shapes of AMX's eight tile registers: 0 to 3 are accumulators, 4 and 5 pixels, 6 and 7 weights.
// Static: each file has its own copy, compiled with its own flags.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace unetq {

// Sixteen pixels by sixteen outputs, of `steps` times four bytes a product, 16 at most.
static inline void shape_tiles(int steps) {
  struct alignas(64) Shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } shapes = {};
  shapes.palette = 1;
  for (int i = 0; i < 8; ++i) {
    const bool pixels = i == 4 || i == 5, weights = i >= 6;
    shapes.rows[i] = static_cast<uint8_t>(weights ? steps : 16);
    shapes.row_bytes[i] = static_cast<uint16_t>(pixels ? 4 * steps : 64);
  }
  __asm__ volatile("" ::"r"(&shapes) : "memory");  // the intrinsic says only that it reads a pointer's worth
  _tile_loadconfig(&shapes);
}

}  // namespace unetq
