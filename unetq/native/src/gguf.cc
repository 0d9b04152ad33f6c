#include "gguf.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <type_traits>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "The model file is little-endian, and so is this reader."
#endif

namespace unetq {

namespace {

// Far above any U-Net, low enough that a hostile file cannot cost more than some 100 MiB before it is refused.
constexpr uint64_t kMaxKeys = 4096;
constexpr uint64_t kMaxTensors = 16384;
constexpr size_t kMaxNameBytes = 256;
constexpr size_t kMaxMetadataBytes = size_t{16} << 20;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = 65536;

enum ValueType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

Status damaged(const std::string& what) {
  return Status::fail("The model file is damaged (" + what + "); copy it again.");
}

// Names stand in messages and become Python strings, so they are printable ASCII.
bool is_name(const std::string& text) {
  return !text.empty() && text.size() <= kMaxNameBytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

// Bytes of the well-formed UTF-8 sequence at `p` (Unicode 15, table 3-7), or 0.
size_t utf8_sequence(const uint8_t* p, size_t left) {
  const uint8_t first = p[0];
  if (first < 0x80) return 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || left < length) return 0;
  const int low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;   // no longer than needed
  const int high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;  // no surrogates, nothing above U+10FFFF
  if (p[1] < low || p[1] > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((p[i] & 0xc0) != 0x80) return 0;
  }
  return length;
}

bool is_utf8(const uint8_t* p, size_t bytes) {
  for (size_t at = 0; at < bytes;) {
    const size_t step = utf8_sequence(p + at, bytes - at);
    if (step == 0) return false;
    at += step;
  }
  return true;
}

size_t align_up(size_t value, uint64_t alignment) { return (value + alignment - 1) / alignment * alignment; }

class Parser {
 public:
  Parser(const uint8_t* data, size_t size, GgufFile* file) : data_(data), size_(size), file_(*file) {}

  Status parse() {
    if (Status status = check_gguf_header(data_, size_); !status.ok) return status;
    uint64_t tensors = 0, keys = 0;
    at_ = 8;
    take(&tensors);
    take(&keys);
    for (uint64_t i = 0; i < keys; ++i) {
      if (Status status = key_value(); !status.ok) return status;
    }
    uint64_t alignment = kDefaultAlignment;
    if (Status status = find_alignment(&alignment); !status.ok) return status;
    for (uint64_t i = 0; i < tensors; ++i) {
      if (Status status = tensor(alignment); !status.ok) return status;
    }
    return place_tensors(alignment);
  }

 private:
  size_t left() const { return size_ - at_; }
  Status cut() const { return damaged("it ends after " + std::to_string(size_) + " bytes, too early"); }

  template <typename T>
  bool take(T* value) {
    if (left() < sizeof(T)) return false;
    std::memcpy(value, data_ + at_, sizeof(T));
    at_ += sizeof(T);
    return true;
  }

  Status text(std::string* value) {
    uint64_t length = 0;
    if (!take(&length) || length > left()) return cut();
    if (at_ + length > kMaxMetadataBytes) return damaged("its keys take more than 16 MiB");
    if (!is_utf8(data_ + at_, length)) return damaged("text at byte " + std::to_string(at_) + " is not UTF-8");
    value->assign(reinterpret_cast<const char*>(data_ + at_), length);
    at_ += length;
    return Status::fine();
  }

  Status name(std::string* value) {
    const size_t begin = at_;
    if (Status status = text(value); !status.ok) return status;
    if (is_name(*value)) return Status::fine();
    return damaged("the name at byte " + std::to_string(begin) + " is empty, too long or not plain text");
  }

  Status key_value() {
    std::string key;
    uint32_t type = 0;
    if (Status status = name(&key); !status.ok) return status;
    if (!take(&type)) return cut();
    if (at_ > kMaxMetadataBytes) return damaged("its keys take more than 16 MiB");
    if (file_.metadata.count(key) != 0) return damaged("the key \"" + key + "\" stands there twice");
    Value value;
    Status status = type == kArray ? array(key, &value) : scalar(key, type, &value);
    if (!status.ok) return status;
    if (const std::string* string = std::get_if<std::string>(&value)) file_.strings[key] = at_ - string->size();
    file_.metadata.emplace(std::move(key), std::move(value));
    return Status::fine();
  }

