#include "segment.h"

#include <algorithm>
#include <cmath>

#include "../kernels/select.h"
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
  bool resampled() const { return !(seen == study); }
  // Of a slice outside the network's own memory, which does for one that is neither tiled nor resampled.
  size_t image_pixels() const { return whole() ? 0 : pixels(); }
  size_t logits_pixels() const { return whole() && !resampled() ? 0 : pixels(); }
  size_t pixels() const { return static_cast<size_t>(seen.height) * static_cast<size_t>(seen.width); }
  int tile_height() const { return static_cast<int>(rows[0].weights.size()); }
  int tile_width() const { return static_cast<int>(columns[0].weights.size()); }
};

class Segmenter {
 public:
  Segmenter(const Study& study, const Job& job)
      : study_(study),
        job_(job),
        at_(study, job.prep),
        classes_(static_cast<size_t>(job.session->out_channels())),
        argmax_(candidates({OpKind::kArgmax}, job.session->isa()).front()) {
    image_.resize(at_.image_pixels());
    logits_.resize(classes_ * at_.logits_pixels());
    mask_.reset(new uint8_t[static_cast<size_t>(study.count())]);
  }

  std::unique_ptr<uint8_t[]> run() {
    for (int64_t z = 0; z < at_.view.size[2]; ++z) {
      const int64_t first = at_.view.start + z * at_.view.stride[2];
      const Rows rows = [&](int64_t y, double* row) {
        intensities(study_, first + y * at_.view.stride[1], at_.view.stride[0], at_.study.width, row);
      };
      const Rows seen = resampled(rows, at_.study, at_.seen);
      mask_start_ = at_.view.mask_start + z * at_.view.mask_stride[2];
      if (at_.whole()) {
        whole(seen);
      } else {
        tiles(seen);
      }
      if (at_.resampled()) {
        labels_resampled();
      } else if (!logits_.empty()) {
        labels({logits_.data(), static_cast<ptrdiff_t>(at_.pixels()), 0, static_cast<int>(at_.seen.height)});
      }
    }
    return std::move(mask_);
  }

 private:
  void network(const Stream& stream) {
    require(job_.session->run(stream, {1, at_.tile_height(), at_.tile_width()}, {job_.on_layer}));
    job_.on_tile(++done_, at_.view.size[2] * static_cast<int64_t>(at_.rows.size() * at_.columns.size()));
  }

  void whole(const Rows& seen) {
    network({[&](float* image) { prepare_slice(seen, at_.seen, job_.prep, image); },
             [&](const LogitRows& rows) {
               if (at_.resampled()) {
                 keep(rows);
               } else {
                 labels(rows);
               }
             }});
  }

  void tiles(const Rows& seen) {
    prepare_slice(seen, at_.seen, job_.prep, image_.data());
    std::fill(logits_.begin(), logits_.end(), 0.0f);
    for (const Window& down : at_.rows) {
      for (const Window& across : at_.columns) {
        network(
            {[&](float* tile) { cut(down, across, tile); }, [&](const LogitRows& rows) { blend(down, across, rows); }});
      }
    }
  }

  void keep(const LogitRows& rows) {
    const ptrdiff_t width = at_.seen.width;
    for (size_t k = 0; k < classes_; ++k) {
      std::copy_n(rows.data + static_cast<ptrdiff_t>(k) * rows.plane, (rows.y1 - rows.y0) * width,
                  logits_.data() + k * at_.pixels() + rows.y0 * width);
    }
  }

  size_t place(const Window& down, const Window& across, size_t y) const {
    return (static_cast<size_t>(down.start) + y) * static_cast<size_t>(at_.seen.width) +
           static_cast<size_t>(across.start);
  }

  void cut(const Window& down, const Window& across, float* to) const {
    for (size_t y = 0; y < down.weights.size(); ++y, to += across.weights.size()) {
      std::copy_n(image_.data() + place(down, across, y), across.weights.size(), to);
    }
  }

