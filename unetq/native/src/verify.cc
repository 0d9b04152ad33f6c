#include "verify.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cfloat>
#include <cmath>
#include <set>
#include <utility>

#include "sha256.h"

namespace unetq {

namespace {

constexpr uint64_t kSchemaVersion = 1;
constexpr size_t kHashDigits = 64;
constexpr int64_t kMaxChannels = 65536;
constexpr int64_t kMaxLevel = 16;
constexpr int64_t kMaxKernel = 7;
constexpr size_t kMaxOps = 4096;
constexpr int kFloatBits = 32;

using Ints = std::vector<int64_t>;
using Floats = std::vector<double>;
using Strings = std::vector<std::string>;

template <typename E>
using Names = std::vector<std::pair<const char*, E>>;

const Names<TensorKind>& tensor_kinds() {
  static const Names<TensorKind> names = {{"float", TensorKind::kFloat},
                                          {"unsigned", TensorKind::kUnsigned},
                                          {"signed", TensorKind::kSigned},
                                          {"ternary", TensorKind::kTernary}};
  return names;
}

const Names<OpKind>& op_kinds() {
  static const Names<OpKind> names = {{"quantize", OpKind::kQuantize},     {"conv", OpKind::kConv},
                                      {"transposed", OpKind::kTransposed}, {"maxpool", OpKind::kMaxpool},
                                      {"nearest", OpKind::kNearest},       {"bilinear", OpKind::kBilinear},
                                      {"concat", OpKind::kConcat}};
  return names;
}

const Names<WeightKind>& weight_kinds() {
  static const Names<WeightKind> names = {{"none", WeightKind::kNone},
                                          {"twos", WeightKind::kTwos},
                                          {"ternary", WeightKind::kTernary},
                                          {"binary", WeightKind::kBinary}};
  return names;
}

template <typename E>
bool find(const Names<E>& names, const std::string& name, E* value) {
  for (const auto& [text, meaning] : names) {
    if (name == text) {
      *value = meaning;
      return true;
    }
  }
  return false;
}

// Every complaint about the content ends alike: the exporter would not write such a file.
Status wrong(const std::string& what) { return Status::fail(what + "; export the model again."); }

// Names stand in messages, in C strings and in names of tensors of the file.
bool is_plain(const std::string& name) {
  return !name.empty() && name.size() <= 128 && name.back() != '.' && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-' || c == '/';
  });
}

class Verifier {
 public:
  Verifier(const uint8_t* data, size_t size, const GgufFile& file, Model* model)
      : data_(data), size_(size), file_(file), model_(*model) {}

