// What happens to a slice before the network and to its logits after it: unetq/image/*.py, operation by operation in
// the same order and precision, so that a mask has the same bits.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "../src/model.h"
#include "study.h"

namespace unetq {

struct Prep {
  bool has_window = false, zscore = true;
  double low = 0, high = 0;
  int tile = 0;
  double overlap = 0;
  std::string orientation;
  double spacing = 0;  // 0: as the study
};

// The model file's own; a refusal where a key is missing or out of range.
Prep prep_of(const Model& model);

// Fills rows of `width` intensities, one after the other from row 0.
using Rows = std::function<void(int64_t y, double* row)>;

// Linear resampling along one direction, from pixel centre to pixel centre.
struct Lattice {
  std::vector<int64_t> low, high;
  std::vector<double> t;
  Lattice(int64_t from, int64_t to);
};

struct Shape {
  int64_t height = 0, width = 0;
  bool operator==(const Shape& other) const { return height == other.height && width == other.width; }
};

// round(n * mm / target), half to even, at least 1.
int64_t resampled_side(int64_t n, double mm, double target);

// The rows of `rows` (of shape `from`) at shape `to`.
Rows resampled(Rows rows, Shape from, Shape to);

// Clips and normalises a slice: float32 [height][width].
void prepare_slice(const Rows& rows, Shape shape, const Prep& prep, float* image);

// A tile's place along one direction and the weights of its pixels; all tiles' weights at a pixel add up to 1.
struct Window {
  int64_t start = 0;
  std::vector<float> weights;
};
std::vector<Window> windows(int64_t n, const Prep& prep);

}  // namespace unetq
