// What runs where for one image size: kernels, buffers by lifetime in one arena, concatenations without copies.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "../kernels/select.h"
#include "model.h"
#include "strips.h"

namespace unetq {

// A place in the arena, from one step to another.
struct Room {
  size_t bytes = 0, offset = 0;
  int birth = -1, death = -1;
};

// A channels-last image of bytes with a halo. Of a rolling one only `rows` rows exist at a time.
struct Buffer : Room {
  int channels = 0, level = 0, height = 0, width = 0, halo = 1, zero = 0;
  int rows = 0;                  // in memory
  int base = 0;                  // the image's row that is the first of them now
  ptrdiff_t pixel = 0, row = 0;  // strides in bytes
  // Of pixel (base, 0), from the buffer's first byte.
  size_t origin() const { return static_cast<size_t>(halo) * row + static_cast<size_t>(halo) * pixel; }
  bool rolls() const { return rows < height; }
};

// The codes of a skip at their own bits, row after row (packed.h), from the group that makes them to the one that
// takes them in.
struct Packed : Room {
  size_t row = 0;  // bytes
};

// A tensor is a range of channels of a buffer; the image and the logits have none (buffer -1).
struct Placement {
  int buffer = -1;
  int channel = 0;
  int packed = -1;  // of Plan::packed
};

struct Step {
  const Kernel* kernel = nullptr;    // null: a concatenation with its parts in place, or an upsampling that is not made
  std::vector<int> births;           // buffers that get their halo here: the first operation of a group has them
  bool copies[2] = {false, false};   // concatenation: which inputs have to be copied
  bool unpacks[2] = {false, false};  // and of these, which are packed
  size_t scratch_offset = 0, scratch_bytes = 0;
  bool keeps = false;  // its weights stay in its scratch from strip to strip
  int doubled = 0;     // first channels of a convolution's input that are (pack.h)
  int low = -1;        // tensor that these are an upsampling of, where it is read instead and the upsampling not made
  bool tuned = false;  // the kernel is a Chooser's
};

// What decides how fast the kernels of an operation are, beside the CPU and the number of threads.
struct Layer {
  size_t op = 0;  // in the model
  OpKind kind = OpKind::kConv;
  WeightKind weights = WeightKind::kNone;
  int side = 0, wbits = 0, abits = 0;
  int in_channels = 0, in_pixel = 0, out_channels = 0;  // in_pixel: bytes from pixel to pixel
  int doubled = 0;                                      // first input channels that are (pack.h)
  int height = 0, width = 0;                            // of the output
};

// One of the rows, which can all do the layer and stand in order of preference (select.h); null: no opinion.
using Chooser = std::function<const Kernel*(const Layer& layer, const std::vector<const Kernel*>& rows)>;

struct Plan {
  int height = 0, width = 0;
  bool lean = false;
  std::vector<Buffer> buffers;
  std::vector<Packed> packed;
  Room image, logits;   // float32, where the arena has them (PlanSize::streams)
  int logits_rows = 0;  // of a strip, at most
  std::vector<Placement> tensors;
  std::vector<Step> steps;  // one an operation
  std::vector<Group> groups;
  size_t arena_bytes = 0, scratch_bytes = 0;
  size_t thread_bytes = 0;   // of scratch, for each thread
  size_t weights_bytes = 0;  // packed ones, of the group that has the most
};

int level_size(int size, int level);  // ceil(size / 2^level)

struct PlanSize {
  int height = 0, width = 0;
  int strip_rows = 0;    // rows of the image a strip: 0 = chosen, kWhole = no strips, so that every tensor is whole
  bool streams = false;  // image and a strip of the logits lie in the arena, too
  bool packs = false;    // skips are packed at their own bits: a smaller arena, some time for packing
  bool lean = false;     // expanded weights are not kept from strip to strip: less scratch, more time

  bool operator==(const PlanSize& other) const {
    return height == other.height && width == other.width && strip_rows == other.strip_rows &&
           streams == other.streams && packs == other.packs && lean == other.lean;
  }
};
constexpr int kWhole = 1 << 30;

// Layers on which `choose` has no opinion, or all if it is empty, get the first row of the table that fits.
Status make_plan(const Model& model, PlanSize size, Isa isa, const Chooser& choose, Plan* plan);

}  // namespace unetq
