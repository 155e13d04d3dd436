// Threads that wait for work: started when a call first asks for them, and never more than it asks for.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace millwork {

class Workers {
 public:
  ~Workers();
  // Calls part(i) for each i < parts, on the caller and on up to threads - 1 others. One call at a time has the others:
  // where they are busy, the caller works alone.
  void run(size_t parts, int threads, const std::function<void(size_t)> &part);

 private:
  void work();
  void take();
  std::mutex calls_, state_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> threads_;
  const std::function<void(size_t)> *part_ = nullptr;
  std::atomic<size_t> next_{0};
  size_t parts_ = 0, round_ = 0;
  int wanted_ = 0, active_ = 0;
  bool stop_ = false;
};

}  // namespace millwork
