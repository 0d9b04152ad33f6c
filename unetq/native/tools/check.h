// unetq-run --self-test: proof that this build computes on this CPU what the reference says.
#pragma once

namespace unetq {

// Prints a line a kernel and a verdict that names program, machine and time, so that it can be kept; false: one
// differs.
bool check_kernels(bool json);

}  // namespace unetq
