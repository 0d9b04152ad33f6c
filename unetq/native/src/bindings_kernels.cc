// One kernel on made-up buffers, for the tests that Python generates from the table, and for measuring it alone.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <vector>

#include "../kernels/lowbit.h"
#include "../kernels/winograd.h"
#include "bindings.h"
#include "cpu.h"
#include "trial.h"

namespace py = pybind11;

namespace unetq {

namespace {

using Codes = py::array_t<int16_t, py::array::c_style | py::array::forcecast>;
using Weights = py::array_t<int8_t, py::array::c_style | py::array::forcecast>;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

// Keyword arguments with defaults; a name that is not known is an error.
TrialSettings settings_of(const py::kwargs& given) {
  TrialSettings set;
  const std::pair<const char*, int*> fields[] = {
      {"lo", &set.lo},
      {"hi", &set.hi},
      {"in_zero", &set.in_zero},
      {"out_zero", &set.out_zero},
      {"wbits", &set.wbits},
      {"abits", &set.abits},
      {"in_stride", &set.in_stride},
      {"in_offset", &set.in_offset},
      {"out_stride", &set.out_stride},
      {"out_offset", &set.out_offset},
      {"out_height", &set.out_height},
      {"out_width", &set.out_width},
      {"logits", &set.logits},
      {"ternary", &set.ternary},
      {"threads", &set.threads},
      {"repeats", &set.repeats},
      {"doubled", &set.doubled},
      {"low", &set.low},
  };
  for (const auto& [key, value] : given) {
    const std::string name = py::str(key);
    const auto* field =
        std::find_if(std::begin(fields), std::end(fields), [&](const auto& f) { return name == f.first; });
    if (field == std::end(fields)) throw py::type_error("run_kernel has no setting \"" + name + "\".");
    *field->second = value.cast<int>();
  }
  return set;
}

TrialInput input_of(const py::array& values) {
  if (values.ndim() != 3) throw py::value_error("The input must be [channels, rows, columns].");
  TrialInput in;
  in.channels = static_cast<int>(values.shape(0));
  in.height = static_cast<int>(values.shape(1));
  in.width = static_cast<int>(values.shape(2));
  return in;
}

TrialResult run_conv_kernel(const Kernel& kernel, const Codes& codes, const Weights& weights, const Floats& m,
                            const Floats& b, const TrialSettings& set) {
  if (codes.ndim() != 3 || weights.ndim() != 4 || weights.shape(3) != codes.shape(0) || m.size() != weights.shape(0) ||
      b.size() != weights.shape(0)) {
    throw py::value_error("codes must be [in, rows, columns], weights [out, k, k, in], m and b [out].");
  }
  TrialInput in = input_of(codes);
  in.codes = codes.data();
  const int out = static_cast<int>(weights.shape(0)), side = static_cast<int>(weights.shape(1));
  return try_conv(kernel, in, {weights.data(), out, side, m.data(), b.data()}, set);
}

TrialResult run_map_kernel(const Kernel& kernel, const py::array& values, const Floats& m, const TrialSettings& set) {
  TrialInput in = input_of(values);
  if (kernel.op == OpKind::kQuantize || kernel.op == OpKind::kArgmax) {
    const Floats image(values);
    in.image = image.data();
    return try_map(kernel, in, m.size() > 0 ? m.data()[0] : 1.0f, set);
  }
  const Codes codes(values);
  in.codes = codes.data();
  return try_map(kernel, in, 1.0f, set);
}

template <typename T>
py::array_t<T> array_of(const TrialResult& result, const std::vector<T>& values) {
  py::array_t<T> array({result.channels, result.height, result.width});
  std::copy(values.begin(), values.end(), array.mutable_data());
  return array;
}

py::tuple run_kernel(const std::string& name, const py::array& values, const Weights& weights, const Floats& m,
                     const Floats& b, const py::kwargs& settings) {
  const Kernel* kernel = find_kernel(name);
  if (kernel == nullptr) throw py::value_error("There is no kernel \"" + name + "\".");
  const std::vector<Isa> isas = available_isas();
  if (std::find(isas.begin(), isas.end(), kernel->isa) == isas.end()) {
    throw py::value_error("This CPU cannot run the kernel \"" + name + "\".");
  }
  const TrialSettings set = settings_of(settings);
  const TrialResult result = kernel->conv != nullptr ? run_conv_kernel(*kernel, Codes(values), weights, m, b, set)
                                                     : run_map_kernel(*kernel, values, m, set);
  if (set.logits != 0) return py::make_tuple(array_of(result, result.logits), result.seconds);
  return py::make_tuple(array_of(result, result.codes), result.seconds);
}

// Pairs (wbits, abits) that a row takes whatever the weights, and those that it takes if their |U| allow it; up to the
// limit in magnitude they do.
void add_fits(const Kernel& kernel, py::dict* row) {
  const Winograd* winograd = winograd_of(kernel.layout);
  py::list always, checked;
  for (const BitPair& pair : bit_pairs(kernel)) {
    (pair.checked ? checked : always).append(py::make_tuple(pair.wbits, pair.abits));
  }
  (*row)["always"] = always;
  (*row)["checked"] = checked;
  (*row)["products"] = products_of(kernel, 1, 0);
  (*row)["products_doubled"] = products_of(kernel, 1, 1);
  (*row)["limit"] = winograd == nullptr ? 0 : winograd_limit(*winograd);
}

}  // namespace

void bind_kernels(py::module_& module) {
  module.def(
      "peak_gmacs",
      [](const std::string& isa) {
        const py::gil_scoped_release release;
        Pool pool(1);
        for (Isa one : available_isas()) {
          if (isa_name(one) == isa) return peak_gmacs(one, &pool);
        }
        return 0.0;
      },
      py::arg("isa"), "10^9 multiply-accumulates a second of one thread; 0 where it is not known.");
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
  module.def(
      "run_kernel", &run_kernel, py::arg("name"), py::arg("values"), py::arg("weights") = Weights(0),
      py::arg("m") = Floats(0), py::arg("b") = Floats(0),
      "Runs one row of the table; settings are keywords (struct TrialSettings). Gives (codes or logits, seconds).");
}

}  // namespace unetq
