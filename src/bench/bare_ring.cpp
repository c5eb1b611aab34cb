#include "bench/bare_ring.hpp"

#include <fmt/format.h>

#include <cstring>

namespace sluice::bench {
namespace {

Result<void> check(int result, std::string_view what) {
  if (result >= 0) return {};
  return fail(-result, fmt::format("cannot {} of an I/O ring: {}", what, std::strerror(-result)));
}

}  // namespace

BareRing::~BareRing() {
  if (open_) io_uring_queue_exit(&ring_);
}

Result<void> BareRing::open(uint32_t depth, std::span<const int> files) {
  constexpr unsigned kFlags =
      IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  auto opened = check(io_uring_queue_init(depth * 4, &ring_, kFlags), "make the queues");
  if (!opened) return opened;
  open_ = true;
  auto ready = check(io_uring_register_ring_fd(&ring_), "register the descriptor");
  if (!ready) return ready;
  return check(io_uring_register_files(&ring_, files.data(), static_cast<unsigned>(files.size())),
               "register the files");
}

Result<void> BareRing::register_memory(std::span<std::byte> memory) {
  const iovec whole{memory.data(), memory.size()};
  return check(io_uring_register_buffers(&ring_, &whole, 1), "register the memory");
}

io_uring_sqe* BareRing::next() {
  ++begun_;
  return io_uring_get_sqe(&ring_);
}

bool BareRing::finish(int32_t expected) {
  const int submitted = io_uring_submit_and_wait(&ring_, begun_);
  ++counts_.enters;
  if (submitted != static_cast<int>(begun_)) return false;
  bool good = true;
  uint32_t count = 0;
  unsigned head = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    good &= cqe->res == expected;
    ++count;
  }
  io_uring_cq_advance(&ring_, count);
  counts_.sqes += begun_;
  counts_.cqes += count;
  return good && count == std::exchange(begun_, 0);
}

}  // namespace sluice::bench
