// PagePool: the reserve of a queue: memory for the data of its requests, allocated once, prefaulted
// and locked, so that some request can always be served even if the machine is out of memory.
//
//   auto wait = pool.take(ready, bytes);
//   Pages pages = co_await wait;
//
// A request gets all its pages at once, contiguous, or waits in order of arrival; a waiting request
// holds no pages. As every holder returns its pages in the end, every request is served. Small
// allocations come from the top, large ones from the bottom, to avoid fragmentation.
//
// Owned by a queue, used by its ring's thread only. Neither allocates nor locks.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/fifo.hpp"
#include "core/page.hpp"
#include "core/ready_list.hpp"

namespace sluice {

class Pages;

class PagePool {
 public:
  static constexpr size_t kPageBytes = sluice::kPageBytes;
  static constexpr uint32_t kUsualBytes = 8 << 20;  // for a queue whose data is copied

  class Wait;
  enum class Residence : uint8_t {
    locked,  // in memory from the beginning
    on_use,  // each page when it is used first: not for a device that may be swap space
  };

  // At least `bytes`, in whole pages. ENOMEM: no address space.
  static Result<std::unique_ptr<PagePool>> create(size_t bytes,
                                                  Residence residence = Residence::locked);
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;
  ~PagePool();

  // `bytes`: at most the size of the pool. A coroutine that waits is resumed through `ready`.
  Wait take(ReadyList& ready, size_t bytes);
  // Does not wait, and overtakes waiting requests; empty if there are not enough pages.
  Pages try_take(size_t bytes);

  size_t bytes() const { return memory_.size(); }
  // The reason why the pages may not be resident when needed; empty: they are.
  const std::string& risk() const { return risk_; }

 private:
  friend class Pages;

  PagePool(std::span<std::byte> memory, Residence residence);
  static size_t pages_for(size_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes; }
  std::optional<size_t> find(size_t count) const;
  std::optional<size_t> find_from_bottom(size_t count) const;
  std::optional<size_t> find_from_top(size_t count) const;
  size_t next(size_t page, bool free, size_t limit) const;
  size_t previous(size_t page, bool free, size_t limit) const;
  void mark(size_t first, size_t count, bool free);
  void give_back(std::span<std::byte> pages);

  const std::span<std::byte> memory_;
  const size_t count_;          // pages
  std::vector<uint64_t> free_;  // a bit for each page
  std::string risk_;
  Fifo<Wait> waiting_;
};

// Owns some pages of a pool. Empty: none.
class Pages {
 public:
  Pages() = default;
  Pages(Pages&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), bytes_(std::exchange(other.bytes_, {})) {}
  Pages& operator=(Pages&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Pages() { drop(); }

  explicit operator bool() const { return pool_ != nullptr; }
  std::span<std::byte> bytes() const { return bytes_; }

  // Keeps the first `bytes`, rounded up to whole pages, and returns the others.
  void trim(size_t bytes);
  void drop();

 private:
  friend class PagePool;
  Pages(PagePool& pool, std::span<std::byte> bytes) : pool_(&pool), bytes_(bytes) {}

  PagePool* pool_ = nullptr;
  std::span<std::byte> bytes_;
};

class [[nodiscard]] PagePool::Wait : public FifoLink<Wait> {
 public:
  Wait(PagePool& pool, ReadyList& ready, size_t bytes)
      : pool_(pool), ready_(ready), count_(pages_for(bytes)) {}

  bool await_ready();
  void await_suspend(std::coroutine_handle<> coroutine);
  Pages await_resume() { return std::move(pages_); }

 private:
  friend class PagePool;

  PagePool& pool_;
  ReadyList& ready_;
  const size_t count_;
  Pages pages_;
  std::coroutine_handle<> coroutine_;
};

inline PagePool::Wait PagePool::take(ReadyList& ready, size_t bytes) {
  return {*this, ready, bytes};
}

}  // namespace sluice
