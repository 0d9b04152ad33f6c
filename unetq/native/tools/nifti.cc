// NIfTI-1 and NIfTI-2, single files. Geometry as nibabel takes it: the sform, else the qform, else voxel sizes alone.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "formats.h"

namespace unetq {

namespace {

constexpr uint32_t kHead1 = 348, kHead2 = 540;
constexpr int64_t kMaxHead = 64 << 20;  // extensions too

// Where a field lies in one of the two headers.
struct Layout {
  uint32_t head, dim, datatype, bitpix, pixdim, offset, slope, inter, cal_max, cal_min, units, qform, sform, quatern;
  uint32_t srow, magic;
};
constexpr Layout kNifti1 = {348, 40, 70, 72, 76, 108, 112, 116, 124, 128, 123, 252, 254, 256, 280, 344};
constexpr Layout kNifti2 = {540, 16, 12, 14, 104, 168, 176, 184, 192, 200, 500, 344, 348, 352, 400, 4};

class Head {
 public:
  Head(std::vector<uint8_t>* bytes, bool big, bool swapped)
      : layout(big ? kNifti2 : kNifti1), bytes_(*bytes), big_(big), swapped_(swapped) {}

  // Whole numbers and floats are twice as wide in NIfTI-2, but for the codes.
  int64_t dim(uint32_t i) const { return big_ ? get<int64_t>(layout.dim + 8 * i) : get<int16_t>(layout.dim + 2 * i); }
  double real(uint32_t at, uint32_t i = 0) const { return big_ ? get<double>(at + 8 * i) : get<float>(at + 4 * i); }
  void set_real(uint32_t at, double value) {
    if (big_) {
      set(at, value);
    } else {
      set(at, static_cast<float>(value));
    }
  }
  int code(uint32_t at) const { return big_ ? get<int32_t>(at) : get<int16_t>(at); }
  int units() const { return (big_ ? get<int32_t>(layout.units) : bytes_[layout.units]) & 7; }
  int datatype() const { return get<int16_t>(layout.datatype); }
  double offset() const { return big_ ? static_cast<double>(get<int64_t>(layout.offset)) : get<float>(layout.offset); }
  bool single() const {
    return std::memcmp(&bytes_[layout.magic], big_ ? "n+2\0\r\n\x1a\n" : "n+1", big_ ? 8 : 4) == 0;
  }

  template <typename T>
  void set(uint32_t at, T value) {
    uint8_t raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    if (swapped_) std::reverse(raw, raw + sizeof(T));
    std::memcpy(&bytes_[at], raw, sizeof(T));
  }

  const Layout& layout;

 private:
  template <typename T>
  T get(uint32_t at) const {
    uint8_t raw[sizeof(T)];
    std::memcpy(raw, &bytes_[at], sizeof(T));
    if (swapped_) std::reverse(raw, raw + sizeof(T));
    T value;
    std::memcpy(&value, raw, sizeof(T));
    return value;
  }

