// unetq._native.fake_quantize and its gradient: used through unetq/quant/functions.py only.
#include <pybind11/numpy.h>

#include "bindings.h"
#include "fake_quantize.h"

namespace py = pybind11;

namespace unetq {

namespace {

template <typename Value>
using Flat = py::array_t<Value, py::array::c_style>;  // float32, or the bits of bfloat16 as uint16

template <typename Value>
void forward(const Flat<Value>& x, Flat<Value>& y, float step, int lo, int hi, int threads) {
  if (x.size() != y.size()) throw py::value_error("fake_quantize: x and y are of different size.");
  const CodeRange range{step, static_cast<float>(lo), static_cast<float>(hi)};
  const Value* from = x.data();
  Value* to = y.mutable_data();
  const py::gil_scoped_release release;
  fake_quantize(from, to, x.size(), range, threads);
}

template <typename Value>
double backward(const Flat<Value>& x, const Flat<Value>& grad, Flat<Value>& grad_x, float step, int lo, int hi,
                int threads) {
  if (x.size() != grad.size() || x.size() != grad_x.size()) {
    throw py::value_error("fake_quantize_backward: x, grad and grad_x are of different size.");
  }
  const CodeRange range{step, static_cast<float>(lo), static_cast<float>(hi)};
  const Value *values = x.data(), *gradient = grad.data();
  Value* to = grad_x.mutable_data();
  const py::gil_scoped_release release;
  return fake_quantize_backward(values, gradient, to, x.size(), range, threads);
}

template <typename Value>
void bind(py::module_& module) {
  module.def("fake_quantize", &forward<Value>, py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("step"),
             py::arg("lo"), py::arg("hi"), py::arg("threads"));
  module.def("fake_quantize_backward", &backward<Value>, py::arg("x").noconvert(), py::arg("grad").noconvert(),
             py::arg("grad_x").noconvert(), py::arg("step"), py::arg("lo"), py::arg("hi"), py::arg("threads"));
}

}  // namespace

void bind_training(py::module_& module) {
  bind<float>(module);
  bind<uint16_t>(module);
}

}  // namespace unetq
