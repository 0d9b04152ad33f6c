#include "trial.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <ctime>
#include <stdexcept>

#include "../kernels/peak.h"
#include "../kernels/winograd.h"
#include "convolve.h"
#include "cpu.h"

namespace unetq {

namespace {

constexpr uint8_t kInputGarbage = 0x80, kOutputGarbage = 0x5A;

// A channels-last image inside garbage, with the halo and the bytes behind that kernels rely on.
class Canvas {
 public:
  Canvas(int channels, int height, int width, int stride, int offset, int halo, uint8_t garbage)
      : channels_(channels), height_(height), width_(width), offset_(offset), halo_(halo) {
    pixel_ = stride > 0 ? stride : (channels < 4 ? channels : (channels + 3) / 4 * 4);
    if (offset + channels > pixel_) throw std::invalid_argument("The channels do not fit into the stride.");
    row_ = (width + 2 * halo) * pixel_;
    const size_t bytes = (height + 2 * static_cast<size_t>(halo)) * row_ + kOverreadPixels * pixel_ + kOverreadBytes;
    memory_.assign(bytes + 64, garbage);
  }

  // Aligned, as in the arena.
  uint8_t* base() { return memory_.data() + (64 - reinterpret_cast<uintptr_t>(memory_.data()) % 64) % 64; }
  uint8_t* at(int c, int y, int x) { return base() + (y + halo_) * row_ + (x + halo_) * pixel_ + offset_ + c; }

  View view() {
    View view;
    view.data = at(0, 0, 0);
    view.height = height_;
    view.width = width_;
    view.channels = channels_;
    view.row = row_;
    view.pixel = pixel_;
    return view;
  }

  void fill(const int16_t* codes, int zero) {
    for (int c = 0; c < channels_; ++c) {
      for (int y = -halo_; y < height_ + halo_; ++y) {
        for (int x = -halo_; x < width_ + halo_; ++x) {
          const bool inside = y >= 0 && y < height_ && x >= 0 && x < width_;
          *at(c, y, x) = static_cast<uint8_t>((inside ? *codes++ : 0) + zero);
        }
      }
      for (int i = 0; i <= halo_; ++i) *at(c, height_ + halo_, i - halo_) = static_cast<uint8_t>(zero);
    }
  }

  // The first channels are not to be read.
  void wipe(int channels, uint8_t garbage) {
    for (int c = 0; c < channels; ++c) {
      for (int y = 0; y < height_; ++y) {
        for (int x = 0; x < width_; ++x) *at(c, y, x) = garbage;
      }
    }
  }

  // The codes; every other byte must be as it was.
  std::vector<int16_t> read(int zero, uint8_t garbage) {
    std::vector<int16_t> codes(static_cast<size_t>(channels_) * height_ * width_);
    int16_t* to = codes.data();
    for (int c = 0; c < channels_; ++c) {
      for (int y = 0; y < height_; ++y) {
        for (int x = 0; x < width_; ++x) {
          *to++ = static_cast<int16_t>(*at(c, y, x) - zero);
          *at(c, y, x) = garbage;
        }
      }
    }
    if (std::any_of(memory_.begin(), memory_.end(), [&](uint8_t byte) { return byte != garbage; })) {
      throw std::runtime_error("The kernel wrote outside its output.");
    }
    return codes;
  }

