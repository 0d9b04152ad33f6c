#include "execute.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <limits>

#include "convolve.h"
#include "cpu.h"
#include "packed.h"
#include "timings.h"
#include "trial.h"

namespace unetq {

namespace {

constexpr int kMaxThreads = 256;
constexpr size_t kAlign = 64;
constexpr int kPixelsPerTask = 4096;
// What is tried where a plan takes too much memory, one after the other: packed skips cost little time, lower strips
// more (docs/performance.md).
constexpr int kLeanRows[] = {0, 16, 8, 4};

PlanSize leaner(PlanSize size, int rows) {
  size.packs = true;
  size.strip_rows = rows;
  size.lean = rows > 0;
  return size;
}

// Rounded up.
std::string mebibytes(uint64_t bytes) {
  const uint64_t tenths = (bytes * 10 + (uint64_t{1} << 20) - 1) >> 20;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " MiB";
}

PlanSize planned(ImageSize size, const RunOptions& options) {
  PlanSize wanted = {size.height, size.width, options.strip_rows};
  wanted.packs = options.packs;
  return wanted;
}

// By the exponent's bits: integer code that the compiler vectorises.
bool all_finite(const float* values, size_t count) {
  uint32_t bad = 0;
  for (size_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, values + i, sizeof(bits));
    bad |= (bits & 0x7f800000u) == 0x7f800000u;
  }
  return bad == 0;
}

View view_of(const Plan& plan, int tensor, const Tensor& info, uint8_t* arena) {
  View view;
  view.channels = info.channels;
  view.height = level_size(plan.height, info.level);
  view.width = level_size(plan.width, info.level);
  const Placement& place = plan.tensors[tensor];
  if (place.buffer < 0) return view;
  const Buffer& buffer = plan.buffers[place.buffer];
  view.row = buffer.row;
  view.pixel = buffer.pixel;
  // Of a rolling buffer this lies before the buffer; only rows that it holds are reached from there.
  view.data = arena + buffer.offset + buffer.origin() + place.channel - buffer.base * buffer.row;
  return view;
}

}  // namespace

Status Session::open(const std::string& path, int threads, bool verify_hash, std::unique_ptr<Session>* session) {
  if (threads < 0 || threads > kMaxThreads) {
    return Status::fail("threads is " + std::to_string(threads) + ", but must be 0 (all cores) to " +
                        std::to_string(kMaxThreads) + ".");
  }
  auto made = std::make_unique<Session>();
  if (Status status = choose_isa(&made->isa_); !status.ok) return status;
  if (Status status = open_model(path, verify_hash, &made->model_); !status.ok) return status;
  made->pool_ = std::make_unique<Pool>(threads == 0 ? physical_cores() : threads);
  made->choose_ = fastest_by(read_timings(default_timings_path()), made->isa_, made->threads());
  Plan probe;  // refuses what this runtime cannot do before the first image
  if (Status status = made->plan({64, 64}, &probe); !status.ok) return status;
  *session = std::move(made);
  return Status::fine();
}

uint64_t Session::bytes_of(const Plan& plan) const {
  const uint64_t threads = pool_ == nullptr ? 1 : static_cast<uint64_t>(pool_->threads());
  return plan.arena_bytes + plan.scratch_bytes + plan.thread_bytes * threads + 2 * kAlign;
}

Status Session::plan(PlanSize size, Plan* plan) const {
  const uint64_t limit = limit_.load();
  const Chooser choose = chooser();
  Status status = make_plan(model_, size, isa_, choose, plan);
  const auto done = [&] { return !status.ok || limit == 0 || bytes_of(*plan) <= limit; };
  for (int rows : kLeanRows) {
    if (done()) return status;
    if (size.strip_rows == 0) status = make_plan(model_, leaner(size, rows), isa_, choose, plan);
  }
  if (done()) return status;
  return Status::fail("An image of " + std::to_string(size.height) + " x " + std::to_string(size.width) +
                      " pixels needs at least " + mebibytes(bytes_of(*plan)) + " of memory, but " + mebibytes(limit) +
                      " are allowed; use smaller tiles.");
}

// Of a small image the strips' own buffers may be more than they save.
Status Session::least_plan(PlanSize size, Plan* plan) const {
  const Chooser choose = chooser();
  Status status = make_plan(model_, size, isa_, choose, plan);
  for (int rows : {0, *std::rbegin(kLeanRows)}) {
    Plan other;
    if (status.ok) status = make_plan(model_, leaner(size, rows), isa_, choose, &other);
    if (status.ok && bytes_of(other) < bytes_of(*plan)) *plan = std::move(other);
  }
  return status;
}

