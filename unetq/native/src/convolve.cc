#include "convolve.h"

#include <algorithm>
#include <cstring>

#include "../kernels/winograd.h"

namespace unetq {

namespace {

// Weights of a panel of output channels should stay in the second-level cache while rows pass by, and be all there is
// of the layer's weights in full width.
constexpr size_t kPanelBytes = size_t{512} * 1024;
constexpr int kBlocksAtOnce = 4;  // kernels take up to 4 blocks in registers, so a panel has at least so many
constexpr int kRowsPerTask = 4;
// Winograd transforms the input anew for each panel: that has to be rare, and their weights are 16/9 as many.
constexpr size_t kWinogradPanelBytes = size_t{4096} * 1024;
// Where memory counts more than time.
constexpr size_t kLeanPanelBytes = size_t{256} * 1024;
constexpr int kTasksPerThread = 6;
constexpr int kMinTiles = 24;  // a task, for each of which a panel's weights come from memory again

size_t align_up(size_t bytes) { return (bytes + 63) / 64 * 64; }

// A panel's scratch: weights, then start, m and b, padded to whole blocks.
struct Panel {
  Taps taps;
  int lanes = 1, blocks = 1;
  size_t block_bytes = 0;

  Panel(const Kernel& kernel, const ConvShape& shape, bool lean) {
    taps = taps_of(kernel.layout, shape.side, shape.in_channels, shape.in_pixel, shape.doubled);
    lanes = lanes_of(kernel.layout);
    block_bytes = unetq::block_bytes(kernel.layout, taps);
    const bool winograd = winograd_of(kernel.layout) != nullptr;
    const size_t panel_bytes = lean ? kLeanPanelBytes : winograd ? kWinogradPanelBytes : kPanelBytes;
    const int all = (shape.out_channels + lanes - 1) / lanes;
    const int fit = static_cast<int>(std::min<size_t>(panel_bytes / std::max<size_t>(1, block_bytes), 1 << 20));
    blocks = std::min(all, std::max(kBlocksAtOnce, fit / kBlocksAtOnce * kBlocksAtOnce));
  }

  size_t weights_bytes() const { return align_up(block_bytes * blocks); }
  size_t channel_bytes() const { return align_up(sizeof(float) * blocks * lanes); }
  size_t bytes() const { return weights_bytes() + 3 * channel_bytes(); }
};

// One parity of a transposed convolution, or the whole of another: its rows [y0, y1).
struct Part {
  int dy = 0, dx = 0;
  int y0 = 0, y1 = 0, width = 0;
};

class Driver {
 public:
  Driver(const Kernel& kernel, const ConvJob& job, const ConvPlace& place, Pool* pool)
      : kernel_(kernel),
        job_(job),
        scratch_(place.layer),
        pool_(*pool),
        taps_side_(job.transposed ? 1 : job.side),
        panel_(kernel, {taps_side_, job.in.channels, static_cast<int>(job.in.pixel), job.doubled, job.out.channels},
               job.lean),
        winograd_(winograd_of(kernel.layout)),
        of_threads_(place.threads) {}

  void run() {
    const int step = job_.transposed ? 2 : 1;
    for (int dy = 0; dy < step; ++dy) {
      for (int dx = 0; dx < step; ++dx) {
        const Part part = {dy, dx, (job_.y0 - dy + step - 1) / step, (job_.y1 - dy + step - 1) / step,
                           (job_.out.width - dx + step - 1) / step};
        if (part.y1 <= part.y0 || part.width < 1) continue;
        const int panel = panel_.blocks * panel_.lanes;
        for (int first = 0; first < job_.out.channels; first += panel) {
          const int count = std::min(panel, job_.out.channels - first);
          if (!job_.expanded) pack(part, first, count);
          rows(part, first, count);
        }
      }
    }
  }

 private:
  int32_t* start() const { return reinterpret_cast<int32_t*>(scratch_ + panel_.weights_bytes()); }
  float* m() const { return reinterpret_cast<float*>(scratch_ + panel_.weights_bytes() + panel_.channel_bytes()); }
  float* b() const { return reinterpret_cast<float*>(scratch_ + panel_.weights_bytes() + 2 * panel_.channel_bytes()); }

  void pack(const Part& part, int first, int count) {
    WeightSource source = weight_source(job_, part.dy, part.dx);
    source.isa = kernel_.isa;
    const float power = winograd_ == nullptr ? 1.0f : static_cast<float>(winograd_->power());
    const int lanes = panel_.lanes;
    pool_.parallel_for((count + lanes - 1) / lanes, [&](int block) {
      const int from = block * lanes, n = std::min(lanes, count - from);
      pack_block(source, kernel_.layout, first + from, n, scratch_ + block * panel_.block_bytes, start() + from);
      std::memset(m() + from, 0, lanes * sizeof(float));
      std::memset(b() + from, 0, lanes * sizeof(float));
      for (int i = 0; i < n; ++i) m()[from + i] = job_.m[first + from + i] / power;  // exact: winograd_allows
      std::memcpy(b() + from, job_.b + first + from, n * sizeof(float));
    });
  }

