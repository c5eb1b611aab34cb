// Diary: a list of events that a test target records.
#pragma once

#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace sluice::test {

// A list of events, in order. Any thread.
class Diary {
 public:
  void note(std::string entry) {
    const std::scoped_lock guard(mutex_);
    entries_.push_back(std::move(entry));
  }
  // Returns the entries, and empties the list.
  std::vector<std::string> take() {
    const std::scoped_lock guard(mutex_);
    return std::exchange(entries_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> entries_;
};

}  // namespace sluice::test