  // T in the file becomes W, the widest type of its sort.
  template <typename T, typename W>
  Status number(Value* value) {
    T raw = 0;
    if (!take(&raw)) return cut();
    *value = static_cast<W>(raw);
    return Status::fine();
  }

  Status scalar(const std::string& key, uint32_t type, Value* value) {
    switch (type) {
      case kU8:
        return number<uint8_t, uint64_t>(value);
      case kI8:
        return number<int8_t, int64_t>(value);
      case kU16:
        return number<uint16_t, uint64_t>(value);
      case kI16:
        return number<int16_t, int64_t>(value);
      case kU32:
        return number<uint32_t, uint64_t>(value);
      case kI32:
        return number<int32_t, int64_t>(value);
      case kU64:
        return number<uint64_t, uint64_t>(value);
      case kI64:
        return number<int64_t, int64_t>(value);
      case kF32:
        return number<float, double>(value);
      case kF64:
        return number<double, double>(value);
      case kString:
        return text(&value->emplace<std::string>());
      case kBool: {
        uint8_t raw = 0;
        if (!take(&raw)) return cut();
        if (raw > 1) return damaged("the key \"" + key + "\" is neither true nor false");
        *value = raw == 1;
        return Status::fine();
      }
      default:
        return damaged("the key \"" + key + "\" has the unknown type " + std::to_string(type));
    }
  }

  template <typename T, typename W>
  Status numbers(const std::string& key, uint64_t count, Value* value) {
    if (count > left() / sizeof(T)) return cut();
    if (at_ + count * sizeof(T) > kMaxMetadataBytes) return damaged("its keys take more than 16 MiB");
    auto& out = value->emplace<std::vector<W>>();
    out.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      T raw = 0;
      take(&raw);
      if constexpr (std::is_same_v<T, uint64_t>) {
        if (raw > static_cast<uint64_t>(INT64_MAX)) return damaged("a number of the key \"" + key + "\" is too large");
      }
      out.push_back(static_cast<W>(raw));
    }
    return Status::fine();
  }

  Status array(const std::string& key, Value* value) {
    uint32_t type = 0;
    uint64_t count = 0;
    if (!take(&type) || !take(&count)) return cut();
    switch (type) {
      case kBool:
      case kU8:
        return numbers<uint8_t, int64_t>(key, count, value);
      case kI8:
        return numbers<int8_t, int64_t>(key, count, value);
      case kU16:
        return numbers<uint16_t, int64_t>(key, count, value);
      case kI16:
        return numbers<int16_t, int64_t>(key, count, value);
      case kU32:
        return numbers<uint32_t, int64_t>(key, count, value);
      case kI32:
        return numbers<int32_t, int64_t>(key, count, value);
      case kU64:
        return numbers<uint64_t, int64_t>(key, count, value);
      case kI64:
        return numbers<int64_t, int64_t>(key, count, value);
      case kF32:
        return numbers<float, double>(key, count, value);
      case kF64:
        return numbers<double, double>(key, count, value);
      case kString:
        return strings(count, value);
      default:
        return damaged("the key \"" + key + "\" is a list of the unknown type " + std::to_string(type));
    }
  }

  Status strings(uint64_t count, Value* value) {
    if (count > left() / sizeof(uint64_t)) return cut();  // each has at least its length
    if (at_ + count * sizeof(uint64_t) > kMaxMetadataBytes) return damaged("its keys take more than 16 MiB");
    auto& out = value->emplace<std::vector<std::string>>();
    out.resize(count);
    for (std::string& one : out) {
      if (Status status = text(&one); !status.ok) return status;
    }
    return Status::fine();
  }