  std::vector<uint8_t>& bytes_;
  const bool big_, swapped_;
};

bool sample_of(int datatype, Sample* sample) {
  constexpr int kTypes[] = {2, 256, 512, 4, 768, 8, 1280, 1024, 16, 64};  // in the order of Sample
  const auto* found = std::find(std::begin(kTypes), std::end(kTypes), datatype);
  if (found == std::end(kTypes)) return false;
  *sample = static_cast<Sample>(found - std::begin(kTypes));
  return true;
}

// A spatial code that the standard does not know counts as none.
int known(int code) { return code >= 1 && code <= 5 ? code : 0; }

double mm_of(int units) {
  switch (units) {
    case 1:
      return 1000.0;
    case 3:
      return 0.001;
    default:
      return 1.0;
  }
}

using Axes = std::array<std::array<double, 3>, 3>;

// Rotation of the header's quaternion times voxel sizes. long double, because nibabel does the same: voxel sizes and
// by them the size of a resampled slice come out alike.
bool qform(const Head& head, const std::array<double, 3>& voxel, Axes* axes) {
  constexpr double kTiny = 3 * 1.1920928955078125e-07;  // 3 times float32's epsilon
  long double q[4] = {0, 0, 0, 0}, dot = 0;
  for (uint32_t i = 0; i < 3; ++i) {
    q[i + 1] = head.real(head.layout.quatern, i);
    dot += q[i + 1] * q[i + 1];
  }
  const long double w2 = 1.0L - dot;
  if (!(std::fabs(w2) < kTiny)) {
    if (!(w2 >= 0)) return false;
    q[0] = std::sqrt(w2);
  }
  const long double norm = q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3];
  const long double s = 2.0L / norm;
  const long double X = q[1] * s, Y = q[2] * s, Z = q[3] * s;
  const long double wX = q[0] * X, wY = q[0] * Y, wZ = q[0] * Z, xX = q[1] * X, xY = q[1] * Y, xZ = q[1] * Z;
  const long double yY = q[2] * Y, yZ = q[2] * Z, zZ = q[3] * Z;
  const long double r[3][3] = {
      {1.0L - (yY + zZ), xY - wZ, xZ + wY}, {xY + wZ, 1.0L - (xX + zZ), yZ - wX}, {xZ - wY, yZ + wX, 1.0L - (xX + yY)}};
  const double sign = head.real(head.layout.pixdim) == -1 ? -1 : 1;
  for (size_t row = 0; row < 3; ++row) {
    for (size_t i = 0; i < 3; ++i) {
      (*axes)[row][i] = static_cast<double>(r[row][i] * (i == 2 ? sign * voxel[i] : voxel[i]));
    }
  }
  return true;
}

void place(const Head& head, Study* study, const std::string& path) {
  const Layout& at = head.layout;
  std::array<double, 3> voxel;
  for (uint32_t i = 0; i < 3; ++i) {
    voxel[i] = std::fabs(head.real(at.pixdim, i + 1));
    if (voxel[i] == 0) voxel[i] = 1;
  }
  if (head.units() > 3) throw Refusal(path + " is truncated or corrupt: copy it again from its source.");
  const double mm = mm_of(head.units());
  if (known(head.code(at.sform)) != 0) {
    for (uint32_t row = 0; row < 3; ++row) {
      for (uint32_t i = 0; i < 3; ++i) study->axes[row][i] = head.real(at.srow, 4 * row + i);
    }
  } else if (known(head.code(at.qform)) != 0) {
    if (!qform(head, voxel, &study->axes)) {
      throw Refusal(path + " has an unusable geometry (its quaternion is none): repair its header.");
    }
  } else {
    for (size_t i = 0; i < 3; ++i) study->axes[i][i] = static_cast<int64_t>(i) < study->dimensions ? voxel[i] : 1;
    std::fprintf(stderr, "%s names no orientation: its voxel sizes alone are used.\n", path.c_str());
  }
  for (size_t i = 0; i < 3; ++i) {
    double sum = 0;
    for (auto& row : study->axes) {
      row[i] *= mm;
      sum += row[i] * row[i];
    }
    study->spacing[i] = std::sqrt(sum);
    if (study->spacing[i] == 0 && study->size[i] == 1) study->spacing[i] = 1;
    if (!std::isfinite(sum) || study->spacing[i] == 0) {
      throw Refusal(path + " has an unusable geometry (its affine is singular or not finite): repair its header.");
    }
  }
  study->knows_spacing = true;
}

void read_size(const Head& head, Study* study, const std::string& path) {
  const int64_t dimensions = head.dim(0);
  if (dimensions < 1 || dimensions > 7)
    throw Refusal(path + " is truncated or corrupt: copy it again from its source.");
  study->dimensions = static_cast<int>(std::min<int64_t>(dimensions, 3));
  for (int64_t i = 0; i < dimensions; ++i) {
    const int64_t side = head.dim(static_cast<uint32_t>(i + 1));
    if (side < 1) throw Refusal(path + " is empty: a side of it has " + std::to_string(side) + " voxels.");
    if (i < 3) {
      study->size[static_cast<size_t>(i)] = side;
    } else if (side > 1) {
      throw Refusal(path + " is " + std::to_string(dimensions) +
                    "-D, but an image must be 2-D or 3-D: save one volume.");
    }
  }
}

void read_scale(const Head& head, Study* study, const std::string& path) {
  const double slope = head.real(head.layout.slope), inter = head.real(head.layout.inter);
  if (slope == 0 || !std::isfinite(slope)) return;  // the standard's "no scaling"
  if (!std::isfinite(inter)) throw Refusal(path + " is truncated or corrupt: copy it again from its source.");
  study->slope = slope;
  study->inter = inter;
}

}  // namespace

Study read_nifti(Input& input, const std::string& path) {
  Study study;
  study.header.resize(kHead1);
  input.read(study.header.data(), 4);
  uint32_t little = 0, other = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    little |= static_cast<uint32_t>(study.header[i]) << 8 * i;
    other |= static_cast<uint32_t>(study.header[i]) << 8 * (3 - i);
  }
  study.swapped = other == kHead1 || other == kHead2;
  const uint32_t length = study.swapped ? other : little;
  if (length != kHead1 && length != kHead2) input.damaged();
  study.header.resize(length);
  input.read(study.header.data() + 4, length - 4);
  const Head head(&study.header, length == kHead2, study.swapped);
  if (!head.single()) throw Refusal(path + " is no single NIfTI file: convert it to .nii or .nii.gz.");
  read_size(head, &study, path);
  if (!sample_of(head.datatype(), &study.sample)) {
    throw Refusal(path + " holds colour, complex or other uncommon voxels, but only gray ones can be segmented.");
  }
  read_scale(head, &study, path);
  const double offset = head.offset();
  if (!(offset >= length + 4 && offset <= kMaxHead) || offset > static_cast<double>(input.most_bytes()))
    input.damaged();
  study.header.resize(static_cast<size_t>(offset));
  input.read(study.header.data() + length, study.header.size() - length);
  read_voxels(input, &study, study.swapped, path);
  study.stride = {1, study.size[0], study.size[0] * study.size[1]};
  place(head, &study, path);
  return study;
}

// The study's own header, byte for byte, but for the type of its voxels, their scale and the display window.
std::vector<uint8_t> nifti_mask_head(const Study& like) {
  std::vector<uint8_t> bytes = like.header;
  const uint32_t length =
      bytes.size() >= kHead2 && (bytes[0] == (kHead2 & 255) || bytes[3] == (kHead2 & 255)) ? kHead2 : kHead1;
  Head head(&bytes, length == kHead2, like.swapped);
  const Layout& at = head.layout;
  head.set<int16_t>(at.datatype, 2);
  head.set<int16_t>(at.bitpix, 8);
  head.set_real(at.slope, 1);
  head.set_real(at.inter, 0);
  head.set_real(at.cal_max, 0);
  head.set_real(at.cal_min, 0);
  return bytes;
}

}  // namespace unetq
