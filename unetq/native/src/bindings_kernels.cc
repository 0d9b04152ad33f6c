// One kernel on made-up buffers, for the tests that Python generates from the table, and for measuring it alone.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "../kernels/select.h"
#include "../kernels/winograd.h"
#include "bindings.h"
#include "convolve.h"
#include "cpu.h"

namespace py = pybind11;

namespace unetq {

namespace {

using Codes = py::array_t<int16_t, py::array::c_style | py::array::forcecast>;
using Weights = py::array_t<int8_t, py::array::c_style | py::array::forcecast>;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

constexpr uint8_t kInputGarbage = 0xEE, kOutputGarbage = 0x5A;

// Keyword arguments with defaults; a name that is not known is an error.
struct Settings {
  int lo = 0, hi = 255, in_zero = 0, out_zero = 0;
  int wbits = 8, abits = 8;
  int in_stride = 0, in_offset = 0, out_stride = 0, out_offset = 0;  // bytes a pixel (0: as the planner), first channel
  int out_height = 0, out_width = 0;                                 // upsampling, transposed: cut to it
  int logits = 0, ternary = 0, threads = 1, repeats = 1;

  explicit Settings(const py::kwargs& given) {
    const std::pair<const char*, int*> fields[] = {
        {"lo", &lo},
        {"hi", &hi},
        {"in_zero", &in_zero},
        {"out_zero", &out_zero},
        {"wbits", &wbits},
        {"abits", &abits},
        {"in_stride", &in_stride},
        {"in_offset", &in_offset},
        {"out_stride", &out_stride},
        {"out_offset", &out_offset},
        {"out_height", &out_height},
        {"out_width", &out_width},
        {"logits", &logits},
        {"ternary", &ternary},
        {"threads", &threads},
        {"repeats", &repeats},
    };
    for (const auto& [key, value] : given) {
      const std::string name = py::str(key);
      const auto* field =
          std::find_if(std::begin(fields), std::end(fields), [&](const auto& f) { return name == f.first; });
      if (field == std::end(fields)) throw py::type_error("run_kernel has no setting \"" + name + "\".");
      *field->second = value.cast<int>();
    }
  }
};

// A channels-last image inside garbage, with the halo and the bytes behind that kernels rely on.
class Canvas {
 public:
  Canvas(int channels, int height, int width, int stride, int offset, int halo, uint8_t garbage)
      : channels_(channels), height_(height), width_(width), offset_(offset), halo_(halo) {
    pixel_ = stride > 0 ? stride : (channels < 4 ? channels : (channels + 3) / 4 * 4);
    if (offset + channels > pixel_) throw py::value_error("The channels do not fit into the stride.");
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
    }
  }

