// What the memory of qcow2_disk_fuzz is made of: address space, and a queue of requests that wait.
#pragma once

#include <sys/mman.h>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

#include "ring/ring.hpp"

namespace sluice::fuzz {

inline constexpr uint64_t kMemoryBytes = 40 << 20;

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "qcow2_disk_fuzz: %s\n", what);
  std::abort();
}

// Address space that is given back, so that only what is used takes memory.
class Pages {
 public:
  Pages()
      : start_(static_cast<std::byte*>(mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    require(start_ != MAP_FAILED, "there is no memory");
  }
  ~Pages() { munmap(start_, kMemoryBytes); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  std::span<std::byte> all() const { return {start_, kMemoryBytes}; }
  void clear() const { madvise(start_, kMemoryBytes, MADV_DONTNEED); }

 private:
  std::byte* const start_;
};

// The requests to all files that wait.
class Waiting {
 public:
  bool waits = false;  // a request, from here on

  size_t count() const { return waiting_.size(); }
  void let_go(size_t choice, Ring& ring) {
    const size_t index = choice % waiting_.size();
    ring.ready().push(waiting_[index]);
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(index));
  }
  void add(std::coroutine_handle<> coroutine) { waiting_.push_back(coroutine); }

 private:
  std::vector<std::coroutine_handle<>> waiting_;
};

}  // namespace sluice::fuzz