void Session::limit_memory(uint64_t bytes) {
  const std::scoped_lock lock(mutex_);
  limit_.store(bytes);
  memory_bytes_ = 0;
  memory_.reset();
  arena_ = nullptr;  // the next run plans anew
}

Chooser Session::chooser() const {
  const std::scoped_lock lock(choose_mutex_);
  return choose_;
}

void Session::choose_by(Chooser choose) {
  const std::scoped_lock lock(mutex_, choose_mutex_);
  choose_ = std::move(choose);
  arena_ = nullptr;  // the next run plans anew
}

double Session::peak_gmacs() {
  const std::scoped_lock lock(mutex_);
  return unetq::peak_gmacs(isa_, pool_.get());
}

Status Session::prepare(PlanSize size) {
  const int height = size.height, width = size.width;
  if (arena_ != nullptr && size_ == size) return Status::fine();
  Plan plan;
  if (Status status = this->plan(size, &plan); !status.ok) return status;
  const size_t bytes = bytes_of(plan);
  // What other kernels had for the same image will do, if it suffices: its pages are there already.
  const bool reuse = memory_bytes_ >= bytes && plan_.height == height && plan_.width == width;
  arena_ = nullptr;
  if (!reuse) {
    memory_bytes_ = 0;
    memory_.reset();
    // calloc: zeroed pages come from the system only when they are touched, and kernels read bytes that nobody wrote.
    memory_ = {static_cast<uint8_t*>(std::calloc(bytes, 1)), std::free};
    memory_bytes_ = memory_ == nullptr ? 0 : bytes;
  }
  if (memory_ == nullptr) {
    return Status::fail("There are not the " + std::to_string(bytes >> 20) + " MiB of memory that an image of " +
                        std::to_string(height) + " x " + std::to_string(width) + " pixels needs; use smaller tiles.");
  }
  const uintptr_t address = reinterpret_cast<uintptr_t>(memory_.get());
  arena_ = memory_.get() + (kAlign - address % kAlign) % kAlign;
  scratch_ = arena_ + (plan.arena_bytes + kAlign - 1) / kAlign * kAlign;
  plan_ = std::move(plan);
  size_ = size;
  return Status::fine();
}

Status Session::check(ImageSize size) const {
  if (size.channels == in_channels()) return Status::fine();
  return Status::fail("The image has " + std::to_string(size.channels) + " channels, but the model wants " +
                      std::to_string(in_channels()) + ".");
}

Status Session::run(const float* image, ImageSize size, float* logits, const RunOptions& options) {
  const std::scoped_lock lock(mutex_);
  if (Status status = check(size); !status.ok) return status;
  if (Status status = prepare(planned(size, options)); !status.ok) return status;
  Ends ends;
  ends.image = image;
  ends.logits = logits;
  return run_groups(size, ends, options.observer);
}

Status Session::run(const Stream& stream, ImageSize size, const RunOptions& options) {
  const std::scoped_lock lock(mutex_);
  if (Status status = check(size); !status.ok) return status;
  PlanSize inside = planned(size, options);
  inside.streams = true;
  if (Status status = prepare(inside); !status.ok) return status;
  float* const image = reinterpret_cast<float*>(arena_ + plan_.image.offset);
  stream.fill(image);
  Ends ends;
  ends.image = image;
  ends.stream = &stream;
  return run_groups(size, ends, options.observer);
}

Status Session::run_groups(ImageSize size, const Ends& ends, const Observer& observer) {
  const size_t count = static_cast<size_t>(size.channels) * size.height * size.width;
  if (!all_finite(ends.image, count)) {
    return Status::fail("The image has pixels that are not finite numbers; replace them first.");
  }
  for (const Group& group : plan_.groups) {
    if (limit_.load() > 0) drop_weights();
    run_group(group, ends, observer);
  }
  return Status::fine();
}

void Session::run_group(const Group& group, const Ends& ends, const Observer& observer) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds(static_cast<size_t>(group.last - group.first + 1));
  for (size_t step = 0; step < group.rows.size(); ++step) {
    if (step > 0) {
      for (const Roll& one : group.rolls) roll(one, step);
    }
    for (int op = group.first; op <= group.last; ++op) {
      const size_t at = static_cast<size_t>(op - group.first);
      const Clock::time_point begin = Clock::now();
      if (step == 0) {
        for (int buffer : plan_.steps[op].births) {
          plan_.buffers[buffer].base = 0;
          fill_halo(plan_.buffers[buffer]);
        }
      }
      const int y0 = step == 0 ? 0 : group.rows[step - 1][at], y1 = group.rows[step][at];
      if (y1 > y0) execute({static_cast<size_t>(op), y0, y1, y0 > 0 && plan_.steps[op].keeps}, ends);
      seconds[at] += std::chrono::duration<double>(Clock::now() - begin).count();
      if (ends.stream != nullptr && y1 > y0 && static_cast<size_t>(op) + 1 == model_.ops.size()) {
        const float* rows = reinterpret_cast<const float*>(arena_ + plan_.logits.offset);
        ends.stream->take({rows, static_cast<ptrdiff_t>(plan_.logits_rows) * plan_.width, y0, y1});
      }
      if (observer && step + 1 == group.rows.size()) observer(static_cast<size_t>(op), seconds[at]);
    }
  }
}

