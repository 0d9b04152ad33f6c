#include "plan.h"

#include <algorithm>
#include <numeric>

#include "convolve.h"

namespace unetq {

namespace {

constexpr size_t kAlign = 64;
constexpr size_t kMaxArena = size_t{1} << 40;

size_t align_up(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// One or two channels stay dense: a row of taps is then a few neighbouring bytes.
ptrdiff_t pixel_stride(int channels) { return channels < 4 ? channels : (channels + 3) / 4 * 4; }

class Planner {
 public:
  Planner(const Model& model, Isa isa, Plan* plan) : model_(model), isa_(isa), plan_(*plan) {}

  Status make() {
    if (Status status = check_ends(); !status.ok) return status;
    plan_.tensors.assign(model_.tensors.size(), {});
    plan_.steps.assign(model_.ops.size(), {});
    place_tensors();
    size_buffers();
    for (size_t i = 0; i < model_.ops.size(); ++i) {
      if (Status status = select(i); !status.ok) return status;
    }
    find_lifetimes();
    assign_offsets();
    if (plan_.arena_bytes > kMaxArena)
      return Status::fail(size_text() + " needs more memory than there is; use tiles.");
    return Status::fine();
  }

 private:
  std::string size_text() const {
    return "An image of " + std::to_string(plan_.height) + " x " + std::to_string(plan_.width) + " pixels";
  }

  // This runtime has floats at both ends only.
  Status check_ends() const {
    const int last = static_cast<int>(model_.ops.size()) - 1;
    for (int i = 0; i <= last; ++i) {
      const Op& op = model_.ops[i];
      const bool from_float = model_.tensors[op.input_a].kind == TensorKind::kFloat;
      const bool to_float = model_.tensors[op.output].kind == TensorKind::kFloat;
      const bool weighted = op.kind == OpKind::kConv || op.kind == OpKind::kTransposed;
      if (from_float != (op.kind == OpKind::kQuantize) || to_float != (i == last) || (to_float && !weighted)) {
        return Status::fail(
            "Layer " + op.name +
            " has a float input or output inside the network, which this runtime cannot do; export a quantized model.");
      }
    }
    return last >= 0 ? Status::fine() : Status::fail("The model has no layers; export it again.");
  }

  // The last concatenation that takes a tensor in is its home; one that comes too late, or twice, gets a copy.
  void place_tensors() {
    std::vector<int> parent(model_.tensors.size(), -1), channel(model_.tensors.size(), 0);
    for (size_t i = 0; i < model_.ops.size(); ++i) {
      const Op& op = model_.ops[i];
      if (op.kind != OpKind::kConcat) continue;
      const int inputs[2] = {op.input_a, op.input_b};
      for (int k = 0; k < 2; ++k) {
        if (parent[inputs[k]] >= 0) {
          plan_.steps[i].copies[k] = true;
        } else {
          parent[inputs[k]] = op.output;
          channel[inputs[k]] = k == 0 ? 0 : model_.tensors[op.input_a].channels;
        }
      }
    }
    std::vector<int> buffer_of(model_.tensors.size(), -1);
    for (size_t t = 0; t < model_.tensors.size(); ++t) {
      if (model_.tensors[t].kind == TensorKind::kFloat) continue;
      int root = static_cast<int>(t), offset = 0;
      for (; parent[root] >= 0; root = parent[root]) offset += channel[root];
      if (buffer_of[root] < 0) {
        buffer_of[root] = static_cast<int>(plan_.buffers.size());
        Buffer buffer;
        buffer.channels = model_.tensors[root].channels;
        buffer.level = model_.tensors[root].level;
        buffer.zero = model_.tensors[root].zero();
        plan_.buffers.push_back(buffer);
      }
      plan_.tensors[t] = {buffer_of[root], offset};
    }
  }

  void size_buffers() {
    for (const Op& op : model_.ops) {
      if (op.kind != OpKind::kConv) continue;
      Buffer& in = plan_.buffers[plan_.tensors[op.input_a].buffer];
      in.halo = std::max(in.halo, op.kernel / 2);
    }
    for (Buffer& buffer : plan_.buffers) {
      buffer.height = level_size(plan_.height, buffer.level);
      buffer.width = level_size(plan_.width, buffer.level);
      buffer.pixel = pixel_stride(buffer.channels);
      buffer.row = (buffer.width + 2 * buffer.halo) * buffer.pixel;
      const size_t rows = static_cast<size_t>(buffer.height) + 2 * static_cast<size_t>(buffer.halo);
      buffer.bytes = align_up(rows * buffer.row + kOverreadPixels * buffer.pixel + kOverreadBytes);
    }
  }

  static WeightSource weights_of(const Op& op, const Tensor& in) {
    ConvJob job;
    job.side = op.kernel;
    job.transposed = op.kind == OpKind::kTransposed;
    job.wbits = op.wbits;
    job.binary = op.weights == WeightKind::kBinary;
    job.ternary = op.weights == WeightKind::kTernary;
    job.packed = op.packed;
    job.packed_bytes = op.packed_bytes;
    job.in.channels = in.channels;
    return weight_source(job, 0, 0);
  }

  Status select(size_t i) {
    const Op& op = model_.ops[i];
    const Tensor& in = model_.tensors[op.input_a];
    Step& step = plan_.steps[i];
    if (op.kind == OpKind::kConcat && !step.copies[0] && !step.copies[1]) return Status::fine();
    Demand demand;
    demand.op = op.kind;
    demand.side = op.kernel;
    demand.out_channels = model_.tensors[op.output].channels;
    WeightSource source;
    if (op.packed != nullptr) {
      demand.wbits = op.wbits;
      demand.abits = in.bits;
      source = weights_of(op, in);
      demand.source = &source;
    }
    const std::vector<const Kernel*> rows = candidates(demand, isa_);
    if (rows.empty()) return Status::fail("Layer " + op.name + " has no kernel in this runtime; update unetq.");
    step.kernel = rows.front();
    if (step.kernel->conv != nullptr) {
      const int in_pixel = static_cast<int>(plan_.buffers[plan_.tensors[op.input_a].buffer].pixel);
      const size_t bytes = conv_scratch_bytes(*step.kernel, op.kind == OpKind::kConv ? op.kernel : 1, in.channels,
                                              in_pixel, demand.out_channels);
      plan_.scratch_bytes = std::max(plan_.scratch_bytes, bytes);
    }
    return Status::fine();
  }

  void find_lifetimes() {
    for (size_t i = 0; i < model_.ops.size(); ++i) {
      const Op& op = model_.ops[i];
      for (int tensor : {op.input_a, op.input_b, op.output}) {
        const int index = tensor < 0 ? -1 : plan_.tensors[tensor].buffer;
        if (index < 0) continue;
        Buffer& buffer = plan_.buffers[index];
        if (buffer.birth < 0) {
          buffer.birth = static_cast<int>(i);
          plan_.steps[i].births.push_back(index);
        }
        buffer.death = static_cast<int>(i);
      }
    }
  }

  // Largest first, each at the lowest place that is free for its whole life.
  void assign_offsets() {
    std::vector<int> order(plan_.buffers.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return plan_.buffers[a].bytes > plan_.buffers[b].bytes; });
    std::vector<const Buffer*> placed;  // by offset
    for (int index : order) {
      Buffer& buffer = plan_.buffers[index];
      size_t offset = 0;
      for (const Buffer* other : placed) {
        const bool together = buffer.birth <= other->death && other->birth <= buffer.death;
        if (!together) continue;
        if (offset + buffer.bytes <= other->offset) break;
        offset = std::max(offset, other->offset + other->bytes);
      }
      buffer.offset = offset;
      plan_.arena_bytes = std::max(plan_.arena_bytes, offset + buffer.bytes);
      placed.insert(std::upper_bound(placed.begin(), placed.end(), &buffer,
                                     [](const Buffer* a, const Buffer* b) { return a->offset < b->offset; }),
                    &buffer);
    }
  }

  const Model& model_;
  const Isa isa_;
  Plan& plan_;
};

}  // namespace

int level_size(int size, int level) {
  return static_cast<int>((static_cast<int64_t>(size) + (int64_t{1} << level) - 1) >> level);
}

Status make_plan(const Model& model, int height, int width, Isa isa, Plan* plan) {
  constexpr int kMaxSide = 1 << 20;
  *plan = {};
  plan->height = height;
  plan->width = width;
  if (height < 1 || width < 1 || height > kMaxSide || width > kMaxSide) {
    return Status::fail("An image of " + std::to_string(height) + " x " + std::to_string(width) +
                        " pixels cannot be run; each side must be 1 to 1048576.");
  }
  return Planner(model, isa, plan).make();
}

}  // namespace unetq
