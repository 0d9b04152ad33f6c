// A model at work: plans for the size of the image, runs one operation after the other.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "model.h"
#include "parallel.h"
#include "plan.h"

namespace unetq {

struct ImageSize {
  int channels = 0, height = 0, width = 0;
};

// Called after each operation with its index and seconds, of all its strips together; where `strip_rows` is kWhole,
// Session::tensor_codes() may be read meanwhile.
using Observer = std::function<void(size_t op, double seconds)>;

// Rows [y0, y1) of the logits: class k's row y is `width` floats at data + k * plane + (y - y0) * width.
struct LogitRows {
  const float* data = nullptr;
  ptrdiff_t plane = 0;
  int y0 = 0, y1 = 0;
};

// An image and logits that lie in the network's own memory: `fill` writes float32 [channels, height, width] before the
// first operation; `take` gets the logits from the first row to the last, some rows at a time.
struct Stream {
  std::function<void(float* image)> fill;
  std::function<void(const LogitRows& rows)> take;
};

struct RunOptions {
  Observer observer = nullptr;
  int strip_rows = 0;  // PlanSize
  bool packs = false;
};

class Session {
 public:
  // threads 0: as many as physical cores.
  static Status open(const std::string& path, int threads, bool verify_hash, std::unique_ptr<Session>* session);

  // image: float32 [channels, height, width]; logits: float32 [out_channels(), height, width]. Calls from several
  // threads wait for each other.
  Status run(const float* image, ImageSize size, float* logits, const RunOptions& options = {});
  Status run(const Stream& stream, ImageSize size, const RunOptions& options = {});

  // Plans without running; within the limit, or a sentence that says what is needed.
  Status plan(PlanSize size, Plan* plan) const;

  // Bytes that a run may take for tensors, scratch and expanded weights, and for image and logits of a Stream; 0 = no
  // limit. What does not fit has its skips packed, then runs in lower strips, too, which changes no result; what does
  // not fit then is refused.
  void limit_memory(uint64_t bytes);

  // What a plan takes for this session's threads, and the plan of an image of the size that takes least.
  uint64_t bytes_of(const Plan& plan) const;
  Status least_plan(PlanSize size, Plan* plan) const;

  // Takes the model file's pages out of memory until they are read again; under a limit each group of strips does that
  // for those before it, so that Plan::weights_bytes are there at a time.
  void drop_weights() const { drop_pages(model_); }

  // Who picks the kernels from the next plan on. At first those do that this machine was tuned to (timings.h).
  void choose_by(Chooser choose);
  Chooser chooser() const;

  // 10^9 multiply-accumulates a second that this CPU's own instruction for bytes does, with all threads (peak.h); 0
  // where that is not known.
  double peak_gmacs();

  // Inside an observer: codes [channels, height, width] of a tensor that is alive.
  std::vector<int16_t> tensor_codes(int tensor) const;

  // Multiply-accumulates of an operation in the plan of the last run.
  double macs(size_t op) const;
  double products(size_t op) const;  // of bytes that its kernel does for them; 0: it multiplies otherwise
  const char* kernel_name(size_t op) const;
  bool tuned(size_t op) const { return plan_.steps[op].tuned; }

  const Model& model() const { return model_; }
  const Plan& current() const { return plan_; }
  int in_channels() const { return model_.tensors.front().channels; }
  int out_channels() const { return model_.tensors[model_.ops.back().output].channels; }
  size_t weights_bytes() const;
  Isa isa() const { return isa_; }
  int threads() const { return pool_->threads(); }

 private:
  struct Ends {
    const float* image = nullptr;
    float* logits = nullptr;  // null: a strip at a time, for `take`
    const Stream* stream = nullptr;
  };
  // Rows [y0, y1) of an operation's output.
  struct Part {
    size_t op;
    int y0, y1;
    bool expanded;
  };

  Status check(ImageSize size) const;
  Status prepare(PlanSize size);
  Status run_groups(ImageSize size, const Ends& ends, const Observer& observer);
  void fill_halo(const Buffer& buffer);
  void roll(const Roll& roll, size_t step);
  void run_group(const Group& group, const Ends& ends, const Observer& observer);
  void execute(const Part& part, const Ends& ends);
  void convolve(const Part& part, const Ends& ends);
  void pack(const Part& part);
  void unpack(const Part& part, int input, int channel);
  void map(const Part& part, int input, int channel, const float* image);  // into the output from `channel` on

  Model model_;
  Isa isa_ = Isa::kScalar;
  std::unique_ptr<Pool> pool_;
  std::mutex mutex_;
  std::atomic<uint64_t> limit_{0};
  mutable std::mutex choose_mutex_;  // of choose_: plan() does not wait for a run
  Chooser choose_;
  Plan plan_;
  PlanSize size_;  // of the plan
  std::unique_ptr<uint8_t[], void (*)(void*)> memory_{nullptr, nullptr};
  size_t memory_bytes_ = 0;
  uint8_t* arena_ = nullptr;
  uint8_t* scratch_ = nullptr;
};

}  // namespace unetq