void Session::execute(const Part& part, const Ends& ends) {
  const Step& step = plan_.steps[part.op];
  const Op& info = model_.ops[part.op];
  if (step.kernel == nullptr) {  // a concatenation in place, or an upsampling that is not made
  } else if (step.kernel->conv != nullptr) {
    convolve(part, ends);
  } else if (info.kind == OpKind::kConcat) {
    const int inputs[2] = {info.input_a, info.input_b}, channels[2] = {0, model_.tensors[info.input_a].channels};
    for (int k = 0; k < 2; ++k) {
      if (step.unpacks[k]) {
        unpack(part, inputs[k], channels[k]);
      } else if (step.copies[k]) {
        map(part, inputs[k], channels[k], nullptr);
      }
    }
  } else {
    map(part, info.input_a, 0, ends.image);
  }
  if (plan_.tensors[info.output].packed >= 0) pack(part);
}

// The rows that were made, in the cache still.
void Session::pack(const Part& part) {
  const int tensor = model_.ops[part.op].output;
  const Tensor& info = model_.tensors[tensor];
  const View from = view_of(plan_, tensor, info, arena_);
  const Packed& packed = plan_.packed[plan_.tensors[tensor].packed];
  pool_->parallel_for(part.y1 - part.y0, [&](int i) {
    const int y = part.y0 + i;
    pack_row(from.data + y * from.row, {from.pixel, from.channels, from.width}, info.bits,
             arena_ + packed.offset + y * packed.row);
  });
}

// Into the output from `channel` on.
void Session::unpack(const Part& part, int input, int channel) {
  const int output = model_.ops[part.op].output;
  const Tensor& info = model_.tensors[input];
  const View to = view_of(plan_, output, model_.tensors[output], arena_);
  const Packed& packed = plan_.packed[plan_.tensors[input].packed];
  pool_->parallel_for(part.y1 - part.y0, [&](int i) {
    const int y = part.y0 + i;
    unpack_row(arena_ + packed.offset + y * packed.row, {to.pixel, info.channels, to.width}, info.bits,
               to.data + y * to.row + channel);
  });
}

// Drops the rows that nobody reads any more; behind the image's last row the halo has to be made again.
void Session::roll(const Roll& roll, size_t step) {
  Buffer& buffer = plan_.buffers[roll.buffer];
  uint8_t* const first = arena_ + buffer.offset + static_cast<size_t>(buffer.halo) * buffer.row;
  const int low = roll.low[step], kept = roll.high[step - 1] - low;
  if (kept > 0 && low > buffer.base) {
    std::memmove(first, first + (low - buffer.base) * buffer.row, static_cast<size_t>(kept) * buffer.row);
  }
  buffer.base = low;
  if (roll.high[step] < buffer.height) return;
  std::memset(first + (buffer.height - low) * buffer.row, buffer.zero, static_cast<size_t>(buffer.halo) * buffer.row);
}

// Each row's first pixel too, which the row above may read on into before it is made (kernel.h).
void Session::fill_halo(const Buffer& buffer) {
  uint8_t* base = arena_ + buffer.offset;
  const size_t band = static_cast<size_t>(buffer.halo) * buffer.row,
               side = static_cast<size_t>(buffer.halo) * buffer.pixel, first = side + buffer.pixel;
  std::memset(base, buffer.zero, band);
  uint8_t* row = base + band;
  for (int y = 0; y < buffer.rows; ++y, row += buffer.row) {
    std::memset(row, buffer.zero, first);
    std::memset(row + buffer.row - side, buffer.zero, side);
  }
  std::memset(row, buffer.zero, band + first);
}

