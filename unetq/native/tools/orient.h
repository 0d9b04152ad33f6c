// A study seen along the patient's axes: permutations and flips only, so nothing is copied and nothing is lost.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "study.h"

namespace unetq {

// Voxel (x, y, z) of the view is the study's voxel number start + x * stride[0] + y * stride[1] + z * stride[2], and
// the mask's likewise by mask_*.
struct View3 {
  std::array<int64_t, 3> size{}, stride{}, mask_stride{};
  int64_t start = 0, mask_start = 0;
  double pixel_x = 1, pixel_y = 1;  // mm
};

// orientation: where x, y and z go, like "LPS"; "" leaves the axes as they are.
View3 view_of(const Study& study, const std::string& orientation);

}  // namespace unetq
