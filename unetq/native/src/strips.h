// Strips: the operations of one level run a few rows at a time, so that a full-resolution tensor is never whole, but
// for what another level needs (the skips). Nothing is computed twice: what the next strip reads again stays in a
// rolling buffer.
#pragma once

#include <vector>

#include "model.h"

namespace unetq {

struct Plan;

// The rolling buffer of a group: before a step its first row becomes `low[step]`, what is older is dropped.
struct Roll {
  int buffer = -1;
  std::vector<int> low;
  std::vector<int> high;  // rows written after the step
};

// Operations [first, last] that run strip by strip; one step is a group that runs whole.
struct Group {
  int first = 0, last = 0;
  std::vector<std::vector<int>> rows;  // [step][operation - first]: rows of its output that are done after the step
  std::vector<Roll> rolls;
  bool strips() const { return rows.size() > 1; }
};

// Cuts the network behind each pooling and before each upsampling, and each level into strips. `strip_rows`: rows of
// the image a strip, 0 = chosen by the level's width.
std::vector<Group> make_groups(const Model& model, int height, int width, int strip_rows);

// The nearest upsampling that the first channels of a convolution's input come from, by itself or in a concatenation,
// or null.
const Op* upsampling_of(const Model& model, const Op& conv);

// Finds the buffers that only one group of strips touches, and how many rows of them have to be held.
void make_rolls(const Model& model, Plan* plan);

}  // namespace unetq
