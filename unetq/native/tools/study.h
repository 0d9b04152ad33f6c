// An image file in memory: its voxels as the file has them, and its place in the patient. What a file may be is
// refused as a `Refusal`, one sentence for the user.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace unetq {

struct Refusal : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Sample { kU8, kI8, kU16, kI16, kU32, kI32, kU64, kI64, kF32, kF64 };

constexpr size_t sample_bytes(Sample sample) {
  constexpr size_t kBytes[] = {1, 1, 2, 2, 4, 4, 8, 8, 4, 8};
  return kBytes[static_cast<int>(sample)];
}

enum class Format { kNumpy, kNifti, kPgm };

// Axes are x, y, z; a picture has one slice.
struct Study {
  Format format = Format::kNumpy;
  Sample sample = Sample::kU8;
  std::unique_ptr<uint8_t[]> voxels;  // in this machine's byte order
  std::array<int64_t, 3> size = {1, 1, 1};
  std::array<int64_t, 3> stride = {0, 0, 0};  // in voxels
  double slope = 1, inter = 0;  // intensity = voxel * slope + inter, each step only where it is not 1 or 0
  std::array<std::array<double, 3>, 3> axes{};  // [world: right, front, head][axis]: mm a voxel
  std::array<double, 3> spacing = {1, 1, 1};    // mm
  bool knows_spacing = false;
  int dimensions = 3;           // .npy: 2 or 3
  std::vector<uint8_t> header;  // NIfTI: all bytes before the voxels, as they were
  bool swapped = false;         // NIfTI: the header has the other byte order

  int64_t count() const { return size[0] * size[1] * size[2]; }
};

// Kind of file by its suffix.
Format format_of(const std::string& path);

// Reads .npy, .nii, .nii.gz or .pgm; all intensities are finite, its voxels take at most `most_memory` bytes.
Study read_study(const std::string& path, uint64_t most_memory);

// mask: x fastest, then y, then z. The file appears whole or not at all.
void write_mask(const uint8_t* mask, const Study& like, const std::string& path);

// `count` intensities from voxel number `first` on, `stride` voxels apart, in float64.
void intensities(const Study& study, int64_t first, int64_t stride, int64_t count, double* out);

}  // namespace unetq
