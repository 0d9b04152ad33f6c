// Every row of the table that this CPU can run against the scalar reference, bit for bit, on random and extreme
// numbers.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "../kernels/select.h"

namespace unetq {

struct RowResult {
  const Kernel* kernel = nullptr;
  int cases = 0;        // compared; 0: this CPU lacks the row's instruction set
  std::string failure;  // one sentence; empty: all were equal
};

// Rows in the table's order; `cases` random ones a row (the extremes come on top), the same at each call. `done` hears
// of each row when it is finished.
std::vector<RowResult> self_test(int cases, const std::function<void(const RowResult&)>& done = nullptr);

}  // namespace unetq