  // The codes; every other byte must be as it was.
  Codes read(int zero, uint8_t garbage) {
    Codes codes({channels_, height_, width_});
    int16_t* to = codes.mutable_data();
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

std::vector<uint8_t> pack_stream(const Weights& weights, int bits, bool binary) {
  std::vector<uint8_t> packed((static_cast<size_t>(weights.size()) * bits + 7) / 8);
  size_t bit = 0;
  for (py::ssize_t i = 0; i < weights.size(); ++i) {
    const int code = binary ? weights.data()[i] > 0 : weights.data()[i];
    for (int k = 0; k < bits; ++k, ++bit) packed[bit / 8] |= static_cast<uint8_t>(((code >> k) & 1) << (bit % 8));
  }
  return packed;
}

struct Outcome {
  py::object result;
  double seconds;  // the fastest of the repeats
};

// One thread's own time: what other processes do meanwhile does not count. With several threads the time on the wall.
double now(int threads) {
  timespec time{};
  clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <typename Call>
double fastest(const Settings& set, const Call& call) {
  double best = 1e30;
  for (int i = 0; i < std::max(1, set.repeats); ++i) {
    const double begin = now(set.threads);
    call();
    best = std::min(best, now(set.threads) - begin);
  }
  return best;
}

Outcome run_conv_kernel(const Kernel& kernel, const Codes& codes, const Weights& weights, const Floats& m,
                        const Floats& b, const Settings& set) {
  if (codes.ndim() != 3 || weights.ndim() != 4 || weights.shape(3) != codes.shape(0) || m.size() != weights.shape(0) ||
      b.size() != weights.shape(0)) {
    throw py::value_error("codes must be [in, rows, columns], weights [out, k, k, in], m and b [out].");
  }
  const int out = static_cast<int>(weights.shape(0)), side = static_cast<int>(weights.shape(1));
  const int height = static_cast<int>(codes.shape(1)), width = static_cast<int>(codes.shape(2));
  const bool transposed = kernel.op == OpKind::kTransposed;
  const int out_height = set.out_height > 0 ? set.out_height : (transposed ? 2 * height : height);
  const int out_width = set.out_width > 0 ? set.out_width : (transposed ? 2 * width : width);
  Canvas from(static_cast<int>(codes.shape(0)), height, width, set.in_stride, set.in_offset, std::max(1, side / 2),
              kInputGarbage);
  from.fill(codes.data(), set.in_zero);
  Canvas to(out, out_height, out_width, set.out_stride, set.out_offset, 1, kOutputGarbage);
  const bool binary = set.wbits == 1;
  const std::vector<uint8_t> packed = pack_stream(weights, set.wbits, binary);
  Floats logits({set.logits != 0 ? out : 0, out_height, out_width});
  ConvJob job;
  job.in = from.view();
  job.out = to.view();
  if (set.logits != 0) {
    job.out.data = nullptr;
    job.logits = logits.mutable_data();
  }
  job.transposed = transposed;
  job.side = side;
  job.wbits = set.wbits;
  job.abits = set.abits;
  job.binary = binary;
  job.ternary = set.ternary != 0;
  job.packed = packed.data();
  job.packed_bytes = packed.size();
  job.m = m.data();
  job.b = b.data();
  job.in_zero = set.in_zero;
  job.out_zero = set.out_zero;
  job.lo = set.lo;
  job.hi = set.hi;
  job.y1 = job.out.height;
  Pool pool(set.threads);
  const WeightSource source = weight_source(job, 0, 0);
  if (!can(kernel, {kernel.op, side, set.wbits, set.abits, out, &source, m.data(), b.data()})) {
    throw py::value_error("The kernel would not be exact with these numbers.");
  }
  const ConvScratch memory =
      conv_scratch(kernel, transposed ? 1 : side, job.in.channels, static_cast<int>(job.in.pixel), out);
  const size_t layer = (memory.shared + 63) / 64 * 64;
  std::vector<uint8_t> scratch(layer + memory.thread * set.threads + 64, kInputGarbage);
  uint8_t* aligned = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64) % 64;
  const ConvPlace place = {aligned, aligned + layer};
  const double seconds = fastest(set, [&] { run_conv(kernel, job, place, &pool); });
  if (set.logits != 0) return {logits, seconds};
  return {to.read(set.out_zero, kOutputGarbage), seconds};
}

// Rows are shared out one a task: the worst case for kernels that look at their neighbours.
Outcome run_map_kernel(const Kernel& kernel, const py::array& values, const Floats& m, const Settings& set) {
  if (values.ndim() != 3) throw py::value_error("The input must be [channels, rows, columns].");
  const int channels = static_cast<int>(values.shape(0));
  const int height = static_cast<int>(values.shape(1)), width = static_cast<int>(values.shape(2));
  const bool halves = kernel.op == OpKind::kMaxpool;
  const int out_height = set.out_height > 0 ? set.out_height : (halves ? (height + 1) / 2 : height);
  const int out_width = set.out_width > 0 ? set.out_width : (halves ? (width + 1) / 2 : width);
  Canvas from(channels, height, width, set.in_stride, set.in_offset, 1, kInputGarbage);
  Canvas to(channels, out_height, out_width, set.out_stride, set.out_offset, 1, kOutputGarbage);
  MapRows all;
  Floats image;
  if (kernel.op == OpKind::kQuantize) {
    image = Floats(values);
    all.image = image.data();
    all.image_plane = static_cast<ptrdiff_t>(height) * width;
    all.m = m.size() > 0 ? m.data()[0] : 1.0f;
  } else {
    const Codes codes(values);
    from.fill(codes.data(), set.in_zero);
  }
  const View in = from.view(), out = to.view();
  all.in = in.data;
  all.in_row = in.row;
  all.in_pixel = in.pixel;
  all.in_height = height;
  all.in_width = width;
  all.out = out.data;
  all.out_row = out.row;
  all.out_pixel = out.pixel;
  all.width = out_width;
  all.channels = channels;
  all.zero = set.out_zero;
  all.lo = static_cast<float>(set.lo);
  all.hi = static_cast<float>(set.hi);
  Pool pool(set.threads);
  const double seconds = fastest(set, [&] {
    pool.parallel_for(out_height, [&](int y) {
      MapRows some = all;
      some.y0 = y;
      some.y1 = y + 1;
      kernel.map(some);
    });
  });
  return {to.read(set.out_zero, kOutputGarbage), seconds};
}

py::tuple run_kernel(const std::string& name, const py::array& values, const Weights& weights, const Floats& m,
                     const Floats& b, const py::kwargs& settings) {
  const Kernel* kernel = find_kernel(name);
  if (kernel == nullptr) throw py::value_error("There is no kernel \"" + name + "\".");
  const std::vector<Isa> isas = available_isas();
  if (std::find(isas.begin(), isas.end(), kernel->isa) == isas.end()) {
    throw py::value_error("This CPU cannot run the kernel \"" + name + "\".");
  }
  const Settings set(settings);
  const Outcome outcome = kernel->conv != nullptr ? run_conv_kernel(*kernel, Codes(values), weights, m, b, set)
                                                  : run_map_kernel(*kernel, values, m, set);
  return py::make_tuple(outcome.result, outcome.seconds);
}

// Pairs (wbits, abits) that a row takes whatever the weights, and those that it takes if their |U| allow it; up to the
// limit in magnitude they do.
void add_fits(const Kernel& kernel, py::dict* row) {
  const Winograd* winograd = winograd_of(kernel.layout);
  py::list always, checked;
  const LowBit& most = kernel.lowbit;
  for (int wbits = most.codes == WeightCodes::kTwos ? 2 : 1; wbits <= most.wbits; ++wbits) {
    for (int abits = 1; abits <= most.abits && wbits + abits <= kernel.bits; ++abits) {
      const int largest = wbits == 1 ? 1 : 1 << (wbits - 1);
      const Fit fit = winograd == nullptr ? Fit::kAlways : winograd_fit(*winograd, largest, abits);
      if (fit != Fit::kNever) (fit == Fit::kAlways ? always : checked).append(py::make_tuple(wbits, abits));
    }
  }
  (*row)["always"] = always;
  (*row)["checked"] = checked;
  (*row)["limit"] = winograd == nullptr ? 0 : winograd_limit(*winograd);
}

}  // namespace

void bind_kernels(py::module_& module) {
  module.def("kernels", [] {
    py::list rows;
    for (const Kernel& kernel : kernels()) {
      py::dict row;
      row["name"] = kernel.name;
      row["op"] = op_name(kernel.op);
      row["isa"] = isa_name(kernel.isa);
      row["kernel"] = kernel.side;
      row["max_bits"] = kernel.bits;
      row["max_out"] = kernel.max_out;
      row["codes"] = kernel.lowbit.codes == WeightCodes::kAny    ? "any"
                     : kernel.lowbit.codes == WeightCodes::kTwos ? "twos"
                                                                 : "signs";
      add_fits(kernel, &row);
      rows.append(row);
    }
    return rows;
  });
  module.def("run_kernel", &run_kernel, py::arg("name"), py::arg("values"), py::arg("weights") = Weights(0),
             py::arg("m") = Floats(0), py::arg("b") = Floats(0),
             "Runs one row of the table; settings are keywords (struct Settings). Gives (codes or logits, seconds).");
}

}  // namespace unetq
