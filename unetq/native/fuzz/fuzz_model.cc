// libFuzzer target: any bytes as a model file. What loads and is small is run, with the scalar kernels and with the
// best ones of this CPU, whose logits must be equal bit for bit.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "../src/cpu.h"
#include "../src/model.h"
#include "unetq/runtime.h"

namespace {

constexpr int kHeight = 7, kWidth = 5;
// Enough for every seed; a second of sanitized convolutions would stall the fuzzer.
constexpr int kMaxChannels = 256;
constexpr double kMaxMacs = 4e6;
constexpr size_t kMaxOps = 64;

bool is_small(const unetq::Model& model) {
  double macs = 0;
  for (const unetq::Tensor& tensor : model.tensors) {
    if (tensor.channels > kMaxChannels) return false;
  }
  for (const unetq::Op& op : model.ops) {
    const auto channels = [&](int tensor) {
      return static_cast<double>(model.tensors[static_cast<size_t>(tensor)].channels);
    };
    macs += channels(op.input_a) * channels(op.output) * op.kernel * op.kernel * kHeight * kWidth;
  }
  return model.ops.size() <= kMaxOps && macs <= kMaxMacs;
}

// The C API opens files.
const std::string& scratch_file() {
  static const std::string path = [] {
    const char* folder = std::getenv("TMPDIR");
    return std::string(folder == nullptr ? "/tmp" : folder) + "/fuzz_model." + std::to_string(getpid()) + ".gguf";
  }();
  static const int registered = std::atexit([] { std::remove(scratch_file().c_str()); });
  (void)registered;
  return path;
}

std::vector<float> run(const char* isa) {
  setenv("UNETQ_ISA", isa, 1);
  unetq_model* model = nullptr;
  if (unetq_open(scratch_file().c_str(), 1, 0, &model) != UNETQ_OK) return {};  // no kernel for it
  unetq_info_t info;
  if (unetq_info(model, &info) != UNETQ_OK) std::abort();
  std::vector<float> image(static_cast<size_t>(info.in_channels) * kHeight * kWidth);
  for (size_t i = 0; i < image.size(); ++i) image[i] = static_cast<float>(i * 37 % 101) / 16 - 3;
  std::vector<float> logits(static_cast<size_t>(info.out_channels) * kHeight * kWidth);
  if (unetq_run(model, image.data(), info.in_channels, kHeight, kWidth, logits.data()) != UNETQ_OK) std::abort();
  unetq_close(model);
  return logits;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  unetq::Model model;
  const unetq::Status status = unetq::open_model_bytes(data, size, false, &model);
  if (status.ok == !status.message.empty()) std::abort();
  if (!status.ok || !is_small(model)) return 0;
  std::ofstream(scratch_file(), std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  const std::vector<float> scalar = run("scalar"), best = run(unetq::isa_name(unetq::available_isas().back()));
  if (scalar.size() != best.size()) std::abort();
  if (!scalar.empty() && std::memcmp(scalar.data(), best.data(), scalar.size() * sizeof(float)) != 0) std::abort();
  return 0;
}
