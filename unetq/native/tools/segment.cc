#include "segment.h"

#include <algorithm>
#include <cmath>

#include "orient.h"

namespace unetq {

namespace {

void require(const Status& status) {
  if (!status.ok) throw Refusal(status.message);
}

// Sizes of a slice in the study and as the network sees it.
struct Geometry {
  View3 view;
  Shape study, seen;
  std::vector<Window> rows, columns;

  Geometry(const Study& from, const Prep& prep) : view(view_of(from, prep.orientation)) {
    study = {view.size[1], view.size[0]};
    seen = study;
    if (prep.spacing > 0) {
      if (!from.knows_spacing) {
        throw Refusal("The image says no pixel size, but this model works at a fixed one: give it with --spacing MM.");
      }
      seen.height = resampled_side(study.height, view.pixel_y, prep.spacing);
      seen.width = resampled_side(study.width, view.pixel_x, prep.spacing);
    }
    rows = windows(seen.height, prep);
    columns = windows(seen.width, prep);
  }

  bool whole() const { return rows.size() == 1 && columns.size() == 1; }
  size_t pixels() const { return static_cast<size_t>(seen.height) * static_cast<size_t>(seen.width); }
  int tile_height() const { return static_cast<int>(rows[0].weights.size()); }
  int tile_width() const { return static_cast<int>(columns[0].weights.size()); }
};

class Segmenter {
 public:
  Segmenter(const Study& study, const Job& job)
      : study_(study), job_(job), at_(study, job.prep), classes_(static_cast<size_t>(job.session->out_channels())) {
    image_.resize(at_.pixels());
    logits_.resize(classes_ * at_.pixels());
    if (!at_.whole()) {
      tile_.resize(static_cast<size_t>(at_.tile_height()) * static_cast<size_t>(at_.tile_width()));
      tile_logits_.resize(classes_ * tile_.size());
    }
    mask_.reset(new uint8_t[static_cast<size_t>(study.count())]);
  }

  std::unique_ptr<uint8_t[]> run() {
    for (int64_t z = 0; z < at_.view.size[2]; ++z) {
      const int64_t first = at_.view.start + z * at_.view.stride[2];
      const Rows rows = [&](int64_t y, double* row) {
        intensities(study_, first + y * at_.view.stride[1], at_.view.stride[0], at_.study.width, row);
      };
      prepare_slice(resampled(rows, at_.study, at_.seen), at_.seen, job_.prep, image_.data());
      network(z);
      labels(at_.view.mask_start + z * at_.view.mask_stride[2]);
    }
    return std::move(mask_);
  }

 private:
  void network(int64_t z) {
    const ImageSize size = {1, at_.tile_height(), at_.tile_width()};
    int64_t done = z * static_cast<int64_t>(at_.rows.size() * at_.columns.size());
    const int64_t total = at_.view.size[2] * static_cast<int64_t>(at_.rows.size() * at_.columns.size());
    if (at_.whole()) {
      require(job_.session->run(image_.data(), size, logits_.data(), {job_.on_layer}));
      job_.on_tile(done + 1, total);
      return;
    }
    std::fill(logits_.begin(), logits_.end(), 0.0f);
    for (const Window& down : at_.rows) {
      for (const Window& across : at_.columns) {
        cut(down, across);
        require(job_.session->run(tile_.data(), size, tile_logits_.data(), {job_.on_layer}));
        blend(down, across);
        job_.on_tile(++done, total);
      }
    }
  }

  size_t place(const Window& down, const Window& across, size_t y) const {
    return (static_cast<size_t>(down.start) + y) * static_cast<size_t>(at_.seen.width) +
           static_cast<size_t>(across.start);
  }

  void cut(const Window& down, const Window& across) {
    float* to = tile_.data();
    for (size_t y = 0; y < down.weights.size(); ++y, to += across.weights.size()) {
      std::copy_n(image_.data() + place(down, across, y), across.weights.size(), to);
    }
  }

  void blend(const Window& down, const Window& across) {
    const float* from = tile_logits_.data();
    for (size_t k = 0; k < classes_; ++k) {
      for (size_t y = 0; y < down.weights.size(); ++y, from += across.weights.size()) {
        float* to = logits_.data() + k * at_.pixels() + place(down, across, y);
        for (size_t x = 0; x < across.weights.size(); ++x) {
          const float weight = down.weights[y] * across.weights[x];
          to[x] += from[x] * weight;
        }
      }
    }
  }

  // Logits, not labels, go back to the study's pixel size, a row at a time.
  void labels(int64_t mask_start) {
    std::vector<Rows> planes;
    planes.reserve(classes_);
    for (size_t k = 0; k < classes_; ++k) {
      const float* plane = logits_.data() + k * at_.pixels();
      const int64_t width = at_.seen.width;
      planes.push_back(resampled([plane, width](int64_t y, double* row) { std::copy_n(plane + y * width, width, row); },
                                 at_.seen, at_.study));
    }
    std::vector<double> row(static_cast<size_t>(at_.study.width));
    std::vector<float> best(row.size());
    std::vector<uint8_t> label(row.size());
    for (int64_t y = 0; y < at_.study.height; ++y) {
      for (size_t k = 0; k < classes_; ++k) {
        planes[k](y, row.data());
        for (size_t x = 0; x < row.size(); ++x) {
          const float value = static_cast<float>(row[x]);
          const bool first = k == 0 && classes_ > 1;
          // The first of the largest; of one class, where it is above 0.
          const bool wins = classes_ == 1 ? value > 0 : first || value > best[x];
          if (first || wins) best[x] = value;
          label[x] = wins ? static_cast<uint8_t>(classes_ == 1 ? 1 : k) : (k == 0 ? uint8_t{0} : label[x]);
        }
      }
      uint8_t* to = mask_.get() + mask_start + y * at_.view.mask_stride[1];
      for (int64_t x = 0; x < at_.study.width; ++x) to[x * at_.view.mask_stride[0]] = label[static_cast<size_t>(x)];
    }
  }

  const Study& study_;
  const Job& job_;
  const Geometry at_;
  const size_t classes_;
  std::vector<float> image_, logits_, tile_, tile_logits_;
  std::unique_ptr<uint8_t[]> mask_;
};

}  // namespace

Need needed_bytes(const Study& study, const Job& job) {
  const Geometry at(study, job.prep);
  const uint64_t classes = static_cast<uint64_t>(job.session->out_channels());
  Need need;
  need.around = static_cast<uint64_t>(study.count()) + (1 + classes) * at.pixels() * sizeof(float);
  const uint64_t tile = static_cast<uint64_t>(at.tile_height()) * static_cast<uint64_t>(at.tile_width());
  if (!at.whole()) need.around += (1 + classes) * tile * sizeof(float);
  Plan plan;
  require(job.session->plan({at.tile_height(), at.tile_width()}, &plan));
  need.network = job.session->bytes_of(plan);
  require(job.session->least_bytes(at.tile_height(), at.tile_width(), &need.least));
  return need;
}

ImageSize tile_size(const Study& study, const Job& job) {
  const Geometry at(study, job.prep);
  return {1, at.tile_height(), at.tile_width()};
}

std::unique_ptr<uint8_t[]> segment(const Study& study, const Job& job) { return Segmenter(study, job).run(); }

}  // namespace unetq
