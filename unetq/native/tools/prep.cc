#include "prep.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

namespace unetq {

namespace {

template <typename T>
const T* key(const Model& model, const char* name) {
  const auto found = model.metadata.find(std::string("unetq.prep.") + name);
  return found == model.metadata.end() ? nullptr : std::get_if<T>(&found->second);
}

Refusal refused(const std::string& what) {
  return Refusal("The model's preparation is damaged (" + what + "); export it again.");
}

// Three letters, one of each direction of the patient.
bool is_orientation(const std::string& text) {
  int seen[3] = {0, 0, 0};
  for (char c : text) {
    if (c == 'L' || c == 'R') ++seen[0];
    if (c == 'P' || c == 'A') ++seen[1];
    if (c == 'I' || c == 'S') ++seen[2];
  }
  return text.size() == 3 && seen[0] == 1 && seen[1] == 1 && seen[2] == 1;
}

constexpr int64_t kBlock = 128;

// numpy's pairwise sum of n numbers that `next(values, count)` hands out in order: 8 running sums in blocks of at most
// 128, halves added up, each half a multiple of 8 long. Another order would give another last bit.
template <typename Next>
// NOLINTNEXTLINE(misc-no-recursion): as deep as the logarithm of n
double pairwise(int64_t n, Next& next) {
  if (n > kBlock) {
    const int64_t half = n / 2 - n / 2 % 8;
    const double first = pairwise(half, next);
    return first + pairwise(n - half, next);
  }
  double values[kBlock] = {};
  next(values, n);
  int64_t i = 0;
  double sum = 0;
  if (n >= 8) {
    double r[8];
    std::copy(values, values + 8, r);
    for (i = 8; i < n - n % 8; i += 8) {
      for (int k = 0; k < 8; ++k) r[k] += values[i + k];
    }
    sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
  }
  for (; i < n; ++i) sum += values[i];
  return sum;
}

// Values of a slice in order, mapped to [0, 1], without a plane of them.
class Sequence {
 public:
  Sequence(const Rows& rows, Shape shape, double low, double high, const Prep& prep)
      : rows_(rows),
        row_(static_cast<size_t>(shape.width)),
        at_(shape.width),
        low_(low),
        range_(high - low),
        prep_(prep) {}

  void operator()(double* out, int64_t count) {
    const int64_t width = static_cast<int64_t>(row_.size());
    for (int64_t done = 0; done < count;) {
      if (at_ == width) {
        rows_(y_++, row_.data());
        at_ = 0;
      }
      const int64_t some = std::min(count - done, width - at_);
      for (int64_t i = 0; i < some; ++i) {
        double value = row_[static_cast<size_t>(at_ + i)];
        if (prep_.has_window) value = std::min(std::max(value, prep_.low), prep_.high);
        *out++ = (value - low_) / range_;
      }
      at_ += some;
      done += some;
    }
  }

