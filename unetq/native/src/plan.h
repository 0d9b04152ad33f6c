// What runs where for one image size: kernels, buffers by lifetime in one arena, concatenations without copies.
#pragma once

#include <cstddef>
#include <vector>

#include "../kernels/select.h"
#include "model.h"

namespace unetq {

// A channels-last image of bytes with a halo, inside the arena.
struct Buffer {
  int channels = 0, level = 0, height = 0, width = 0, halo = 1, zero = 0;
  ptrdiff_t pixel = 0, row = 0;  // strides in bytes
  size_t bytes = 0, offset = 0;
  int birth = -1, death = -1;  // steps
  // Of pixel (0, 0), from the buffer's first byte.
  size_t origin() const { return static_cast<size_t>(halo) * row + static_cast<size_t>(halo) * pixel; }
};

// A tensor is a range of channels of a buffer; the image and the logits have none (buffer -1).
struct Placement {
  int buffer = -1;
  int channel = 0;
};

struct Step {
  const Kernel* kernel = nullptr;   // null: a concatenation whose parts are already in place
  std::vector<int> births;          // buffers that get their halo here
  bool copies[2] = {false, false};  // concatenation: which inputs have to be copied
};

struct Plan {
  int height = 0, width = 0;
  std::vector<Buffer> buffers;
  std::vector<Placement> tensors;
  std::vector<Step> steps;  // one an operation
  size_t arena_bytes = 0, scratch_bytes = 0;
  size_t thread_bytes = 0;  // of scratch, for each thread
};

int level_size(int size, int level);  // ceil(size / 2^level)

Status make_plan(const Model& model, int height, int width, Isa isa, Plan* plan);

}  // namespace unetq