  Status hash(bool verify) {
    const std::string* claim = nullptr;
    if (Status status = get("unetq.content_hash", &claim); !status.ok) return status;
    assert(claim != nullptr);
    const bool hexadecimal = std::all_of(claim->begin(), claim->end(),
                                         [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
    if (claim->size() != kHashDigits || !hexadecimal) return damaged();
    model_.hash = *claim;
    if (!verify) return Status::fine();
    const size_t at = file_.strings.at("unetq.content_hash");
    Sha256 sum;
    sum.update(data_, at);
    sum.update(std::string(kHashDigits, '0').data(), kHashDigits);
    sum.update(data_ + at + kHashDigits, size_ - at - kHashDigits);
    return sum.hex() == *claim ? Status::fine() : damaged();
  }

  Status header() const {
    const std::string* architecture = nullptr;
    const uint64_t* version = nullptr;
    if (Status status = get("general.architecture", &architecture); !status.ok) return status;
    if (*architecture != "unetq") {
      return Status::fail("This GGUF file holds no unetq model; use a file that `unetq export` has written.");
    }
    if (Status status = get("unetq.schema_version", &version); !status.ok) return status;
    if (*version > kSchemaVersion) {
      return Status::fail("The model file has schema version " + std::to_string(*version) +
                          ", but this runtime knows versions up to " + std::to_string(kSchemaVersion) +
                          "; update unetq.");
    }
    return *version == 0 ? wrong("The model file has schema version 0, which never was") : Status::fine();
  }

  void list_raw() {
    for (const GgufTensor& tensor : file_.tensors) {
      model_.raw[tensor.name] = {data_ + tensor.offset, tensor.bytes(), tensor.type == GgufType::kF32};
    }
  }

  Status tensors() {
    const Strings *names = nullptr, *kinds = nullptr;
    const Ints *channels = nullptr, *levels = nullptr, *bits = nullptr;
    const Floats* steps = nullptr;
    const std::string prefix = "unetq.graph.tensor.";
    if (Status status = get(prefix + "name", &names); !status.ok) return status;
    const size_t count = names->size();
    if (count < 2 || count > kMaxOps + 1) return wrong("The network has " + std::to_string(count) + " tensors");
    if (Status status = column(prefix + "channels", count, &channels); !status.ok) return status;
    if (Status status = column(prefix + "level", count, &levels); !status.ok) return status;
    if (Status status = column(prefix + "bits", count, &bits); !status.ok) return status;
    if (Status status = column(prefix + "kind", count, &kinds); !status.ok) return status;
    if (Status status = column(prefix + "quantizer", count, &quantizers_); !status.ok) return status;
    if (Status status = column(prefix + "step", count, &steps); !status.ok) return status;
    std::set<std::string> seen;
    for (size_t i = 0; i < count; ++i) {
      Tensor tensor;
      tensor.name = (*names)[i];
      if (!is_plain(tensor.name) || !seen.insert(tensor.name).second) {
        return wrong("A tensor's name is not plain, or used twice");
      }
      const std::string what = "Tensor " + tensor.name;
      if ((*channels)[i] < 1 || (*channels)[i] > kMaxChannels) {
        return wrong(what + " has " + std::to_string((*channels)[i]) + " channels");
      }
      if ((*levels)[i] < 0 || (*levels)[i] > kMaxLevel) {
        return wrong(what + " has level " + std::to_string((*levels)[i]));
      }
      if (!find(tensor_kinds(), (*kinds)[i], &tensor.kind)) return wrong(what + " is of an unknown kind");
      if (!bits_fit(tensor.kind, (*bits)[i])) {
        return wrong(what + " has codes of " + std::to_string((*bits)[i]) + " bits");
      }
      if (!((*steps)[i] > 0 && (*steps)[i] <= static_cast<double>(FLT_MAX))) {
        return wrong(what + " has no positive, finite step");
      }
      tensor.channels = static_cast<int>((*channels)[i]);
      tensor.level = static_cast<int>((*levels)[i]);
      tensor.bits = static_cast<int>((*bits)[i]);
      tensor.step = static_cast<float>((*steps)[i]);
      const bool end = i == 0 || i == count - 1;
      if ((tensor.kind == TensorKind::kFloat) != end || (end && tensor.level != 0)) {
        return wrong(what + " is in the wrong place: the first and the last one, and no other, are float");
      }
      model_.tensors.push_back(std::move(tensor));
    }
    if (model_.tensors.front().name != "image" || model_.tensors.back().name != "head") {
      return wrong("The first tensor must be image and the last one head");
    }
    return shared_quantizers();
  }

  Status ops() {
    const Strings *names = nullptr, *kinds = nullptr, *weights = nullptr;
    std::array<const Ints*, 5> numbers = {};
    const std::string prefix = "unetq.graph.op.";
    if (Status status = get(prefix + "name", &names); !status.ok) return status;
    const size_t count = names->size();
    // Each makes one tensor, and only the image is made by none.
    if (count != model_.tensors.size() - 1) {
      return wrong("The network has a tensor that no layer makes, or makes twice");
    }
    if (Status status = column(prefix + "kind", count, &kinds); !status.ok) return status;
    if (Status status = column(prefix + "weights", count, &weights); !status.ok) return status;
    const char* const keys[5] = {"input_a", "input_b", "output", "kernel", "wbits"};
    for (size_t i = 0; i < 5; ++i) {
      if (Status status = column(prefix + keys[i], count, &numbers[i]); !status.ok) return status;
    }
    std::set<std::string> seen;
    made_.assign(model_.tensors.size(), false);
    made_[0] = true;
    for (size_t i = 0; i < count; ++i) {
      Op op;
      op.name = (*names)[i];
      if (!is_plain(op.name) || !seen.insert(op.name).second) {
        return wrong("A layer's name is not plain, or used twice");
      }
      if (!find(op_kinds(), (*kinds)[i], &op.kind)) return wrong("Layer " + op.name + " is of an unknown kind");
      if (!find(weight_kinds(), (*weights)[i], &op.weights)) {
        return wrong("Layer " + op.name + " has weights of an unknown kind");
      }
      int* const fields[5] = {&op.input_a, &op.input_b, &op.output, &op.kernel, &op.wbits};
      for (size_t k = 0; k < 5; ++k) {
        const int64_t value = (*numbers[k])[i];
        if (value < -1 || value > static_cast<int64_t>(kMaxOps)) {
          return wrong("Layer " + op.name + " has a wrong " + keys[k]);
        }
        *fields[k] = static_cast<int>(value);
      }
      if (Status status = check(&op); !status.ok) return status;
      model_.ops.push_back(std::move(op));
    }
    // All are made, each once, so the last layer makes a float only if it makes `head`.
    return model_.ops.back().output == static_cast<int>(model_.tensors.size()) - 1
               ? Status::fine()
               : wrong("The last layer does not make head");
  }

 private:
  static Status damaged() {
    return Status::fail("The model file is damaged (its content does not match its content hash); copy it again.");
  }

  static bool bits_fit(TensorKind kind, int64_t bits) {
    switch (kind) {
      case TensorKind::kFloat:
        return bits == kFloatBits;
      case TensorKind::kTernary:
        return bits == 2;
      case TensorKind::kUnsigned:
      case TensorKind::kSigned:
        break;
    }
    return bits >= 1 && bits <= 8;
  }

  template <typename T>
  Status get(const std::string& key, const T** value) const {
    const auto found = file_.metadata.find(key);
    if (found == file_.metadata.end()) return wrong("The model file has no key " + key);
    *value = std::get_if<T>(&found->second);
    return *value == nullptr ? wrong("The key " + key + " of the model file has the wrong type") : Status::fine();
  }

  template <typename T>
  Status column(const std::string& key, size_t count, const std::vector<T>** values) const {
    if (Status status = get(key, values); !status.ok) return status;
    return (*values)->size() == count ? Status::fine()
                                      : wrong("The key " + key + " of the model file has the wrong length");
  }

  Status shared_quantizers() const {
    std::map<std::string, const Tensor*> first;
    for (size_t i = 0; i < model_.tensors.size(); ++i) {
      const Tensor& a = model_.tensors[i];
      const Tensor& b = *first.emplace((*quantizers_)[i], &a).first->second;
      if (a.kind != b.kind || a.bits != b.bits || a.step != b.step) {
        return wrong("Tensors " + b.name + " and " + a.name + " share a quantizer, but differ in kind, bits or step");
      }
    }
    return Status::fine();
  }

  Status check(Op* op) {
    const auto missing = [&](int tensor) {
      return tensor < 0 || tensor >= static_cast<int>(made_.size()) || !made_[static_cast<size_t>(tensor)];
    };
    const std::string what = "Layer " + op->name;
    if (missing(op->input_a) || (op->kind == OpKind::kConcat ? missing(op->input_b) : op->input_b != -1)) {
      return wrong(what + " reads a tensor that is not there yet");
    }
    if (op->output < 0 || op->output >= static_cast<int>(made_.size()) || made_[static_cast<size_t>(op->output)]) {
      return wrong(what + " makes a tensor that is already there, or does not exist");
    }
    made_[static_cast<size_t>(op->output)] = true;
    const Tensor &in = tensor(op->input_a), &out = tensor(op->output);
    const bool weighted = op->kind == OpKind::kConv || op->kind == OpKind::kTransposed;
    if ((in.kind == TensorKind::kFloat) != (op->kind == OpKind::kQuantize) ||
        (out.kind == TensorKind::kFloat && !weighted)) {
      return wrong(what + " reads or makes floats where codes belong, or codes where floats belong");
    }
    if (!shapes_fit(*op)) return wrong(what + " has an output whose channels or level do not follow from its input");
    if (weighted) return weights(op);
    if (op->kernel != 0 || op->wbits != 0 || op->weights != WeightKind::kNone) {
      return wrong(what + " has weights, but no use for them");
    }
    if (op->kind == OpKind::kQuantize) return floats(op->name + ".m", 1, &op->m);
    return copies(*op) ? Status::fine() : wrong(what + " copies codes, so its inputs and output need one quantizer");
  }

  bool shapes_fit(const Op& op) const {
    const Tensor &in = tensor(op.input_a), &out = tensor(op.output);
    const bool same = out.channels == in.channels;
    switch (op.kind) {
      case OpKind::kQuantize:
        return same && out.level == in.level;
      case OpKind::kConv:
        return out.level == in.level;
      case OpKind::kTransposed:
        return out.level == in.level - 1;
      case OpKind::kMaxpool:
        return same && out.level == in.level + 1;
      case OpKind::kNearest:
      case OpKind::kBilinear:
        return same && out.level == in.level - 1;
      case OpKind::kConcat:
      case OpKind::kArgmax:
        break;
    }
    const Tensor& second = tensor(op.input_b);
    // A tensor lies in one place, so it cannot be both halves.
    return op.input_a != op.input_b && out.channels == in.channels + second.channels && out.level == in.level &&
           out.level == second.level;
  }

  bool copies(const Op& op) const {
    const std::string& quantizer = (*quantizers_)[static_cast<size_t>(op.output)];
    return (*quantizers_)[static_cast<size_t>(op.input_a)] == quantizer &&
           (op.input_b < 0 || (*quantizers_)[static_cast<size_t>(op.input_b)] == quantizer);
  }

  Status weights(Op* op) const {
    const Tensor &in = tensor(op->input_a), &out = tensor(op->output);
    const std::string what = "Layer " + op->name;
    const bool side = op->kind == OpKind::kTransposed
                          ? op->kernel == 2
                          : op->kernel >= 1 && op->kernel <= kMaxKernel && op->kernel % 2 == 1;
    if (!side) return wrong(what + " has a kernel of side " + std::to_string(op->kernel));
    bool fit = false;
    int64_t largest = 1;  // magnitude of a weight code
    switch (op->weights) {
      case WeightKind::kNone:
        break;
      case WeightKind::kTwos:
        fit = op->wbits >= 2 && op->wbits <= 8;
        largest = fit ? int64_t{1} << (op->wbits - 1) : 1;
        break;
      case WeightKind::kTernary:
        fit = op->wbits == 2;
        break;
      case WeightKind::kBinary:
        fit = op->wbits == 1;
        break;
    }
    if (!fit) {
      return wrong(what + " has weight codes of " + std::to_string(op->wbits) +
                   " bits, which its kind of weights cannot have");
    }
    // A transposed convolution of stride 2 adds up one tap a pixel. Kernels add stored bytes (code + zero) and start
    // from the compensation for zero, so that is what must fit, not only the sum itself.
    const int64_t taps = op->kind == OpKind::kTransposed ? 1 : int64_t{op->kernel} * op->kernel;
    const int64_t terms = taps * in.channels;
    if (terms * largest * (in.hi() + 2 * in.zero()) > INT32_MAX) return wrong(what + " could overflow its 32-bit sums");
    const uint64_t codes = static_cast<uint64_t>(op->kernel) * static_cast<uint64_t>(op->kernel) *
                           static_cast<uint64_t>(in.channels) * static_cast<uint64_t>(out.channels);
    if (Status status = packed(op, codes); !status.ok) return status;
    const size_t channels = static_cast<size_t>(out.channels);
    if (Status status = floats(op->name + ".m", channels, &op->m); !status.ok) return status;
    return floats(op->name + ".b", channels, &op->b);
  }

  Status packed(Op* op, uint64_t codes) const {
    const std::string name = op->name + ".weight";
    const auto found = model_.raw.find(name);
    const uint64_t bits = codes * static_cast<uint64_t>(op->wbits);  // at most 2^16 * 2^16 * 49 * 8: no overflow
    if (found == model_.raw.end() || found->second.is_float || found->second.bytes != (bits + 7) / 8) {
      return wrong("The tensor " + name + " is missing or has the wrong size");
    }
    op->packed = found->second.data;
    op->packed_bytes = found->second.bytes;
    if (bits % 8 != 0 && op->packed[op->packed_bytes - 1] >> (bits % 8) != 0) {
      return wrong("The tensor " + name + " has bits behind its end");
    }
    if (op->weights == WeightKind::kTernary) {
      // Four codes a byte; -2 is a high bit without its low bit.
      uint32_t bad = 0;
      for (size_t i = 0; i < op->packed_bytes; ++i) bad |= (op->packed[i] >> 1) & ~uint32_t{op->packed[i]} & 0x55;
      if (bad != 0) return wrong("The tensor " + name + " has a code that is not -1, 0 or 1");
    }
    return Status::fine();
  }

  Status floats(const std::string& name, size_t count, const float** values) const {
    const auto found = model_.raw.find(name);
    if (found == model_.raw.end() || !found->second.is_float || found->second.bytes != count * sizeof(float)) {
      return wrong("The tensor " + name + " is missing or has the wrong size");
    }
    *values = reinterpret_cast<const float*>(found->second.data);
    if (!std::all_of(*values, *values + count, [](float x) { return std::isfinite(x); })) {
      return wrong("The tensor " + name + " has a number that is not finite");
    }
    return Status::fine();
  }

  const Tensor& tensor(int index) const { return model_.tensors[static_cast<size_t>(index)]; }

  const uint8_t* const data_;
  const size_t size_;
  const GgufFile& file_;
  Model& model_;
  const Strings* quantizers_ = nullptr;
  std::vector<bool> made_;
};

}  // namespace

Status verify_model(const uint8_t* data, size_t size, bool verify_hash, GgufFile file, Model* model) {
  Verifier verifier(data, size, file, model);
  // The hash first: whatever else is wrong with a file that was damaged on its way is no news.
  if (Status status = verifier.hash(verify_hash); !status.ok) return status;
  if (Status status = verifier.header(); !status.ok) return status;
  verifier.list_raw();
  if (Status status = verifier.tensors(); !status.ok) return status;
  if (Status status = verifier.ops(); !status.ok) return status;
  model->metadata = std::move(file.metadata);
  return Status::fine();
}

}  // namespace unetq