  void blend(const Window& down, const Window& across, const LogitRows& rows) {
    for (size_t k = 0; k < classes_; ++k) {
      const float* from = rows.data + static_cast<ptrdiff_t>(k) * rows.plane;
      for (size_t y = static_cast<size_t>(rows.y0); y < static_cast<size_t>(rows.y1); ++y) {
        float* to = logits_.data() + k * at_.pixels() + place(down, across, y);
        for (size_t x = 0; x < across.weights.size(); ++x) {
          const float weight = down.weights[y] * across.weights[x];
          to[x] += from[x] * weight;
        }
        from += across.weights.size();
      }
    }
  }

  // Of rows as the network saw them, in a study of the same size.
  void labels(const LogitRows& rows) {
    MapRows job;
    job.image = rows.data;
    job.image_plane = rows.plane;
    job.width = static_cast<int>(at_.seen.width);
    job.y1 = rows.y1 - rows.y0;
    label_rows(job, rows.y0);
  }

  // Logits, not labels, go back to the study's pixel size, a row at a time.
  void labels_resampled() {
    const ptrdiff_t width = at_.seen.width, to_width = at_.study.width;
    std::vector<Rows> planes;
    planes.reserve(classes_);
    for (size_t k = 0; k < classes_; ++k) {
      const float* plane = logits_.data() + k * at_.pixels();
      planes.push_back(
          resampled([=](int64_t y, double* row) { std::copy_n(plane + y * width, width, row); }, at_.seen, at_.study));
    }
    std::vector<double> row(static_cast<size_t>(to_width));
    std::vector<float> logits(classes_ * row.size());
    MapRows job;
    job.image = logits.data();
    job.image_plane = to_width;
    job.width = static_cast<int>(to_width);
    job.y1 = 1;
    for (int64_t y = 0; y < at_.study.height; ++y) {
      for (size_t k = 0; k < classes_; ++k) {
        planes[k](y, row.data());
        std::transform(row.begin(), row.end(), logits.data() + k * row.size(),
                       [](double value) { return static_cast<float>(value); });
      }
      label_rows(job, y);
    }
  }

  // Row `y` of the slice's mask, and those behind it.
  void label_rows(MapRows job, int64_t y) const {
    job.channels = static_cast<int>(classes_);
    job.out = mask_.get() + mask_start_ + y * at_.view.mask_stride[1];
    job.out_row = static_cast<ptrdiff_t>(at_.view.mask_stride[1]);
    job.out_pixel = static_cast<ptrdiff_t>(at_.view.mask_stride[0]);
    argmax_->map(job);
  }

  const Study& study_;
  const Job& job_;
  const Geometry at_;
  const size_t classes_;
  const Kernel* const argmax_;
  std::vector<float> image_, logits_;
  int64_t mask_start_ = 0, done_ = 0;
  std::unique_ptr<uint8_t[]> mask_;
};

}  // namespace

Need needed_bytes(const Study& study, const Job& job) {
  const Geometry at(study, job.prep);
  const uint64_t classes = static_cast<uint64_t>(job.session->out_channels());
  Need need;
  need.around =
      static_cast<uint64_t>(study.count()) + (at.image_pixels() + classes * at.logits_pixels()) * sizeof(float);
  PlanSize size = {at.tile_height(), at.tile_width()};
  size.streams = true;
  Plan plan, least;
  require(job.session->plan(size, &plan));
  require(job.session->least_plan(size, &least));
  need.network = job.session->bytes_of(plan);
  need.least = job.session->bytes_of(least);
  need.weights = std::max(plan.weights_bytes, least.weights_bytes);
  return need;
}

ImageSize tile_size(const Study& study, const Job& job) {
  const Geometry at(study, job.prep);
  return {1, at.tile_height(), at.tile_width()};
}

std::unique_ptr<uint8_t[]> segment(const Study& study, const Job& job) { return Segmenter(study, job).run(); }

}  // namespace unetq
