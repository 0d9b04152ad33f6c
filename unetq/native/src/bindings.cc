// unetq._native.Model: used through unetq/runtime/model.py only.
#include "bindings.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "cpu.h"
#include "execute.h"
#include "tune.h"

namespace py = pybind11;

namespace unetq {

const char* op_name(OpKind op) {
  static constexpr const char* kNames[] = {"quantize", "conv",     "transposed", "maxpool",
                                           "nearest",  "bilinear", "concat",     "argmax"};
  return kNames[static_cast<int>(op)];
}

namespace {

using Image = py::array_t<float, py::array::c_style | py::array::forcecast>;

class PyModel {
 public:
  PyModel(const std::string& path, int threads, bool verify_hash) {
    Status status;
    {
      py::gil_scoped_release release;
      status = Session::open(path, threads, verify_hash, &session_);
    }
    raise_unless(status);
  }

  py::dict metadata() const {
    py::dict result;
    for (const auto& [key, value] : session_->model().metadata) {
      result[py::str(key)] = std::visit([](const auto& v) -> py::object { return py::cast(v); }, value);
    }
    return result;
  }

  py::array tensor(const std::string& name) const {
    const auto& raw = session_->model().raw;
    const auto found = raw.find(name);
    if (found == raw.end()) throw py::value_error("The model has no tensor \"" + name + "\".");
    const RawTensor& tensor = found->second;
    if (tensor.is_float) {
      return py::array_t<float>(static_cast<py::ssize_t>(tensor.bytes / sizeof(float)),
                                reinterpret_cast<const float*>(tensor.data));
    }
    return py::array_t<int8_t>(static_cast<py::ssize_t>(tensor.bytes), reinterpret_cast<const int8_t*>(tensor.data));
  }

  py::array_t<float> run(const Image& image, int strip_rows, bool packs, bool streams) {
    return run_observed(image, {nullptr, strip_rows, packs}, streams);
  }

  // Codes of every tensor that holds codes, and the logits.
  py::dict dump(const Image& image) {
    const Model& model = session_->model();
    std::vector<std::vector<int16_t>> codes(model.tensors.size());
    const Observer keep = [&](size_t op, double) {
      const int output = model.ops[op].output;
      if (model.tensors[output].kind != TensorKind::kFloat) codes[output] = session_->tensor_codes(output);
    };
    py::array_t<float> logits = run_observed(image, {keep, kWhole});
    py::dict result;
    for (size_t t = 0; t < codes.size(); ++t) {
      const Tensor& info = model.tensors[t];
      if (codes[t].empty()) continue;
      const std::vector<py::ssize_t> shape = {info.channels, level_size(static_cast<int>(image.shape(1)), info.level),
                                              level_size(static_cast<int>(image.shape(2)), info.level)};
      result[py::str(info.name)] = py::array_t<int16_t>(shape, codes[t].data());
    }
    result[py::str(model.tensors[model.ops.back().output].name)] = logits;
    return result;
  }

  py::list profile(const Image& image) {
    struct Row {
      double seconds, macs, products;
      const char* kernel;
      bool tuned;
    };
    std::vector<Row> rows;
    const Observer note = [&](size_t op, double seconds) {
      rows.push_back(
          {seconds, session_->macs(op), session_->products(op), session_->kernel_name(op), session_->tuned(op)});
    };
    run_observed(image, {note});
    py::list result;
    for (size_t i = 0; i < rows.size(); ++i) {
      const Op& op = session_->model().ops[i];
      py::dict row;
      row["name"] = op.name;
      row["op"] = op_name(op.kind);
      row["kernel"] = rows[i].kernel;
      row["ms"] = rows[i].seconds * 1e3;
      row["macs"] = static_cast<uint64_t>(rows[i].macs);
      row["products"] = static_cast<uint64_t>(rows[i].products);
      row["tuned"] = rows[i].tuned;
      result.append(row);
    }
    return result;
  }

  py::dict plan(int height, int width, bool streams, bool packs) const {
    Plan plan;
    PlanSize size = {height, width};
    size.streams = streams;
    size.packs = packs;
    raise_unless(session_->plan(size, &plan));
    py::dict result;
    result["arena_bytes"] = plan.arena_bytes;
    result["scratch_bytes"] = plan.scratch_bytes + plan.thread_bytes * session_->threads();
    result["weights_bytes"] = session_->weights_bytes();
    return result;
  }

  // Of tensors, scratch and weights of a Stream where memory is limited as far as can be.
  uint64_t least_bytes(int height, int width) const {
    PlanSize size = {height, width};
    size.streams = true;
    Plan plan;
    raise_unless(session_->least_plan(size, &plan));
    return session_->bytes_of(plan) + plan.weights_bytes;
  }

  py::list buffers(int height, int width) const {
    Plan plan;
    raise_unless(session_->plan({height, width}, &plan));
    py::list result;
    for (size_t b = 0; b < plan.buffers.size(); ++b) {
      const Buffer& buffer = plan.buffers[b];
      py::list names;
      for (size_t t = 0; t < plan.tensors.size(); ++t) {
        if (plan.tensors[t].buffer == static_cast<int>(b)) names.append(session_->model().tensors[t].name);
      }
      py::dict row;
      row["tensors"] = names;
      row["bytes"] = buffer.bytes;
      row["rows"] = buffer.rows;
      row["height"] = buffer.height;
      row["first_op"] = session_->model().ops[buffer.birth].name;
      row["last_op"] = session_->model().ops[buffer.death].name;
      row["offset"] = buffer.offset;
      result.append(row);
    }
    return result;
  }

