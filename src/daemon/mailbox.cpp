#include "daemon/mailbox.hpp"

namespace sluice {

void Mailbox::put(Letter letter) {
  const std::scoped_lock guard(mutex_);
  if (closed_) return;
  letters_.push_back(std::move(letter));
  changed_.notify_one();
}

void Mailbox::close() {
  std::deque<Letter> dropped;
  const std::scoped_lock guard(mutex_);
  closed_ = true;
  letters_.swap(dropped);
}

std::optional<Letter> Mailbox::take(std::optional<Clock::time_point> end) {
  std::unique_lock guard(mutex_);
  const auto any = [this] { return !letters_.empty(); };
  if (end) {
    changed_.wait_until(guard, *end, any);
  } else {
    changed_.wait(guard, any);
  }
  if (letters_.empty()) return std::nullopt;
  Letter letter = std::move(letters_.front());
  letters_.pop_front();
  return letter;
}

}  // namespace sluice