  void rows(const Part& part, int first, int count) {
    const int step = job_.transposed ? 2 : 1;
    ConvRows all;
    all.in_row = job_.in.row;
    all.in_pixel = job_.in.pixel;
    all.in = job_.in.data - (taps_side_ / 2) * (job_.in.row + job_.in.pixel);
    all.tap_rows = panel_.taps.rows;
    all.tap_segments = panel_.taps.segments;
    all.steps = panel_.taps.steps;
    all.doubled = panel_.taps.doubled;
    if (job_.low.data != nullptr) {
      all.low = job_.low.data - job_.low.row - job_.low.pixel;
      all.low_row = job_.low.row;
      all.low_pixel = job_.low.pixel;
    }
    all.weights = scratch_;
    all.start = start();
    all.m = m();
    all.b = b();
    all.channels = count;
    all.bits = job_.wbits + job_.abits;
    all.abits = job_.abits;
    all.in_channels = job_.in.channels;
    all.width = part.width;
    all.lo = static_cast<float>(job_.lo);
    all.hi = static_cast<float>(job_.hi);
    all.zero = job_.out_zero;
    if (job_.out.data != nullptr) {
      all.out = job_.out.data + part.dy * job_.out.row + part.dx * job_.out.pixel + first;
      all.out_row = step * job_.out.row;
      all.out_pixel = step * job_.out.pixel;
    } else {
      all.logits_plane = job_.logits_plane;
      all.logits = job_.logits + first * all.logits_plane + static_cast<ptrdiff_t>(part.dy) * job_.out.width + part.dx;
      all.logits_row = static_cast<ptrdiff_t>(step) * job_.out.width;
      all.logits_pixel = step;
    }
    const int channels = job_.in.channels;
    const size_t thread_bytes = winograd_ == nullptr ? 0 : winograd_scratch_bytes(*winograd_, channels, job_.lean);
    if (winograd_ != nullptr) all.block_tiles = winograd_block_tiles(*winograd_, channels, job_.lean);
    const int step_rows = winograd_ == nullptr ? kRowsPerTask : winograd_rows(part);
    pool_.parallel_for((part.y1 - part.y0 + step_rows - 1) / step_rows, [&](int task, int thread) {
      ConvRows some = all;
      some.scratch = of_threads_ + thread * thread_bytes;
      some.y0 = part.y0 + task * step_rows;
      some.y1 = std::min(part.y1, some.y0 + step_rows);
      kernel_.conv(some);
    });
  }

  // Rows of a task: all where one thread works; else some tasks a thread, so that one that was held up is helped out.
  int winograd_rows(const Part& part) const {
    const int high = winograd_->y->outputs, wide = winograd_->x->outputs;
    const int rows = (part.y1 - part.y0 + high - 1) / high, tiles = (part.width + wide - 1) / wide;
    const int tasks = pool_.threads() == 1 ? 1 : pool_.threads() * kTasksPerThread;
    return high * std::max((rows + tasks - 1) / tasks, std::min(rows, (kMinTiles + tiles - 1) / tiles));
  }

  const Kernel& kernel_;
  const ConvJob& job_;
  uint8_t* const scratch_;
  Pool& pool_;
  const int taps_side_;
  const Panel panel_;
  const Winograd* const winograd_;  // null: a direct kernel
  uint8_t* const of_threads_;
};

}  // namespace

WeightSource weight_source(const ConvJob& job, int dy, int dx) {
  WeightSource source;
  source.packed = job.packed;
  source.packed_bytes = job.packed_bytes;
  source.bits = job.wbits;
  source.binary = job.binary;
  source.ternary = job.ternary;
  source.out_stride = static_cast<size_t>(job.side) * job.side * job.in.channels;
  source.first = static_cast<size_t>(dy * job.side + dx) * job.in.channels;
  source.side = job.transposed ? 1 : job.side;
  source.channels = job.in.channels;
  source.doubled = job.doubled;
  source.in_pixel = static_cast<int>(job.in.pixel);
  source.in_zero = job.in_zero;
  source.abits = job.abits;
  return source;
}

ConvScratch conv_scratch(const Kernel& kernel, const ConvShape& shape, bool lean) {
  const Winograd* winograd = winograd_of(kernel.layout);
  return {Panel(kernel, shape, lean).bytes(),
          winograd == nullptr ? 0 : winograd_scratch_bytes(*winograd, shape.in_channels, lean)};
}

bool conv_fits_panel(const Kernel& kernel, const ConvShape& shape, bool lean) {
  const Panel panel(kernel, shape, lean);
  return panel.blocks * panel.lanes >= shape.out_channels;
}

void run_conv(const Kernel& kernel, const ConvJob& job, const ConvPlace& place, Pool* pool) {
  Driver(kernel, job, place, pool).run();
}

}  // namespace unetq