void Session::convolve(const Part& part, const Ends& ends) {
  const Op& info = model_.ops[part.op];
  const Step& step = plan_.steps[part.op];
  const Tensor &in = model_.tensors[info.input_a], &out = model_.tensors[info.output];
  ConvJob job;
  job.in = view_of(plan_, info.input_a, in, arena_);
  job.out = view_of(plan_, info.output, out, arena_);
  // Of a strip's logits row 0 lies before the arena's place for them, as with a rolling buffer.
  const bool last = job.out.data == nullptr, strip = last && ends.stream != nullptr;
  float* const rows = reinterpret_cast<float*>(arena_ + plan_.logits.offset);
  job.logits = strip ? rows - static_cast<ptrdiff_t>(part.y0) * job.out.width : ends.logits;
  job.logits_plane = static_cast<ptrdiff_t>(strip ? plan_.logits_rows : job.out.height) * job.out.width;
  job.transposed = info.kind == OpKind::kTransposed;
  job.side = info.kernel;
  job.doubled = step.doubled;
  if (step.low >= 0) job.low = view_of(plan_, step.low, model_.tensors[step.low], arena_);
  job.wbits = info.wbits;
  job.abits = in.bits;
  job.binary = info.weights == WeightKind::kBinary;
  job.ternary = info.weights == WeightKind::kTernary;
  job.packed = info.packed;
  job.packed_bytes = info.packed_bytes;
  job.m = info.m;
  job.b = info.b;
  job.in_zero = in.zero();
  job.out_zero = out.zero();
  job.lo = out.lo();
  job.hi = out.hi();
  job.y0 = part.y0;
  job.y1 = part.y1;
  job.expanded = part.expanded;
  job.lean = plan_.lean;
  run_conv(*step.kernel, job, {scratch_ + step.scratch_offset, scratch_ + plan_.scratch_bytes}, pool_.get());
}

void Session::map(const Part& part, int input, int channel, const float* image) {
  const Op& info = model_.ops[part.op];
  const Tensor &in = model_.tensors[input], &out = model_.tensors[info.output];
  const View from = view_of(plan_, input, in, arena_), to = view_of(plan_, info.output, out, arena_);
  assert(to.data != nullptr);  // the verifier lets only a convolution put out the logits, which have no buffer
  MapRows all;
  all.in = from.data;
  all.in_row = from.row;
  all.in_pixel = from.pixel;
  all.in_height = from.height;
  all.in_width = from.width;
  all.out = to.data + channel;
  all.out_row = to.row;
  all.out_pixel = to.pixel;
  all.width = to.width;
  all.channels = from.channels;
  all.zero = out.zero();
  if (info.kind == OpKind::kQuantize) {
    all.image = image;
    all.image_plane = static_cast<ptrdiff_t>(to.height) * to.width;
    all.m = info.m[0];
    all.lo = static_cast<float>(out.lo());
    all.hi = static_cast<float>(out.hi());
  }
  const int rows = std::max(1, kPixelsPerTask / to.width);
  const Kernel& kernel = *plan_.steps[part.op].kernel;
  pool_->parallel_for((part.y1 - part.y0 + rows - 1) / rows, [&](int task) {
    MapRows some = all;
    some.y0 = part.y0 + task * rows;
    some.y1 = std::min(part.y1, some.y0 + rows);
    kernel.map(some);
  });
}

std::vector<int16_t> Session::tensor_codes(int tensor) const {
  const Tensor& info = model_.tensors[tensor];
  const View view = view_of(plan_, tensor, info, arena_);
  std::vector<int16_t> codes;
  if (view.data == nullptr) return codes;  // the image and the logits are floats
  codes.reserve(static_cast<size_t>(view.channels) * view.height * view.width);
  for (int c = 0; c < view.channels; ++c) {
    for (int y = 0; y < view.height; ++y) {
      for (int x = 0; x < view.width; ++x) {
        codes.push_back(static_cast<int16_t>(view.data[y * view.row + x * view.pixel + c] - info.zero()));
      }
    }
  }
  return codes;
}

double Session::macs(size_t op) const {
  const Op& info = model_.ops[op];
  if (info.packed == nullptr) return 0;
  // A transposed convolution uses each weight once a pixel of its input.
  const bool transposed = info.kind == OpKind::kTransposed;
  const int level = model_.tensors[transposed ? info.input_a : info.output].level;
  const double pixels = static_cast<double>(level_size(plan_.height, level)) * level_size(plan_.width, level);
  return pixels * info.kernel * info.kernel * model_.tensors[info.input_a].channels *
         model_.tensors[info.output].channels;
}

double Session::products(size_t op) const {
  const Step& step = plan_.steps[op];
  if (step.kernel == nullptr) return 0;
  return macs(op) * products_of(*step.kernel, model_.tensors[model_.ops[op].input_a].channels, step.doubled);
}

const char* Session::kernel_name(size_t op) const {
  const Kernel* kernel = plan_.steps[op].kernel;
  return kernel == nullptr ? "in_place" : kernel->name;
}

size_t Session::weights_bytes() const {
  size_t bytes = 0;
  for (const Op& op : model_.ops) {
    if (op.packed != nullptr) bytes += op.packed_bytes + 2 * sizeof(float) * model_.tensors[op.output].channels;
  }
  return bytes;
}

}  // namespace unetq
