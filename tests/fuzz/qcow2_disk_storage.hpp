// Memory: a target in memory for qcow2_disk_fuzz, whose requests wait until they are let go, in any
// order. It knows which clusters are not for the data of guests.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <coroutine>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "ring/ring.hpp"
#include "target/target.hpp"

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

class Memory final : public Target {
 public:
  Memory(const Pages& pages, std::span<const std::byte> contents, bool grows)
      : pages_(pages), grows_(grows) {
    pages_.clear();
    std::ranges::copy(contents, pages_.all().begin());
    geometry_.size_bytes = contents.size();
    geometry_.volatile_cache = true;
    geometry_.can_discard = true;
    geometry_.can_write_zeroes = true;
  }

  // A request waits from here on, and fails if it is this one of the writes; 0: none does.
  bool waits = false;
  uint64_t failing_write = 0;

  size_t waiting() const { return waiting_.size(); }
  void let_go(size_t choice, Ring& ring) {
    const size_t index = choice % waiting_.size();
    ring.ready().push(waiting_[index]);
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(index));
  }

  // From now on these are neither discarded nor cleared.
  void protect(uint64_t offset, uint64_t bytes) { protected_.emplace_back(offset, bytes); }
  void forget() { protected_.clear(); }
  std::span<const std::byte> bytes() const { return pages_.all().first(geometry_.size_bytes); }

 private:
  struct Pause {
    Memory& memory;
    bool await_ready() const { return !memory.waits; }
    void await_suspend(std::coroutine_handle<> coroutine) const {
      memory.waiting_.push_back(coroutine);
    }
    void await_resume() const {}
  };

  Task do_submit(Request& request) override {
    Pause pause{*this};
    co_await pause;
    if (request.changes_data() && ++writes_ == failing_write) {
      co_return Status::from_errno(ENOSPC);
    }
    switch (request.op) {
      case Op::read: {
        auto reading = request.ring->copy_in(request.data, part(request));
        co_return co_await reading;
      }
      case Op::write: {
        auto writing = request.ring->copy_out(request.data, part(request));
        co_return co_await writing;
      }
      case Op::discard:
      case Op::write_zeroes:
        clear(request);
        co_return kOk;
      default:
        co_return kOk;
    }
  }

  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override {
    const uint64_t size = wanted.value_or(geometry_.size_bytes);
    if (grows_ && size <= kMemoryBytes) return size;
    return fail(grows_ ? ENOSPC : EOPNOTSUPP, "there is no more memory");
  }

  std::span<std::byte> part(const Request& request) const {
    return pages_.all().subspan(request.offset, request.length);
  }
  void clear(const Request& request) const {
    for (const auto& [offset, bytes] : protected_) {
      require(request.offset >= offset + bytes || offset >= request.offset + request.length,
              "metadata is cleared");
    }
    std::ranges::fill(part(request), std::byte{0});
  }

  const Pages& pages_;
  const bool grows_;
  uint64_t writes_ = 0;
  std::vector<std::coroutine_handle<>> waiting_;
  std::vector<std::pair<uint64_t, uint64_t>> protected_;
};

}  // namespace sluice::fuzz
