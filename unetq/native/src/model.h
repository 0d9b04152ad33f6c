// A verified model: everything a later stage may rely on without checking again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace unetq {

enum class TensorKind { kFloat, kUnsigned, kSigned, kTernary };
// kArgmax, labels of the logits, is a row of the kernel table only: no model has it.
enum class OpKind { kQuantize, kConv, kTransposed, kMaxpool, kNearest, kBilinear, kConcat, kArgmax };
enum class WeightKind { kNone, kTwos, kTernary, kBinary };

// Codes [channels, ceil(H / 2^level), ceil(W / 2^level)]; a stored byte is code + zero, so every kernel reads u8.
struct Tensor {
  std::string name;
  int channels = 0;
  int level = 0;
  int bits = 0;
  TensorKind kind = TensorKind::kFloat;
  float step = 1.0f;
  int lo() const;    // lowest code
  int hi() const;    // highest code
  int zero() const;  // byte that stands for code 0: 0 unsigned, 1 ternary, 2^(bits-1) signed
};

struct Op {
  std::string name;
  OpKind kind = OpKind::kQuantize;
  WeightKind weights = WeightKind::kNone;
  int input_a = -1;
  int input_b = -1;  // -1: none
  int output = -1;
  int kernel = 0;
  int wbits = 0;
  const uint8_t* packed = nullptr;  // bit stream of docs/model-file.md, inside the file; codes [out][ky][kx][in]
  size_t packed_bytes = 0;
  const float* m = nullptr;  // [out]; [1] for quantize. Finite.
  const float* b = nullptr;  // [out]; null for quantize. Finite.
};

using Value = std::variant<uint64_t, int64_t, double, bool, std::string, std::vector<int64_t>, std::vector<double>,
                           std::vector<std::string>>;

// Where a tensor of the file lies: for `Model.tensor(name)` in Python.
struct RawTensor {
  const uint8_t* data = nullptr;
  size_t bytes = 0;
  bool is_float = false;  // F32, else I8
};

struct Bytes;  // the file in memory (model.cc)

// Promises: indices in range, each tensor made before it is read, shapes and levels fit each other, one quantizer
// (kind, bits) on both sides of a concatenation, accumulators below 2^31 by the layer's own bits and fan-in, ternary
// codes never -2, every pointer inside the file and aligned for its type.
struct Model {
  std::vector<Tensor> tensors;
  std::vector<Op> ops;
  std::map<std::string, Value> metadata;
  std::map<std::string, RawTensor> raw;
  std::string hash;
  std::shared_ptr<const Bytes> bytes;  // keeps the pointers above alive
};

struct Status {
  bool ok = true;
  std::string message;  // one sentence: what is wrong, where, what to do
  static Status fine() { return {}; }
  static Status fail(std::string message) { return {false, std::move(message)}; }
};

// Lets the system have the pages of a mapped file back, which come again as they are read; not of one that was copied.
void drop_pages(const Model& model);

// Maps and verifies a file. On failure `model` is untouched.
Status open_model(const std::string& path, bool verify_hash, Model* model);
// The same for a copy in memory (fuzzer, tests).
Status open_model_bytes(const uint8_t* data, size_t size, bool verify_hash, Model* model);

}  // namespace unetq
