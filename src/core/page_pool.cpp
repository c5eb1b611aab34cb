#include "core/page_pool.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cerrno>
#include <cstring>

#include "core/resident.hpp"

namespace sluice {
namespace {

constexpr size_t kFew = 16;  // pages
constexpr size_t kBits = 64;

}  // namespace

Result<std::unique_ptr<PagePool>> PagePool::create(size_t bytes, Residence residence) {
  const size_t rounded = pages_for(bytes) * kPageBytes;
  void* const place =
      mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (place == MAP_FAILED) {
    return fail(errno, fmt::format("cannot allocate a reserve of {} bytes: {}; use a smaller "
                                   "--reserve or --max_io_buf_bytes",
                                   rounded, std::strerror(errno)));
  }
  return std::unique_ptr<PagePool>(
      new PagePool({static_cast<std::byte*>(place), rounded}, residence));
}

PagePool::PagePool(std::span<std::byte> memory, Residence residence)
    : memory_(memory), count_(memory.size() / kPageBytes), free_((count_ + kBits - 1) / kBits) {
  mark(0, count_, true);
  if (residence == Residence::on_use) {
    risk_ = "its memory is allocated on use";
  } else if (auto resident = make_resident(memory); !resident) {
    risk_ = std::move(resident.error().text);
  }
}

PagePool::~PagePool() {
  assert(waiting_.empty() && next(0, false, count_) == count_);
  munmap(memory_.data(), memory_.size());
}

Pages PagePool::try_take(size_t bytes) {
  const size_t count = pages_for(bytes);
  assert(count != 0 && count <= count_);
  const auto first = find(count);
  if (!first) return {};
  mark(*first, count, false);
  return {*this, memory_.subspan(*first * kPageBytes, count * kPageBytes)};
}

bool PagePool::Wait::await_ready() {
  if (pool_.waiting_.empty()) pages_ = pool_.try_take(count_ * kPageBytes);
  return static_cast<bool>(pages_);
}

void PagePool::Wait::await_suspend(std::coroutine_handle<> coroutine) {
  coroutine_ = coroutine;
  pool_.waiting_.push(*this);
}

void PagePool::give_back(std::span<std::byte> pages) {
  mark(static_cast<size_t>(pages.data() - memory_.data()) / kPageBytes, pages.size() / kPageBytes,
       true);
  while (!waiting_.empty()) {
    Wait& first = *waiting_.front();
    first.pages_ = try_take(first.count_ * kPageBytes);
    if (!first.pages_) return;
    waiting_.pop();
    first.ready_.push(first.coroutine_);
  }
}

// --- Choosing pages

std::optional<size_t> PagePool::find(size_t count) const {
  return count <= kFew ? find_from_top(count) : find_from_bottom(count);
}

std::optional<size_t> PagePool::find_from_bottom(size_t count) const {
  for (size_t begin = 0; begin + count <= count_;) {
    begin = next(begin, true, count_);
    const size_t end = next(begin, false, std::min(begin + count, count_));
    if (end - begin == count) return begin;
    begin = end;
  }
  return std::nullopt;
}

std::optional<size_t> PagePool::find_from_top(size_t count) const {
  for (size_t end = count_; end >= count;) {
    end = previous(end, true, 0);
    const size_t begin = previous(end, false, end - std::min(count, end));
    if (end - begin == count) return begin;
    end = begin;
  }
  return std::nullopt;
}

// The first page from `page` on that is free (used, if `free` is false); `limit` if there is none
// before it.
size_t PagePool::next(size_t page, bool free, size_t limit) const {
  while (page < limit) {
    const uint64_t word = (free ? free_[page / kBits] : ~free_[page / kBits]) >> (page % kBits);
    if (word != 0) return std::min(page + static_cast<size_t>(std::countr_zero(word)), limit);
    page += kBits - page % kBits;
  }
  return limit;
}

// The same downwards: returns the page after the last such page below `page`, or `limit`.
size_t PagePool::previous(size_t page, bool free, size_t limit) const {
  while (page > limit) {
    const size_t last = page - 1;
    const uint64_t word = (free ? free_[last / kBits] : ~free_[last / kBits])
                          << (kBits - 1 - last % kBits);
    if (word != 0) return std::max(page - static_cast<size_t>(std::countl_zero(word)), limit);
    page = last - last % kBits;
  }
  return limit;
}

void PagePool::mark(size_t first, size_t count, bool free) {
  for (size_t page = first; page < first + count;) {
    const size_t bits = std::min(kBits - page % kBits, first + count - page);
    const uint64_t mask = (~uint64_t{0} >> (kBits - bits)) << (page % kBits);
    uint64_t& word = free_[page / kBits];
    assert((word & mask) == (free ? 0 : mask) && "pages are taken and returned once");
    word = free ? word | mask : word & ~mask;
    page += bits;
  }
}

// --- Pages

void Pages::trim(size_t bytes) {
  const size_t kept = PagePool::pages_for(bytes) * PagePool::kPageBytes;
  if (kept >= bytes_.size()) return;
  const std::span<std::byte> rest = bytes_.subspan(kept);
  bytes_ = bytes_.first(kept);
  pool_->give_back(rest);
}

void Pages::drop() {
  if (pool_ == nullptr) return;
  PagePool* const pool = std::exchange(pool_, nullptr);
  pool->give_back(std::exchange(bytes_, {}));
}

}  // namespace sluice
