#include "plan.h"

#include <algorithm>

#include "../kernels/winograd.h"
#include "convolve.h"
#include "packed.h"

namespace unetq {

namespace {

constexpr size_t kAlign = 64;
// A 32-bit process has 2 to 4 GiB of addresses.
constexpr size_t kMaxArena = sizeof(size_t) > 4 ? size_t{1} << (sizeof(size_t) > 4 ? 40 : 0) : size_t{3} << 29;
// Expanded weights that a group of strips keeps; what is above is expanded anew for each strip.
constexpr size_t kMaxKept = size_t{2048} * 1024;
// Kernels that make several rows at a time read on below a strip's last row.
constexpr int kOverreadRows = 4;

size_t align_up(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// One or two channels stay dense: a row of taps is then a few neighbouring bytes.
ptrdiff_t pixel_stride(int channels) { return channels < 4 ? channels : (channels + 3) / 4 * 4; }

class Planner {
 public:
  Planner(const Model& model, PlanSize size, Isa isa, const Chooser& choose, Plan* plan)
      : model_(model), size_(size), isa_(isa), choose_(choose), plan_(*plan) {}

  Status make() {
    if (Status status = check_ends(); !status.ok) return status;
    plan_.tensors.assign(model_.tensors.size(), {});
    plan_.steps.assign(model_.ops.size(), {});
    place_tensors();
    if (size_.packs) pack_skips();
    if (!size_buffers()) return too_large();
    make_rolls(model_, &plan_);
    size_bytes();
    for (size_t i = 0; i < model_.ops.size(); ++i) {
      if (Status status = select(i); !status.ok) return status;
    }
    if (size_.strip_rows != kWhole) leave_out_upsamplings();
    for (const Group& group : plan_.groups) share_scratch(group);
    if (size_.streams) size_ends();
    find_lifetimes();
    assign_offsets();
    return plan_.arena_bytes > kMaxArena ? too_large() : Status::fine();
  }

 private:
  std::string size_text() const {
    return "An image of " + std::to_string(plan_.height) + " x " + std::to_string(plan_.width) + " pixels";
  }

  Status too_large() const { return Status::fail(size_text() + " needs more memory than there is; use tiles."); }

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

  std::vector<int> group_of_ops() const {
    std::vector<int> groups;
    for (size_t g = 0; g < plan_.groups.size(); ++g) groups.resize(plan_.groups[g].last + 1, static_cast<int>(g));
    return groups;
  }

  // The first concatenation that takes a tensor in is its home; one that comes later, or takes it twice, gets a copy.
  // So does one that runs in strips and takes in a whole tensor, a skip: the strips of both do not fit each other.
  void place_tensors() {
    const std::vector<int> group_of = group_of_ops();
    std::vector<int> maker(model_.tensors.size(), -1);
    for (size_t i = 0; i < model_.ops.size(); ++i) maker[model_.ops[i].output] = group_of[i];
    std::vector<int> parent(model_.tensors.size(), -1), channel(model_.tensors.size(), 0);
    for (size_t i = 0; i < model_.ops.size(); ++i) {
      const Op& op = model_.ops[i];
      if (op.kind != OpKind::kConcat) continue;
      const int inputs[2] = {op.input_a, op.input_b};
      for (int k = 0; k < 2; ++k) {
        const bool apart = plan_.groups[group_of[i]].strips() && maker[inputs[k]] != group_of[i];
        if (parent[inputs[k]] >= 0 || apart) {
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

  // A skip that only the operations of its own group and copying concatenations read is whole as packed codes alone.
  void pack_skips() {
    const std::vector<int> group_of = group_of_ops();
    const int count = static_cast<int>(model_.ops.size());
    for (int maker = 0; maker < count; ++maker) {
      const int tensor = model_.ops[maker].output, bits = model_.tensors[tensor].bits;
      bool copied = false, otherwise = bits == 0 || bits > kMaxPackedBits;
      for (int i = maker + 1; i < count; ++i) {
        const int inputs[2] = {model_.ops[i].input_a, model_.ops[i].input_b};
        for (int k = 0; k < 2; ++k) {
          if (inputs[k] != tensor || group_of[i] == group_of[maker]) continue;
          (plan_.steps[i].copies[k] ? copied : otherwise) = true;
        }
      }
      if (!copied || otherwise || in_concat(tensor)) continue;
      plan_.tensors[tensor].packed = static_cast<int>(plan_.packed.size());
      const Tensor& info = model_.tensors[tensor];
      Packed packed;
      packed.row = packed_bytes(static_cast<int64_t>(level_size(plan_.width, info.level)) * info.channels, bits);
      packed.bytes = align_up(packed.row * level_size(plan_.height, info.level));
      plan_.packed.push_back(packed);
      for (int i = maker + 1; i < count; ++i) {
        if (group_of[i] == group_of[maker]) continue;
        plan_.steps[i].unpacks[0] = plan_.steps[i].unpacks[0] || model_.ops[i].input_a == tensor;
        plan_.steps[i].unpacks[1] = plan_.steps[i].unpacks[1] || model_.ops[i].input_b == tensor;
      }
    }
  }

  // Whether a tensor shares its buffer with others.
  bool in_concat(int tensor) const {
    return plan_.buffers[plan_.tensors[tensor].buffer].channels != model_.tensors[tensor].channels;
  }

  void size_ends() {
    const Tensor &in = model_.tensors.front(), &out = model_.tensors[model_.ops.back().output];
    const size_t row = static_cast<size_t>(plan_.width) * sizeof(float);
    plan_.image.bytes = align_up(in.channels * row * plan_.height);
    int done = 0;
    for (const std::vector<int>& rows : plan_.groups.back().rows) {
      plan_.logits_rows = std::max(plan_.logits_rows, rows.back() - done);
      done = rows.back();
    }
    plan_.logits.bytes = align_up(out.channels * row * plan_.logits_rows);
  }

  // Whether addresses can reach all of each.
  bool size_buffers() {
    for (const Op& op : model_.ops) {
      if (op.kind != OpKind::kConv) continue;
      Buffer& in = plan_.buffers[plan_.tensors[op.input_a].buffer];
      in.halo = std::max(in.halo, op.kernel / 2);
    }
    for (Buffer& buffer : plan_.buffers) {
      buffer.height = level_size(plan_.height, buffer.level);
      buffer.width = level_size(plan_.width, buffer.level);
      buffer.pixel = pixel_stride(buffer.channels);
      buffer.rows = buffer.height;
      const double row = (buffer.width + 2.0 * buffer.halo + kOverreadPixels) * static_cast<double>(buffer.pixel);
      if (row * (buffer.height + 2.0 * buffer.halo + kOverreadRows) > static_cast<double>(kMaxArena)) return false;
      buffer.row = (buffer.width + 2 * buffer.halo) * buffer.pixel;
    }
    return true;
  }

  void size_bytes() {
    for (Buffer& buffer : plan_.buffers) {
      const size_t rows = static_cast<size_t>(buffer.rows) + 2 * static_cast<size_t>(buffer.halo) +
                          (buffer.rolls() ? kOverreadRows : 0);
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

  Layer layer_of(size_t i, const Demand& demand) const {
    const Op& op = model_.ops[i];
    const int in = plan_.tensors[op.input_a].buffer, level = model_.tensors[op.output].level;
    Layer layer;
    layer.op = i;
    layer.kind = op.kind;
    layer.weights = op.weights;
    layer.side = op.kernel;
    layer.wbits = demand.wbits;
    layer.abits = demand.abits;
    layer.in_channels = model_.tensors[op.input_a].channels;
    layer.in_pixel = in < 0 ? 0 : static_cast<int>(plan_.buffers[in].pixel);  // the image is planar
    layer.out_channels = demand.out_channels;
    layer.doubled = demand.doubled;
    layer.height = level_size(plan_.height, level);
    layer.width = level_size(plan_.width, level);
    return layer;
  }

  // First channels of a convolution's input that are doubled, where every strip of it is of whole pairs of rows.
  int doubled(size_t i) const {
    const Op& op = model_.ops[i];
    const Op* from = upsampling_of(model_, op);
    if (from == nullptr) return 0;
    const Tensor& in = model_.tensors[op.input_a];
    if (level_size(plan_.height, in.level) % 2 != 0 || level_size(plan_.width, in.level) % 2 != 0) return 0;
    for (const Group& group : plan_.groups) {
      if (static_cast<int>(i) < group.first || static_cast<int>(i) > group.last) continue;
      for (const std::vector<int>& rows : group.rows) {
        if (rows[i - group.first] % 2 != 0) return 0;
      }
    }
    return std::min(model_.tensors[from->output].channels, in.channels - 1) / 4 * 4;
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
    demand.doubled = doubled(i);
    WeightSource source;
    if (op.packed != nullptr) {
      demand.wbits = op.wbits;
      demand.abits = in.bits;
      source = weights_of(op, in);
      demand.source = &source;
      demand.m = op.m;
      demand.b = op.b;
    }
    const std::vector<const Kernel*> rows = candidates(demand, isa_);
    if (rows.empty()) return Status::fail("Layer " + op.name + " has no kernel in this runtime; update unetq.");
    const Layer layer = layer_of(i, demand);
    const Kernel* const chosen = choose_ ? choose_(layer, rows) : nullptr;
    step.tuned = chosen != nullptr;
    step.kernel = step.tuned ? chosen : rows.front();
    if (step.kernel->conv != nullptr) {
      step.doubled = layer.doubled;
      const ConvShape shape = {op.kind == OpKind::kConv ? op.kernel : 1, in.channels, layer.in_pixel, step.doubled,
                               demand.out_channels};
      const ConvScratch scratch = conv_scratch(*step.kernel, shape, size_.lean);
      step.scratch_bytes = align_up(scratch.shared);
      plan_.thread_bytes = std::max(plan_.thread_bytes, align_up(scratch.thread));
      step.keeps = op.kind == OpKind::kConv && conv_fits_panel(*step.kernel, shape, size_.lean);
    }
    return Status::fine();
  }

  int readers(int tensor) const {
    return static_cast<int>(std::count_if(model_.ops.begin(), model_.ops.end(),
                                          [&](const Op& op) { return op.input_a == tensor || op.input_b == tensor; }));
  }

  Step& step_of(const Op& op) { return plan_.steps[&op - model_.ops.data()]; }

  // Where all that reads an upsampled image is one Winograd convolution, through a concatenation in place, it reads the
  // image before the upsampling.
  void leave_out_upsamplings() {
    constexpr int kChunk = 64;  // channels that kernels transform at once, at most
    for (const Op& conv : model_.ops) {
      Step& step = step_of(conv);
      if (step.doubled == 0 || step.doubled % kChunk != 0 || !makes_use_of_doubled(step.kernel->layout)) continue;
      const Op& upsampling = *upsampling_of(model_, conv);
      if (step.doubled != model_.tensors[upsampling.output].channels) continue;
      if (readers(upsampling.output) != 1 || readers(conv.input_a) != 1) continue;
      const bool copies = std::any_of(model_.ops.begin(), model_.ops.end(),
                                      [&](const Op& op) { return op.output == conv.input_a && step_of(op).copies[0]; });
      if (copies) continue;
      step.low = upsampling.input_a;
      step_of(upsampling).kernel = nullptr;
    }
  }

  // Kept weights lie side by side, and behind them the place that all others share.
  void share_scratch(const Group& group) {
    const size_t most = size_.lean ? 0 : kMaxKept;
    size_t kept = 0, shared = 0, weights = 0;
    for (int i = group.first; i <= group.last; ++i) {
      Step& step = plan_.steps[i];
      weights += model_.ops[i].packed_bytes;
      step.keeps = step.keeps && group.strips() && kept + step.scratch_bytes <= most;
      if (!step.keeps) continue;
      step.scratch_offset = kept;
      kept += step.scratch_bytes;
    }
    for (int i = group.first; i <= group.last; ++i) {
      Step& step = plan_.steps[i];
      if (step.keeps) continue;
      step.scratch_offset = kept;
      shared = std::max(shared, step.scratch_bytes);
    }
    plan_.scratch_bytes = std::max(plan_.scratch_bytes, kept + shared);
    plan_.weights_bytes = std::max(plan_.weights_bytes, weights);
  }

  // All buffers that a group of strips touches are alive from its first operation to its last one.
  void find_lifetimes() {
    std::vector<int> begin(model_.ops.size()), end(model_.ops.size());
    for (const Group& group : plan_.groups) {
      for (int i = group.first; i <= group.last; ++i) {
        begin[i] = group.strips() ? group.first : i;
        end[i] = group.strips() ? group.last : i;
      }
    }
    const auto use = [&](Room* room, size_t i) {
      const bool born = room->birth < 0;
      if (born) room->birth = begin[i];
      room->death = end[i];
      return born;
    };
    for (size_t i = 0; i < model_.ops.size(); ++i) {
      const Op& op = model_.ops[i];
      const int tensors[3] = {op.input_a, op.input_b, op.output};
      for (int k = 0; k < 3; ++k) {
        if (tensors[k] < 0) continue;
        const Placement& place = plan_.tensors[tensors[k]];
        const bool unpacks = k < 2 && plan_.steps[i].unpacks[k];
        if (place.packed >= 0 && (k == 2 || unpacks)) use(&plan_.packed[place.packed], i);
        if (place.buffer < 0 || unpacks) continue;
        if (use(&plan_.buffers[place.buffer], i)) plan_.steps[begin[i]].births.push_back(place.buffer);
      }
      const int low = plan_.steps[i].low;
      if (low >= 0) use(&plan_.buffers[plan_.tensors[low].buffer], i);
      if (op.kind == OpKind::kQuantize) use(&plan_.image, i);
    }
    plan_.image.birth = 0;  // it is there before the first operation
    use(&plan_.logits, model_.ops.size() - 1);
  }

  // Neither order is best for every network; both cost nothing.
  void assign_offsets() {
    const auto largest = [](const Room& a, const Room& b) { return a.bytes > b.bytes; };
    const auto longest = [](const Room& a, const Room& b) { return a.death - a.birth > b.death - b.birth; };
    const size_t one = assign_offsets(largest), other = assign_offsets(longest);
    plan_.arena_bytes = one < other ? assign_offsets(largest) : other;
  }

  // By an order, each at the lowest place that is free for its whole life; returns the bytes of all.
  template <typename Before>
  size_t assign_offsets(const Before& before) {
    std::vector<Room*> order;
    order.reserve(plan_.buffers.size() + plan_.packed.size() + 2);
    for (Buffer& buffer : plan_.buffers) order.push_back(&buffer);
    for (Packed& packed : plan_.packed) order.push_back(&packed);
    for (Room* end : {&plan_.image, &plan_.logits}) {
      if (end->bytes > 0) order.push_back(end);
    }
    std::stable_sort(order.begin(), order.end(), [&](const Room* a, const Room* b) { return before(*a, *b); });
    std::vector<const Room*> placed;  // by offset
    size_t bytes = 0;
    for (Room* room : order) {
      size_t offset = 0;
      for (const Room* other : placed) {
        const bool together = room->birth <= other->death && other->birth <= room->death;
        if (!together) continue;
        if (offset + room->bytes <= other->offset) break;
        offset = std::max(offset, other->offset + other->bytes);
      }
      room->offset = offset;
      bytes = std::max(bytes, offset + room->bytes);
      placed.insert(std::upper_bound(placed.begin(), placed.end(), room,
                                     [](const Room* a, const Room* b) { return a->offset < b->offset; }),
                    room);
    }
    return bytes;
  }

  const Model& model_;
  const PlanSize size_;
  const Isa isa_;
  const Chooser& choose_;
  Plan& plan_;
};

}  // namespace

int level_size(int size, int level) {
  return static_cast<int>((static_cast<int64_t>(size) + (int64_t{1} << level) - 1) >> level);
}

Status make_plan(const Model& model, PlanSize size, Isa isa, const Chooser& choose, Plan* plan) {
  constexpr int kMaxSide = 1 << 20;
  const int height = size.height, width = size.width;
  *plan = {};
  plan->height = height;
  plan->width = width;
  plan->lean = size.lean;
  if (height < 1 || width < 1 || height > kMaxSide || width > kMaxSide) {
    return Status::fail("An image of " + std::to_string(height) + " x " + std::to_string(width) +
                        " pixels cannot be run; each side must be 1 to 1048576.");
  }
  plan->groups = make_groups(model, height, width, size.strip_rows);
  return Planner(model, size, isa, choose, plan).make();
}

}  // namespace unetq