 private:
  int channels_, height_, width_, offset_, halo_;
  ptrdiff_t pixel_ = 0, row_ = 0;
  std::vector<uint8_t> memory_;
};

// One pixel for 2 x 2 of the first channels.
std::vector<int16_t> before_upsampling(const TrialInput& in, int channels) {
  std::vector<int16_t> codes;
  for (int c = 0; c < channels; ++c) {
    for (int y = 0; y < in.height; y += 2) {
      const int16_t* row = in.codes + (static_cast<ptrdiff_t>(c) * in.height + y) * in.width;
      for (int x = 0; x < in.width; x += 2) codes.push_back(row[x]);
    }
  }
  return codes;
}

std::vector<uint8_t> pack_stream(const int8_t* weights, size_t count, int bits) {
  std::vector<uint8_t> packed((count * bits + 7) / 8);
  size_t bit = 0;
  for (size_t i = 0; i < count; ++i) {
    const int code = bits == 1 ? static_cast<int>(weights[i] > 0) : weights[i];
    for (int k = 0; k < bits; ++k, ++bit) packed[bit / 8] |= static_cast<uint8_t>(((code >> k) & 1) << (bit % 8));
  }
  return packed;
}

// One thread's own time: what other processes do meanwhile does not count. With several threads the time on the wall.
double now(int threads) {
  timespec time{};
  clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <typename Call>
double fastest(const TrialSettings& set, const Call& call) {
  double best = 1e30;
  for (int i = 0; i < std::max(1, set.repeats); ++i) {
    const double begin = now(set.threads);
    call();
    best = std::min(best, now(set.threads) - begin);
  }
  return best;
}

// A convolution without its buffers.
struct Bare {
  ConvJob job;
  std::vector<uint8_t> packed;

  Bare(const Kernel& kernel, const TrialInput& in, const TrialWeights& weights, const TrialSettings& set)
      : packed(pack_stream(weights.codes, static_cast<size_t>(weights.out) * weights.side * weights.side * in.channels,
                           set.wbits)) {
    job.in.channels = in.channels;
    job.transposed = kernel.op == OpKind::kTransposed;
    job.side = weights.side;
    job.doubled = set.doubled;
    job.wbits = set.wbits;
    job.abits = set.abits;
    job.binary = set.wbits == 1;
    job.ternary = set.ternary != 0;
    job.packed = packed.data();
    job.packed_bytes = packed.size();
    job.m = weights.m;
    job.b = weights.b;
    job.in_zero = set.in_zero;
    job.out_zero = set.out_zero;
    job.lo = set.lo;
    job.hi = set.hi;
  }

  bool fits(const Kernel& kernel, int out) const {
    const WeightSource source = weight_source(job, 0, 0);
    return can(kernel, {kernel.op, job.side, job.wbits, job.abits, out, &source, job.m, job.b});
  }
};

bool runs_here(const Kernel& kernel) {
  const std::vector<Isa> isas = available_isas();
  return std::find(isas.begin(), isas.end(), kernel.isa) != isas.end();
}

}  // namespace

bool trial_fits(const Kernel& kernel, const TrialInput& in, const TrialWeights& weights, const TrialSettings& set) {
  return runs_here(kernel) && Bare(kernel, in, weights, set).fits(kernel, weights.out);
}

TrialResult try_conv(const Kernel& kernel, const TrialInput& in, const TrialWeights& weights,
                     const TrialSettings& set) {
  Bare bare(kernel, in, weights, set);
  if (!runs_here(kernel) || !bare.fits(kernel, weights.out)) {
    throw std::invalid_argument("The kernel would not be exact with these numbers.");
  }
  const bool odd = in.height % 2 + in.width % 2 > 0;
  if (set.doubled != 0 && (set.doubled < 0 || set.doubled % 4 != 0 || set.doubled >= in.channels || odd)) {
    throw std::invalid_argument("These channels cannot be doubled ones.");
  }
  if (set.low != 0 && (!makes_use_of_doubled(kernel.layout) || set.doubled == 0 || set.doubled % 64 != 0)) {
    throw std::invalid_argument("The kernel cannot read these channels as before the upsampling.");
  }
  ConvJob& job = bare.job;
  TrialResult result;
  const int times = job.transposed ? 2 : 1;
  result.channels = weights.out;
  result.height = set.out_height > 0 ? set.out_height : times * in.height;
  result.width = set.out_width > 0 ? set.out_width : times * in.width;
  Canvas from(in.channels, in.height, in.width, set.in_stride, set.in_offset, std::max(1, job.side / 2), kInputGarbage);
  from.fill(in.codes, set.in_zero);
  Canvas low(std::max(1, set.doubled), (in.height + 1) / 2, (in.width + 1) / 2, 0, 0, 1, kInputGarbage);
  if (set.low != 0) {
    low.fill(before_upsampling(in, set.doubled).data(), set.in_zero);
    from.wipe(set.doubled, kInputGarbage);
    job.low = low.view();
  }
  Canvas to(weights.out, result.height, result.width, set.out_stride, set.out_offset, 1, kOutputGarbage);
  job.in = from.view();
  job.out = to.view();
  job.y1 = result.height;
  if (set.logits != 0) {
    result.logits.resize(static_cast<size_t>(weights.out) * result.height * result.width);
    job.out.data = nullptr;
    job.logits = result.logits.data();
    job.logits_plane = static_cast<ptrdiff_t>(result.height) * result.width;
  }
  Pool pool(set.threads);
  const ConvShape shape = {job.transposed ? 1 : job.side, in.channels, static_cast<int>(job.in.pixel), set.doubled,
                           weights.out};
  const ConvScratch memory = conv_scratch(kernel, shape, false);
  const size_t layer = (memory.shared + 63) / 64 * 64;
  std::vector<uint8_t> scratch(layer + memory.thread * set.threads + 64, kInputGarbage);
  uint8_t* aligned = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64) % 64;
  const ConvPlace place = {aligned, aligned + layer};
  result.seconds = fastest(set, [&] { run_conv(kernel, job, place, &pool); });
  if (set.logits == 0) result.codes = to.read(set.out_zero, kOutputGarbage);
  return result;
}

// Rows are shared out one a task: the worst case for kernels that look at their neighbours.
TrialResult try_map(const Kernel& kernel, const TrialInput& in, float m, const TrialSettings& set) {
  if (!runs_here(kernel)) throw std::invalid_argument("This CPU cannot run the kernel.");
  const bool halves = kernel.op == OpKind::kMaxpool;
  TrialResult result;
  const bool floats = kernel.op == OpKind::kQuantize || kernel.op == OpKind::kArgmax;
  result.channels = kernel.op == OpKind::kArgmax ? 1 : in.channels;
  result.height = set.out_height > 0 ? set.out_height : (halves ? (in.height + 1) / 2 : in.height);
  result.width = set.out_width > 0 ? set.out_width : (halves ? (in.width + 1) / 2 : in.width);
  Canvas from(in.channels, in.height, in.width, set.in_stride, set.in_offset, 1, kInputGarbage);
  Canvas to(result.channels, result.height, result.width, set.out_stride, set.out_offset, 1, kOutputGarbage);
  MapRows all;
  if (floats) {
    all.image = in.image;
    all.image_plane = static_cast<ptrdiff_t>(in.height) * in.width;
    all.m = m;
  } else {
    from.fill(in.codes, set.in_zero);
  }
  const View source = from.view(), target = to.view();
  all.in = source.data;
  all.in_row = source.row;
  all.in_pixel = source.pixel;
  all.in_height = in.height;
  all.in_width = in.width;
  all.out = target.data;
  all.out_row = target.row;
  all.out_pixel = target.pixel;
  all.width = result.width;
  all.channels = in.channels;
  all.zero = set.out_zero;
  all.lo = static_cast<float>(set.lo);
  all.hi = static_cast<float>(set.hi);
  Pool pool(set.threads);
  result.seconds = fastest(set, [&] {
    pool.parallel_for(result.height, [&](int y) {
      MapRows some = all;
      some.y0 = y;
      some.y1 = y + 1;
      kernel.map(some);
    });
  });
  result.codes = to.read(set.out_zero, kOutputGarbage);
  return result;
}

// What other programs take away only ever adds to a time, and a peak is what the CPU can do: the fastest run counts.
double peak_gmacs(Isa isa, Pool* pool) {
  constexpr int kRuns = 60, kRounds = 10000;
  const PeakFn peak = peak_of(isa);
  double best = 0;
  for (int i = 0; peak != nullptr && i < kRuns; ++i) {
    std::atomic<double> macs{0};
    const auto begin = std::chrono::steady_clock::now();
    pool->parallel_for(pool->threads(), [&](int) { macs.store(peak(kRounds)); });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (seconds > 0) best = std::max(best, macs.load() * pool->threads() / seconds / 1e9);
  }
  return best;
}

std::vector<BitPair> bit_pairs(const Kernel& kernel) {
  const Winograd* winograd = winograd_of(kernel.layout);
  const LowBit& most = kernel.lowbit;
  std::vector<BitPair> pairs;
  for (int wbits = most.codes == WeightCodes::kTwos ? 2 : 1; wbits <= most.wbits; ++wbits) {
    for (int abits = 1; abits <= most.abits && wbits + abits <= kernel.bits; ++abits) {
      const int largest = wbits == 1 ? 1 : 1 << (wbits - 1);
      const Fit fit = winograd == nullptr ? Fit::kAlways : winograd_fit(*winograd, largest, abits);
      if (fit != Fit::kNever) pairs.push_back({wbits, abits, fit == Fit::kChecked});
    }
  }
  return pairs;
}

}  // namespace unetq
