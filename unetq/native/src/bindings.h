// Parts of the Python module `unetq._native`.
#pragma once

#include <pybind11/pybind11.h>

#include "model.h"

namespace unetq {

// A failed status is a ValueError with its sentence.
inline void raise_unless(const Status& status) {
  if (!status.ok) throw pybind11::value_error(status.message);
}

const char* op_name(OpKind op);

void bind_kernels(pybind11::module_& module);   // kernels(), run_kernel(): for tests and benchmarks
void bind_training(pybind11::module_& module);  // fake_quantize() and its gradient

}  // namespace unetq
