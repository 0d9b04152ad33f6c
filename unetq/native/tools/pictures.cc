// .npy and .pgm: pixels that say nothing of their size, so 1 mm and the patient's axes are taken, as `unetq predict`
// does for a TIFF.
#include <algorithm>
#include <cstring>

#include "formats.h"

namespace unetq {

namespace {

constexpr size_t kMaxHead = 4096;

Study picture() {
  Study study;
  for (size_t i = 0; i < 3; ++i) study.axes[i][i] = 1;
  return study;
}

// What follows `key` in a .npy's dictionary, up to the end of the text.
std::string after(const std::string& text, const std::string& key) {
  const size_t at = text.find("'" + key + "':");
  if (at == std::string::npos) return "";
  return text.substr(text.find_first_not_of(' ', at + key.size() + 3));
}

bool sample_of(const std::string& type, Sample* sample) {
  constexpr const char* kTypes[] = {"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"};
  for (int i = 0; i < 10; ++i) {
    if (type == kTypes[i]) {
      *sample = static_cast<Sample>(i);
      return true;
    }
  }
  return false;
}

// "(3, 4)" and "(5,)" to numbers; false for anything else.
bool shape_of(const std::string& text, std::vector<int64_t>* shape) {
  if (text.empty() || text[0] != '(') return false;
  int64_t number = -1;
  for (size_t i = 1; i < text.size(); ++i) {
    const char c = text[i];
    if (c >= '0' && c <= '9') {
      number = std::max<int64_t>(number, 0) * 10 + (c - '0');
      if (number > (int64_t{1} << 40)) return false;
    } else if (c == ',' || c == ')') {
      if (number >= 0) shape->push_back(number);
      number = -1;
      if (c == ')') return true;
    } else if (c != ' ') {
      return false;
    }
  }
  return false;
}

}  // namespace

Study read_numpy(Input& input, const std::string& path) {
  uint8_t start[12];
  input.read(start, 10);
  if (std::memcmp(start, "\x93NUMPY", 6) != 0) throw Refusal(path + " is no .npy file: save it by numpy.save.");
  size_t length = start[8] | start[9] << 8;
  if (start[6] > 1) {
    input.read(start + 10, 2);
    length |= static_cast<size_t>(start[10]) << 16 | static_cast<size_t>(start[11]) << 24;
  }
  if (length > kMaxHead) input.damaged();
  std::string text(length, ' ');
  input.read(text.data(), length);
  Study study = picture();
  std::vector<int64_t> shape;
  const std::string type = after(text, "descr"), order = after(text, "fortran_order");
  if (type.size() < 5 || order.empty() || !shape_of(after(text, "shape"), &shape)) input.damaged();
  const bool big = type[1] == '>', fortran = order.compare(0, 4, "True") == 0;
  if (!sample_of(type.substr(2, 2), &study.sample) || type[4] != '\'') {
    throw Refusal(path + " holds values of another kind than whole numbers, float32 or float64: convert it.");
  }
  if (shape.size() != 2 && shape.size() != 3) {
    throw Refusal(path + " has " + std::to_string(shape.size()) + " axes, but must have 2 (Y, X) or 3 (Z, Y, X).");
  }
  study.dimensions = static_cast<int>(shape.size());
  std::reverse(shape.begin(), shape.end());
  std::copy(shape.begin(), shape.end(), study.size.begin());
  read_voxels(input, &study, big, path);
  const auto& size = study.size;
  if (!fortran) {
    study.stride = {1, size[0], size[0] * size[1]};
  } else if (study.dimensions == 2) {
    study.stride = {size[1], 1, size[0] * size[1]};
  } else {
    study.stride = {size[2] * size[1], size[2], 1};
  }
  return study;
}

std::vector<uint8_t> numpy_mask_head(const Study& like) {
  std::string shape = std::to_string(like.size[1]) + ", " + std::to_string(like.size[0]) + ")";
  if (like.dimensions == 3) shape = std::to_string(like.size[2]) + ", " + shape;
  std::string text = "{'descr': '|u1', 'fortran_order': False, 'shape': (" + shape + ", }";
  text.append(63 - (10 + text.size()) % 64, ' ').append("\n");
  const std::string head = std::string("\x93NUMPY\x01\0", 8) + static_cast<char>(text.size()) + '\0' + text;
  return {head.begin(), head.end()};
}

namespace {

// The next number of a PGM's head: white space and comments before it, one white space behind it.
int64_t pgm_number(Input& input) {
  char c = ' ';
  input.read(&c, 1);
  while (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '#') {
    while (c == '#') {
      do input.read(&c, 1);
      while (c != '\n');
    }
    input.read(&c, 1);
  }
  int64_t number = 0;
  for (; c >= '0' && c <= '9'; input.read(&c, 1)) {
    number = number * 10 + (c - '0');
    if (number > (1 << 24)) input.damaged();
  }
  if (c != ' ' && c != '\t' && c != '\n' && c != '\r') input.damaged();
  return number;
}

}  // namespace

Study read_pgm(Input& input, const std::string& path) {
  char magic[2];
  input.read(magic, 2);
  if (magic[0] != 'P' || magic[1] != '5') throw Refusal(path + " is no binary gray PGM (P5): save it as one.");
  Study study = picture();
  study.size[0] = pgm_number(input);
  study.size[1] = pgm_number(input);
  const int64_t most = pgm_number(input);
  if (most < 1 || most > 65535) input.damaged();
  study.sample = most < 256 ? Sample::kU8 : Sample::kU16;
  read_voxels(input, &study, true, path);  // big-endian
  study.stride = {1, study.size[0], study.size[0] * study.size[1]};
  return study;
}

std::vector<uint8_t> pgm_mask_head(const Study& like) {
  const std::string text = "P5\n" + std::to_string(like.size[0]) + " " + std::to_string(like.size[1]) + "\n255\n";
  return {text.begin(), text.end()};
}

}  // namespace unetq
