// A thread pool with one verb. Tasks are numbered; which thread runs which one never changes a result.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace unetq {

class Pool {
 public:
  // `threads` in all, the caller's among them.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(i), or task(i, thread) with a number below threads(), for every i of [0, count) and returns when all are
  // done. One caller at a time; tasks must not throw.
  template <typename Task>
  void parallel_for(int count, const Task& task) {
    if (count <= 1 || workers_.empty()) {
      for (int i = 0; i < count; ++i) invoke(task, i, 0);
    } else {
      run(
          count, [](const void* context, int i, int thread) { invoke(*static_cast<const Task*>(context), i, thread); },
          &task);
    }
  }

 private:
  using Call = void (*)(const void*, int, int);

  template <typename Task>
  static void invoke(const Task& task, int i, int thread) {
    if constexpr (std::is_invocable_v<Task, int, int>) {
      task(i, thread);
    } else {
      task(i);
    }
  }

  void run(int count, Call call, const void* context);
  void work(int thread);
  void take(int thread);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::atomic<uint64_t> generation_{0};  // raised for each parallel_for; workers wait for it
  std::atomic<int> next_{0}, busy_{0};
  int count_ = 0;
  Call call_ = nullptr;
  const void* context_ = nullptr;
  bool stop_ = false;
};

}  // namespace unetq