  Status find_alignment(uint64_t* alignment) const {
    const auto found = file_.metadata.find("general.alignment");
    if (found == file_.metadata.end()) return Status::fine();
    const uint64_t* value = std::get_if<uint64_t>(&found->second);
    // 8 is the format's own minimum; numbers can then be used where they lie.
    if (value == nullptr || *value < 8 || *value > kMaxAlignment || (*value & (*value - 1)) != 0) {
      return damaged("general.alignment is not a power of two from 8 to 65536");
    }
    *alignment = *value;
    return Status::fine();
  }

  Status tensor(uint64_t alignment) {
    GgufTensor tensor;
    uint32_t dimensions = 0, type = 0;
    uint64_t elements = 0, offset = 0;
    if (Status status = name(&tensor.name); !status.ok) return status;
    if (!take(&dimensions)) return cut();
    if (dimensions != 1) return damaged("the tensor \"" + tensor.name + "\" has not one dimension");
    if (!take(&elements) || !take(&type) || !take(&offset)) return cut();
    tensor.type = static_cast<GgufType>(type);
    if (tensor.type != GgufType::kF32 && tensor.type != GgufType::kI8) {
      return damaged("the tensor \"" + tensor.name + "\" has the unknown type " + std::to_string(type));
    }
    if (elements == 0 || elements > size_ / (tensor.type == GgufType::kF32 ? sizeof(float) : 1) || offset > size_) {
      return damaged("the tensor \"" + tensor.name + "\" lies outside of it");
    }
    if (offset % alignment != 0) return damaged("the tensor \"" + tensor.name + "\" is not aligned");
    tensor.elements = elements;
    tensor.offset = offset;
    file_.tensors.push_back(std::move(tensor));
    return Status::fine();
  }

  // Offsets count from the first aligned byte behind the descriptions.
  Status place_tensors(uint64_t alignment) {
    const size_t base = align_up(at_, alignment);
    std::vector<const GgufTensor*> order;
    std::set<std::string> names;
    for (GgufTensor& tensor : file_.tensors) {
      tensor.offset += base;
      if (tensor.offset > size_ || tensor.bytes() > size_ - tensor.offset) return cut();
      if (!names.insert(tensor.name).second) return damaged("the tensor \"" + tensor.name + "\" stands there twice");
      order.push_back(&tensor);
    }
    std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });
    // The writer fills up the last one too, and what is missing of that would otherwise go unnoticed.
    if (!order.empty() && align_up(order.back()->offset + order.back()->bytes(), alignment) > size_) return cut();
    for (size_t i = 1; i < order.size(); ++i) {
      if (order[i]->offset - order[i - 1]->offset < order[i - 1]->bytes()) {
        return damaged("the tensors \"" + order[i - 1]->name + "\" and \"" + order[i]->name + "\" overlap");
      }
    }
    return Status::fine();
  }

  const uint8_t* const data_;
  const size_t size_;
  size_t at_ = 0;
  GgufFile& file_;
};

}  // namespace

Status check_gguf_header(const uint8_t* data, size_t size) {
  if (size < 4 || std::memcmp(data, "GGUF", 4) != 0) {
    return Status::fail(
        "This is not a model file (it does not begin with GGUF); use a file that `unetq export` has written.");
  }
  if (size < kGgufHeaderBytes) return damaged("it ends after " + std::to_string(size) + " bytes, too early");
  uint32_t version = 0;
  uint64_t tensors = 0, keys = 0;
  std::memcpy(&version, data + 4, sizeof(version));
  std::memcpy(&tensors, data + 8, sizeof(tensors));
  std::memcpy(&keys, data + 16, sizeof(keys));
  if (version != 3) {
    return Status::fail("The model file has GGUF version " + std::to_string(version) +
                        ", but this runtime reads version 3; export the model again.");
  }
  if (keys > kMaxKeys || tensors > kMaxTensors) {
    return damaged("it claims " + std::to_string(keys) + " keys and " + std::to_string(tensors) + " tensors");
  }
  return Status::fine();
}

Status parse_gguf(const uint8_t* data, size_t size, GgufFile* file) { return Parser(data, size, file).parse(); }

}  // namespace unetq