  // Times the kernels for an image of this size and adds the times to a file.
  py::list tune(int height, int width, const std::string& path, const py::function& progress) {
    Tuned tuned;
    Status status;
    {
      py::gil_scoped_release release;
      status = unetq::tune(
          session_.get(), {session_->in_channels(), height, width},
          [&](int done, int total) {
            const py::gil_scoped_acquire acquire;
            if (PyErr_CheckSignals() != 0) throw py::error_already_set();
            progress(done, total);
          },
          &tuned);
      if (status.ok) status = add_timings(path, tuned.timings);
    }
    raise_unless(status);
    py::list result;
    for (const TunedLayer& layer : tuned.layers) {
      py::dict row, ms;
      for (const auto& [kernel, time] : layer.ms) ms[kernel->name] = time;
      row["name"] = session_->model().ops[layer.op].name;
      row["op"] = op_name(session_->model().ops[layer.op].kind);
      row["first"] = layer.first->name;
      row["chosen"] = layer.chosen->name;
      row["ms"] = ms;
      result.append(row);
    }
    return result;
  }

  double peak_gmacs() {
    const py::gil_scoped_release release;
    return session_->peak_gmacs();
  }

  std::string isa() const { return isa_name(session_->isa()); }
  std::string hash() const { return session_->model().hash; }
  int threads() const { return session_->threads(); }

 private:
  py::array_t<float> run_observed(const Image& image, const RunOptions& options, bool streams = false) {
    if (image.ndim() != 3) throw py::value_error("The image must have three axes: channels, rows, columns.");
    for (int axis = 0; axis < 3; ++axis) {
      if (image.shape(axis) < 1 || image.shape(axis) > (1 << 20)) {
        throw py::value_error("The image is empty or has a side above 1048576 pixels.");
      }
    }
    const ImageSize size = {static_cast<int>(image.shape(0)), static_cast<int>(image.shape(1)),
                            static_cast<int>(image.shape(2))};
    py::array_t<float> logits({static_cast<py::ssize_t>(session_->out_channels()), image.shape(1), image.shape(2)});
    const float* from = image.data();
    float* to = logits.mutable_data();
    Status status;
    {
      py::gil_scoped_release release;
      status = streams ? run_streamed(from, size, to, options) : session_->run(from, size, to, options);
    }
    raise_unless(status);
    return logits;
  }

  // For tests: as the standalone command runs it.
  Status run_streamed(const float* from, ImageSize size, float* to, const RunOptions& options) {
    const ptrdiff_t plane = static_cast<ptrdiff_t>(size.height) * size.width;
    const Stream stream = {[&](float* image) { std::copy_n(from, size.channels * plane, image); },
                           [&](const LogitRows& rows) {
                             for (int k = 0; k < session_->out_channels(); ++k) {
                               std::copy_n(rows.data + k * rows.plane, (rows.y1 - rows.y0) * size.width,
                                           to + k * plane + static_cast<ptrdiff_t>(rows.y0) * size.width);
                             }
                           }};
    return session_->run(stream, size, options);
  }

  std::unique_ptr<Session> session_;
};

}  // namespace
}  // namespace unetq

PYBIND11_MODULE(_native, module) {
  using unetq::PyModel;
  module.doc() = "The compiled runtime; use it through unetq.runtime.model.";
  py::class_<PyModel>(module, "Model")
      .def(py::init<const std::string&, int, bool>(), py::arg("path"), py::arg("threads") = 0,
           py::arg("verify_hash") = true)
      .def("metadata", &PyModel::metadata)
      .def("tensor", &PyModel::tensor, py::arg("name"))
      .def("run", &PyModel::run, py::arg("image"), py::arg("strip_rows") = 0, py::arg("packs") = false,
           py::arg("streams") = false)
      .def("dump", &PyModel::dump, py::arg("image"))
      .def("profile", &PyModel::profile, py::arg("image"))
      .def("plan", &PyModel::plan, py::arg("height"), py::arg("width"), py::arg("streams") = false,
           py::arg("packs") = false)
      .def("least_bytes", &PyModel::least_bytes, py::arg("height"), py::arg("width"))
      .def("buffers", &PyModel::buffers, py::arg("height"), py::arg("width"))
      .def("tune", &PyModel::tune, py::arg("height"), py::arg("width"), py::arg("path"), py::arg("progress"))
      .def("peak_gmacs", &PyModel::peak_gmacs)
      .def_property_readonly("isa", &PyModel::isa)
      .def_property_readonly("hash", &PyModel::hash)
      .def_property_readonly("threads", &PyModel::threads);
  module.def("isas", [] {
    std::vector<std::string> names;
    for (unetq::Isa isa : unetq::available_isas()) names.emplace_back(unetq::isa_name(isa));
    return names;
  });
  module.def("cpu_model", &unetq::cpu_model);
  module.def("default_timings_path", &unetq::default_timings_path);
  module.def(
      "read_timings",
      [](const std::string& path) {
        std::string why;
        const std::shared_ptr<const unetq::Timings> timings = unetq::read_timings(path, &why);
        return py::make_tuple(*timings, why);
      },
      py::arg("path"), "({layer: {kernel: ms}}, why there are none although there is a file, or \"\").");
  unetq::bind_kernels(module);
  unetq::bind_training(module);
}
