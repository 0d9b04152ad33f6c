// Times the kernels that could run each operation of a model, where they would run: in the network itself.
#pragma once

#include <functional>
#include <vector>

#include "execute.h"
#include "timings.h"

namespace unetq {

struct TunedLayer {
  size_t op = 0;
  const Kernel* first = nullptr;                     // the table's choice
  const Kernel* chosen = nullptr;                    // by the timings
  std::vector<std::pair<const Kernel*, double>> ms;  // of each candidate, in the table's order
};

struct Tuned {
  Timings timings;
  std::vector<TunedLayer> layers;  // operations that have a kernel
};

// Called after each run of the network; may throw to stop.
using TuneProgress = std::function<void(int done, int total)>;

// Afterwards the session runs the kernels that were chosen; if it fails or is stopped, those that it had.
Status tune(Session* session, ImageSize size, const TuneProgress& progress, Tuned* tuned);

}  // namespace unetq
