// StubLibrary: the functions of librados and librbd as far as RbdTarget calls them, on an image in
// memory, with the faults that a healthy cluster never has. There is one at a time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "target/rbd/libraries.hpp"

namespace sluice::test {

class StubLibrary {
 public:
  explicit StubLibrary(size_t bytes);
  StubLibrary(const StubLibrary&) = delete;
  StubLibrary& operator=(const StubLibrary&) = delete;
  ~StubLibrary();

  rbd::Library table;

  // --- Before or between calls; any thread.
  // The result of this function from now on, a negative errno; 0: what it is otherwise.
  void set_result(const std::string& function, int result);
  // The function waits for this time.
  void set_delay(const std::string& function, std::chrono::milliseconds delay);
  // The calls of rbd_aio_* end only with release().
  void hold();
  void release();
  // As if another client had done so.
  void change_size(size_t bytes);
  void take_lock();

  int calls(const std::string& function) const;
  // Handles that are open: of clusters, pools, images, watches.
  int open_handles() const;
  std::string option(const std::string& name) const;
  std::vector<std::byte>& image() { return image_; }

  uint64_t object_bytes = 4 << 20;
  uint64_t features = RBD_FEATURE_EXCLUSIVE_LOCK | RBD_FEATURE_FAST_DIFF;
  std::string id = "one";

 private:
  friend struct StubCalls;
  int enter(const std::string& function);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, int> results_;
  std::map<std::string, std::chrono::milliseconds> delays_;
  std::map<std::string, int> calls_;
  std::map<std::string, std::string> options_;
  std::vector<std::byte> image_;
  int open_ = 0;
  bool held_ = false;
  bool locked_ = false;
  rbd_update_callback_t notice_ = nullptr;
  void* notice_argument_ = nullptr;
};

}  // namespace sluice::test
