#include "workers.h"

#include <algorithm>
#include <system_error>

namespace millwork {

Workers::~Workers() {
  {
    std::lock_guard<std::mutex> lock(state_);
    stop_ = true;
  }
  wake_.notify_all();
  for (auto &thread : threads_) thread.join();
}

void Workers::take() {
  for (size_t i; (i = next_.fetch_add(1)) < parts_;) (*part_)(i);
}

void Workers::work() {
  size_t seen = 0;
  std::unique_lock<std::mutex> lock(state_);
  for (;;) {
    wake_.wait(lock, [&] { return stop_ || (round_ != seen && wanted_ > 0); });
    if (stop_) return;
    seen = round_;
    wanted_--;
    active_++;
    lock.unlock();
    take();
    lock.lock();
    if (--active_ == 0) done_.notify_all();
  }
}

void Workers::run(size_t parts, int threads, const std::function<void(size_t)> &part) {
  std::unique_lock<std::mutex> call(calls_, std::try_to_lock);
  const size_t others = threads > 1 && parts > 1 ? std::min(size_t(threads), parts) - 1 : 0;
  if (!others || !call.owns_lock()) {
    for (size_t i = 0; i < parts; i++) part(i);
    return;
  }
  while (threads_.size() < others) {
    try {
      threads_.emplace_back([this] { work(); });
    } catch (const std::system_error &) {  // the system gives no more
      break;
    }
  }
  {
    std::lock_guard<std::mutex> lock(state_);
    part_ = &part;
    parts_ = parts;
    next_ = 0;
    round_++;
    wanted_ = int(std::min(others, threads_.size()));
  }
  wake_.notify_all();
  take();
  std::unique_lock<std::mutex> lock(state_);
  wanted_ = 0;  // who hasn't begun needn't
  done_.wait(lock, [&] { return active_ == 0; });
}

}  // namespace millwork
