#include "parallel.h"

#include <chrono>
#include <system_error>

namespace unetq {

namespace {

// A layer, or the next strip of one, follows within microseconds: looking for it that long is cheaper than sleeping and
// being woken, which took a tenth of a run of two threads. Longer would only take the core from others.
constexpr std::chrono::microseconds kLook{100};

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

template <typename Done>
bool look_for(const Done& done) {
  constexpr int kLooks = 64;  // between two looks at the clock
  const auto end = std::chrono::steady_clock::now() + kLook;
  do {
    for (int i = 0; i < kLooks; ++i, pause()) {
      if (done()) return true;
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
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
    const auto called = [&] { return generation_.load() != seen; };
    if (!look_for(called)) {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, called);
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
  const auto finished = [&] { return busy_.load() == 0; };
  if (!look_for(finished)) {
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, finished);
  }
}

}  // namespace unetq
