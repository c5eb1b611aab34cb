#include "frontend/fuse/command_ring.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "frontend/fuse/uring_command.hpp"

namespace sluice::fuse {
namespace {

constexpr uint16_t kNoQueue = UINT16_MAX;  // more than there are processors

}  // namespace

CommandRing::CommandRing() : result_(io_uring_queue_init(2, &ring_, IORING_SETUP_SQE128)) {}

CommandRing::~CommandRing() {
  if (result_ == 0) io_uring_queue_exit(&ring_);
}

int CommandRing::run(int device, uint32_t operation, const abi::UringCommand& command) {
  if (result_ != 0) return result_;
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
  std::memset(sqe, 0, sizeof(*sqe));
  prepare_uring_command(*sqe, {.number = device}, operation, command);
  io_uring_cqe* cqe = nullptr;
  if (const int entered = io_uring_submit_and_wait(&ring_, 1); entered < 0) return entered;
  if (const int waited = io_uring_wait_cqe(&ring_, &cqe); waited < 0) return waited;
  const int result = cqe->res;
  io_uring_cqe_seen(&ring_, cqe);
  return result;
}

// Before INIT is answered FUSE has no queues, and returns that error.
Result<void> try_uring_commands(int device) {
  const int result = CommandRing().run(device, abi::kRegister, {.queue_id = kNoQueue, .pool = {}});
  if (result == -EAGAIN) return {};
  return fail(-result, fmt::format("io_uring commands do not reach the kernel's FUSE: {}",
                                   std::strerror(-result)));
}

bool turn_uring_off(int device) {
  return CommandRing().run(device, abi::kRegister, {.queue_id = kNoQueue, .pool = {}}) == -EINVAL;
}

}  // namespace sluice::fuse
