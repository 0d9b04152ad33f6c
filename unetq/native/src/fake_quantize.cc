#include "fake_quantize.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "parallel.h"

// The compiler's own vectors are enough here: one pass over memory is what counts.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define UNETQ_CLONES __attribute__((target_clones("default", "avx2", "arch=skylake-avx512")))
#else
#define UNETQ_CLONES
#endif

namespace unetq {

namespace {

constexpr int64_t kChunk = 1 << 15;  // values of one task; the sums of chunks are added in their order
constexpr int kLanes = 16;           // sums that run side by side, whatever the vectors' width

inline float load(float value) { return value; }

inline float load(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

inline void store(float value, float* to) { *to = value; }

inline void store(float value, uint16_t* to) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const bool is_nan = value != value;  // rounding up could carry it to infinity, or to 0
  *to = static_cast<uint16_t>(is_nan ? 0x7fc0u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float clamp(float value, float lo, float hi) {  // a NaN stays one, so that a training that diverges is seen
  value = value < lo ? lo : value;
  return value > hi ? hi : value;
}

inline float round_even(float value) {
  constexpr float kMagic = 12582912.0F;  // 1.5 * 2^23: beyond it a float32 has no fraction bits left
  return (value + kMagic) - kMagic;
}

template <typename Value>
inline void quantize_one(const Value* x, Value* y, const CodeRange& range) {
  store(round_even(clamp(load(*x) / range.step, range.lo, range.hi)) * range.step, y);
}

template <typename Value>
inline float backward_one(const Value* x, const Value* grad, Value* grad_x, const CodeRange& range) {
  const float code = clamp(load(*x) / range.step, range.lo, range.hi);
  const float g = load(*grad);
  const bool inside = code > range.lo && code < range.hi;
  *grad_x = inside ? *grad : Value{0};
  return g * (round_even(code) - (inside ? code : 0.0F));
}

// Clones cannot be templates.
UNETQ_CLONES void quantize_chunk(const float* x, float* y, int64_t count, CodeRange range) {
  for (int64_t i = 0; i < count; ++i) quantize_one(x + i, y + i, range);
}

UNETQ_CLONES void quantize_chunk(const uint16_t* x, uint16_t* y, int64_t count, CodeRange range) {
  for (int64_t i = 0; i < count; ++i) quantize_one(x + i, y + i, range);
}

UNETQ_CLONES void backward_chunk(const float* x, const float* grad, float* grad_x, int64_t count, CodeRange range,
                                 float* sums) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      sums[lane] += backward_one(x + i + lane, grad + i + lane, grad_x + i + lane, range);
    }
  }
  for (; i < count; ++i) sums[0] += backward_one(x + i, grad + i, grad_x + i, range);
}

UNETQ_CLONES void backward_chunk(const uint16_t* x, const uint16_t* grad, uint16_t* grad_x, int64_t count,
                                 CodeRange range, float* sums) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      sums[lane] += backward_one(x + i + lane, grad + i + lane, grad_x + i + lane, range);
    }
  }
  for (; i < count; ++i) sums[0] += backward_one(x + i, grad + i, grad_x + i, range);
}

// Calls task(first value, values) for every chunk of `count`.
template <typename Task>
void by_chunks(int64_t count, int threads, const Task& task) {
  static std::mutex mutex;
  static std::unique_ptr<Pool> pool;
  const std::scoped_lock lock(mutex);
  if (pool == nullptr || pool->threads() != threads) pool = std::make_unique<Pool>(threads);
  const int chunks = static_cast<int>((count + kChunk - 1) / kChunk);
  pool->parallel_for(chunks, [&](int chunk) {
    const int64_t first = chunk * kChunk;
    task(first, std::min(kChunk, count - first));
  });
}

}  // namespace

template <typename Value>
void fake_quantize(const Value* x, Value* y, int64_t count, const CodeRange& range, int threads) {
  by_chunks(count, threads,
            [&](int64_t first, int64_t values) { quantize_chunk(x + first, y + first, values, range); });
}

template <typename Value>
double fake_quantize_backward(const Value* x, const Value* grad, Value* grad_x, int64_t count, const CodeRange& range,
                              int threads) {
  std::vector<double> parts(static_cast<size_t>((count + kChunk - 1) / kChunk));
  by_chunks(count, threads, [&](int64_t first, int64_t values) {
    float sums[kLanes] = {};
    backward_chunk(x + first, grad + first, grad_x + first, values, range, sums);
    double& part = parts[static_cast<size_t>(first / kChunk)];
    for (const float sum : sums) part += static_cast<double>(sum);
  });
  double total = 0.0;
  for (const double part : parts) total += part;
  return total;
}

template void fake_quantize(const float*, float*, int64_t, const CodeRange&, int);
template void fake_quantize(const uint16_t*, uint16_t*, int64_t, const CodeRange&, int);
template double fake_quantize_backward(const float*, const float*, float*, int64_t, const CodeRange&, int);
template double fake_quantize_backward(const uint16_t*, const uint16_t*, uint16_t*, int64_t, const CodeRange&, int);

}  // namespace unetq
