#include "parallel.h"

#include <system_error>

namespace unetq {

namespace {

// A layer follows the one before within microseconds: looking for it that long is cheaper than sleeping and being
// woken. Longer would only take the core from others.
constexpr int kSpins = 200;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

}  // namespace

Pool::Pool(int threads) {
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  } catch (const std::system_error&) {
    // The system gives no more threads: work with those there are.
  }
}

Pool::~Pool() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
    generation_.fetch_add(1);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Pool::take(int thread) {
  for (int i = next_.fetch_add(1); i < count_; i = next_.fetch_add(1)) call_(context_, i, thread);
}

void Pool::work(int thread) {
  uint64_t seen = 0;
  while (true) {
    for (int i = 0; i < kSpins && generation_.load() == seen; ++i) pause();
    if (generation_.load() == seen) {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return generation_.load() != seen; });
    }
    seen = generation_.load();
    if (stop_) return;
    take(thread);
    if (busy_.fetch_sub(1) == 1) {
      const std::scoped_lock lock(mutex_);  // so that the caller is not between its look and its sleep
      done_.notify_one();
    }
  }
}

void Pool::run(int count, Call call, const void* context) {
  {
    const std::scoped_lock lock(mutex_);
    count_ = count;
    call_ = call;
    context_ = context;
    next_.store(0);
    busy_.store(static_cast<int>(workers_.size()));
    generation_.fetch_add(1);
  }
  wake_.notify_all();
  take(0);
  for (int i = 0; i < kSpins && busy_.load() != 0; ++i) pause();
  if (busy_.load() != 0) {
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&] { return busy_.load() == 0; });
  }
}

}  // namespace unetq