 private:
  const Rows& rows_;
  std::vector<double> row_;
  int64_t at_, y_ = 0;
  const double low_, range_;
  const Prep& prep_;
};

// Smallest and largest intensity inside the window.
std::pair<double, double> extremes(const Rows& rows, Shape shape, const Prep& prep) {
  std::vector<double> row(static_cast<size_t>(shape.width));
  double low = HUGE_VAL, high = -HUGE_VAL;
  for (int64_t y = 0; y < shape.height; ++y) {
    rows(y, row.data());
    for (double value : row) {
      if (prep.has_window) value = std::min(std::max(value, prep.low), prep.high);
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  return {low, high};
}

constexpr double kSigma = 0.125;  // standard deviation of a tile's weights, as a share of the tile

}  // namespace

Prep prep_of(const Model& model) {
  Prep prep;
  const std::string* normalise = key<std::string>(model, "normalise");
  const uint64_t* tile = key<uint64_t>(model, "tile");
  const double* overlap = key<double>(model, "overlap");
  if (normalise == nullptr || tile == nullptr || overlap == nullptr) throw refused("a key is missing");
  if (*normalise != "zscore" && *normalise != "unit") throw refused("its normalisation is unknown");
  if (*tile < 8 || *tile > 16384) throw refused("its tile is not 8 to 16384 pixels");
  if (!(*overlap >= 0 && *overlap <= 0.75)) throw refused("its overlap is not 0 to 0.75");
  prep.zscore = *normalise == "zscore";
  prep.tile = static_cast<int>(*tile);
  prep.overlap = *overlap;
  if (model.metadata.count("unetq.prep.window_low") != 0) {
    const double *low = key<double>(model, "window_low"), *high = key<double>(model, "window_high");
    if (low == nullptr || high == nullptr || !(*low < *high)) throw refused("its window is empty");
    prep.has_window = true;
    prep.low = *low;
    prep.high = *high;
  }
  if (model.metadata.count("unetq.prep.orientation") != 0) {
    const std::string* orientation = key<std::string>(model, "orientation");
    if (orientation == nullptr || !is_orientation(*orientation)) throw refused("its orientation is unknown");
    prep.orientation = *orientation;
  }
  if (model.metadata.count("unetq.prep.spacing") != 0) {
    const double* spacing = key<double>(model, "spacing");
    if (spacing == nullptr || !(*spacing > 0 && std::isfinite(*spacing))) throw refused("its spacing is not above 0");
    prep.spacing = *spacing;
  }
  return prep;
}

Lattice::Lattice(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double last = static_cast<double>(from - 1);
  for (std::vector<int64_t>* each : {&low, &high}) each->reserve(static_cast<size_t>(to));
  t.reserve(static_cast<size_t>(to));
  for (int64_t i = 0; i < to; ++i) {
    const double at = std::min(std::max((static_cast<double>(i) + 0.5) * scale - 0.5, 0.0), last);
    low.push_back(static_cast<int64_t>(at));
    high.push_back(std::min(low.back() + 1, from - 1));
    t.push_back(at - static_cast<double>(low.back()));
  }
}

int64_t resampled_side(int64_t n, double mm, double target) {
  const double side = std::nearbyint(static_cast<double>(n) * mm / target);
  if (side > 1 << 20)
    throw Refusal("The study would have more than 1048576 pixels in a row at the model's pixel size.");
  return std::max<int64_t>(1, static_cast<int64_t>(side));
}

Rows resampled(Rows rows, Shape from, Shape to) {
  if (from == to) return rows;
  struct State {
    Rows rows;
    Lattice y, x;
    std::vector<double> a, b;
  };
  const size_t width = static_cast<size_t>(from.width);
  auto state = std::make_shared<State>(State{std::move(rows),
                                             {from.height, to.height},
                                             {from.width, to.width},
                                             std::vector<double>(width),
                                             std::vector<double>(width)});
  return [state, from, to](int64_t y, double* out) {
    State& s = *state;
    const size_t at = static_cast<size_t>(y);
    s.rows(from.height == to.height ? y : s.y.low[at], s.a.data());
    if (from.height != to.height) {
      s.rows(s.y.high[at], s.b.data());
      for (size_t i = 0; i < s.a.size(); ++i) s.a[i] = s.a[i] + (s.b[i] - s.a[i]) * s.y.t[at];
    }
    if (from.width == to.width) {
      std::copy(s.a.begin(), s.a.end(), out);
      return;
    }
    for (size_t i = 0; i < s.x.t.size(); ++i) {
      const double a = s.a[static_cast<size_t>(s.x.low[i])], b = s.a[static_cast<size_t>(s.x.high[i])];
      out[i] = a + (b - a) * s.x.t[i];
    }
  };
}

void prepare_slice(const Rows& rows, Shape shape, const Prep& prep, float* image) {
  const int64_t count = shape.height * shape.width;
  auto [low, high] = extremes(rows, shape, prep);
  if (!prep.zscore && prep.has_window) {
    low = prep.low;
    high = prep.high;
  }
  if (low == high) {
    std::fill(image, image + count, 0.0f);
    return;
  }
  if (!std::isfinite(high - low)) {
    throw Refusal("The intensities of a slice are too far apart: give the model a window.");
  }
  double mean = 0, deviation = 1;
  if (prep.zscore) {
    Sequence values(rows, shape, low, high, prep);
    mean = pairwise(count, values) / static_cast<double>(count);
    Sequence again(rows, shape, low, high, prep);
    auto squares = [&](double* out, int64_t n) {
      again(out, n);
      for (int64_t i = 0; i < n; ++i) out[i] = (out[i] - mean) * (out[i] - mean);
    };
    deviation = std::sqrt(pairwise(count, squares) / static_cast<double>(count));
  }
  Sequence values(rows, shape, low, high, prep);
  std::vector<double> row(static_cast<size_t>(shape.width));
  for (int64_t y = 0; y < shape.height; ++y) {
    values(row.data(), shape.width);
    for (double value : row) {
      *image++ = static_cast<float>(prep.zscore ? (value - mean) / deviation : 2.0 * value - 1.0);
    }
  }
}

std::vector<Window> windows(int64_t n, const Prep& prep) {
  std::vector<int64_t> starts = {0};
  if (n > prep.tile) {
    const int64_t step = std::max<int64_t>(1, static_cast<int64_t>(prep.tile * (1.0 - prep.overlap)));
    const int64_t last = (n - prep.tile + step - 1) / step;
    for (int64_t i = 1; i <= last; ++i) starts.push_back(i * (n - prep.tile) / last);
  }
  const size_t side = static_cast<size_t>(std::min<int64_t>(n, prep.tile));
  std::vector<double> bell(side), total(static_cast<size_t>(n));
  for (size_t i = 0; i < side; ++i) {
    const double at = ((static_cast<double>(i) + 0.5) / static_cast<double>(side) - 0.5) / kSigma;
    bell[i] = std::exp(-0.5 * (at * at));
  }
  for (int64_t start : starts) {
    for (size_t i = 0; i < side; ++i) total[static_cast<size_t>(start) + i] += bell[i];
  }
  std::vector<Window> made;
  made.reserve(starts.size());
  for (int64_t start : starts) {
    Window window{start, std::vector<float>(side)};
    for (size_t i = 0; i < side; ++i) {
      window.weights[i] = static_cast<float>(bell[i] / total[static_cast<size_t>(start) + i]);
    }
    made.push_back(std::move(window));
  }
  return made;
}

}  // namespace unetq
