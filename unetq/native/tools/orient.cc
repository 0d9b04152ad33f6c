#include "orient.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace unetq {

namespace {

using Matrix = std::array<std::array<double, 3>, 3>;

Matrix inverse_transposed(const Matrix& m, double* determinant) {
  Matrix c;
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j) {
      const size_t a = (i + 1) % 3, b = (i + 2) % 3, p = (j + 1) % 3, q = (j + 2) % 3;
      c[i][j] = m[a][p] * m[b][q] - m[a][q] * m[b][p];
    }
  }
  *determinant = m[0][0] * c[0][0] + m[0][1] * c[0][1] + m[0][2] * c[0][2];
  for (auto& row : c) {
    for (double& value : row) value /= *determinant;
  }
  return c;
}

// The rotation nearest to the axes' directions (polar decomposition, by Newton's iteration X = (X + X^-T) / 2, which
// converges quadratically for every regular matrix).
bool rotation(const Study& study, Matrix* rotation) {
  Matrix x = study.axes;
  for (size_t j = 0; j < 3; ++j) {
    const double length = std::sqrt(x[0][j] * x[0][j] + x[1][j] * x[1][j] + x[2][j] * x[2][j]);
    for (auto& row : x) row[j] /= length == 0 ? 1 : length;
  }
  for (int i = 0; i < 60; ++i) {
    double determinant = 0;
    const Matrix y = inverse_transposed(x, &determinant);
    if (!(std::fabs(determinant) > 1e-12)) return false;
    for (size_t a = 0; a < 3; ++a) {
      for (size_t b = 0; b < 3; ++b) x[a][b] = (x[a][b] + y[a][b]) / 2;
    }
  }
  *rotation = x;
  return true;
}

struct Direction {
  size_t world = 0;  // right, front, head
  bool positive = true;
};

// As nibabel's io_orientation: the axis that points most clearly along a direction of the patient takes it first.
std::array<Direction, 3> directions(const Study& study) {
  Matrix r;
  if (!rotation(study, &r)) throw Refusal("The study has an unusable geometry (its affine is singular): repair it.");
  std::array<double, 3> clear;
  for (size_t j = 0; j < 3; ++j) clear[j] = std::max({r[0][j] * r[0][j], r[1][j] * r[1][j], r[2][j] * r[2][j]});
  std::array<size_t, 3> order = {0, 1, 2};
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return clear[a] > clear[b]; });
  std::array<Direction, 3> found;
  for (size_t axis : order) {
    size_t best = 0;
    for (size_t w = 1; w < 3; ++w) {
      if (std::fabs(r[w][axis]) > std::fabs(r[best][axis])) best = w;
    }
    found[axis] = {best, r[best][axis] > 0};
    r[best] = {0, 0, 0};
  }
  return found;
}

Direction direction_of(char letter) {
  switch (letter) {
    case 'R':
      return {0, true};
    case 'L':
      return {0, false};
    case 'A':
      return {1, true};
    case 'P':
      return {1, false};
    case 'S':
      return {2, true};
    default:
      return {2, false};
  }
}

}  // namespace

View3 view_of(const Study& study, const std::string& orientation) {
  std::array<size_t, 3> from = {0, 1, 2};  // axis of the study for each of the view
  std::array<bool, 3> flip = {false, false, false};
  if (!orientation.empty()) {
    const std::array<Direction, 3> has = directions(study);
    for (size_t to = 0; to < 3; ++to) {
      const Direction wanted = direction_of(orientation[to]);
      for (size_t axis = 0; axis < 3; ++axis) {
        if (has[axis].world != wanted.world) continue;
        from[to] = axis;
        flip[to] = has[axis].positive != wanted.positive;
      }
    }
  }
  View3 view;
  const std::array<int64_t, 3> mask_stride = {1, study.size[0], study.size[0] * study.size[1]};
  for (size_t to = 0; to < 3; ++to) {
    const size_t axis = from[to];
    const int64_t sign = flip[to] ? -1 : 1;
    view.size[to] = study.size[axis];
    view.stride[to] = sign * study.stride[axis];
    view.mask_stride[to] = sign * mask_stride[axis];
    if (flip[to]) {
      view.start += (study.size[axis] - 1) * study.stride[axis];
      view.mask_start += (study.size[axis] - 1) * mask_stride[axis];
    }
  }
  view.pixel_x = study.spacing[from[0]];
  view.pixel_y = study.spacing[from[1]];
  return view;
}

}  // namespace unetq
