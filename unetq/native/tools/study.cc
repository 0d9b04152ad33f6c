#include "study.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "files.h"
#include "formats.h"

namespace unetq {

namespace {

constexpr int64_t kMaxSide = 1 << 20;

template <typename T>
void spread(const Study& study, int64_t first, int64_t stride, int64_t count, double* out) {
  const uint8_t* from = study.voxels.get() + first * static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, from + i * stride * static_cast<int64_t>(sizeof(T)), sizeof(T));
    out[i] = static_cast<double>(value);
  }
}

void check_finite(const Study& study, const std::string& path) {
  if (study.sample != Sample::kF32 && study.sample != Sample::kF64 && study.slope == 1 && study.inter == 0) return;
  constexpr int64_t kSome = 512;
  double values[kSome];
  for (int64_t at = 0; at < study.count(); at += kSome) {
    const int64_t some = std::min(kSome, study.count() - at);
    intensities(study, at, 1, some, values);  // in the order of memory: which is which does not matter
    for (int64_t i = 0; i < some; ++i) {
      if (!std::isfinite(values[i])) {
        throw Refusal(path + " holds NaN or infinite pixels: replace them, for example by the background's value.");
      }
    }
  }
}

}  // namespace

void intensities(const Study& study, int64_t first, int64_t stride, int64_t count, double* out) {
  using Spread = void (*)(const Study&, int64_t, int64_t, int64_t, double*);
  constexpr Spread kSpreads[] = {spread<uint8_t>, spread<int8_t>,   spread<uint16_t>, spread<int16_t>, spread<uint32_t>,
                                 spread<int32_t>, spread<uint64_t>, spread<int64_t>,  spread<float>,   spread<double>};
  kSpreads[static_cast<int>(study.sample)](study, first, stride, count, out);
  if (study.slope != 1) {
    for (int64_t i = 0; i < count; ++i) out[i] *= study.slope;
  }
  if (study.inter != 0) {
    for (int64_t i = 0; i < count; ++i) out[i] += study.inter;
  }
}

Format format_of(const std::string& path) {
  const std::string name = lower(path);
  if (ends_with(name, ".nii") || ends_with(name, ".nii.gz")) return Format::kNifti;
  if (ends_with(name, ".npy")) return Format::kNumpy;
  if (ends_with(name, ".pgm")) return Format::kPgm;
  throw Refusal(path + ": this command reads and writes .nii, .nii.gz, .npy and .pgm; use `unetq predict` for others.");
}

void read_voxels(Input& input, Study* study, bool swap, const std::string& path) {
  uint64_t bytes = sample_bytes(study->sample);
  for (int64_t side : study->size) {
    if (side < 1) throw Refusal(path + " is empty.");
    if (side > kMaxSide) throw Refusal(path + " has a side of more than 1048576 voxels: cut it.");
    bytes *= static_cast<uint64_t>(side);  // at most 2^63, as the file's length is checked in between
    if (bytes > input.most_bytes()) input.damaged();
  }
  if (bytes > input.most_memory()) {
    throw Refusal("The voxels of " + path + " alone take " + std::to_string((bytes >> 20) + 1) +
                  " MiB of memory, but " + std::to_string(input.most_memory() >> 20) +
                  " MiB are left of --max-memory: allow more, or cut it.");
  }
  study->voxels.reset(new uint8_t[bytes]);
  input.read(study->voxels.get(), bytes);
  const size_t width = sample_bytes(study->sample);
  if (swap && width > 1) {
    for (uint8_t* at = study->voxels.get(); at < study->voxels.get() + bytes; at += width) std::reverse(at, at + width);
  }
}

Study read_study(const std::string& path, uint64_t most_memory) {
  const Format format = format_of(path);
  Input input(path, most_memory);
  Study study = format == Format::kNifti ? read_nifti(input, path)
                : format == Format::kPgm ? read_pgm(input, path)
                                         : read_numpy(input, path);
  input.finish();
  study.format = format;
  check_finite(study, path);
  return study;
}

void write_mask(const uint8_t* mask, const Study& like, const std::string& path) {
  Output output(path);
  const std::vector<uint8_t> head = like.format == Format::kNifti ? nifti_mask_head(like)
                                    : like.format == Format::kPgm ? pgm_mask_head(like)
                                                                  : numpy_mask_head(like);
  output.write(head.data(), head.size());
  output.write(mask, static_cast<size_t>(like.count()));
  output.commit();
}

}  // namespace unetq
