// GGUF v3, read without trust: no count, size or offset of the file is used before it is checked against the bytes
// there are.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model.h"

namespace unetq {

enum class GgufType : uint32_t { kF32 = 0, kI8 = 24 };

struct GgufTensor {
  std::string name;
  GgufType type = GgufType::kF32;
  size_t elements = 0;  // one dimension
  size_t offset = 0;    // from the file's first byte
  size_t bytes() const { return elements * (type == GgufType::kF32 ? sizeof(float) : 1); }
};

struct GgufFile {
  std::map<std::string, Value> metadata;
  std::map<std::string, size_t> strings;  // where the bytes of each scalar string lie
  std::vector<GgufTensor> tensors;        // in the file, aligned for their type, apart from each other
};

constexpr size_t kGgufHeaderBytes = 24;

// Magic, version and counts, before the rest is read.
Status check_gguf_header(const uint8_t* data, size_t size);

Status parse_gguf(const uint8_t* data, size_t size, GgufFile* file);

}  // namespace unetq
