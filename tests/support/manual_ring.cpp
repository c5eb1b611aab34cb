#include "support/manual_ring.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "ring/abi.hpp"

namespace sluice::test {

namespace {

constexpr int kZeroSlot = 1000;

}  // namespace

// The memory for completions is allocated in advance, since tests count the allocations of a
// request.
ManualRing::ManualRing(uint32_t sq_entries, uint32_t cq_entries, uint32_t slots)
    : sq_entries_(sq_entries), zero_file_(open("/dev/zero", O_RDONLY | O_CLOEXEC)) {
  queue_.reserve(sq_entries);
  pending_.reserve(cq_entries);
  completed_.reserve(cq_entries);
  set_limits(cq_entries, slots);
  set_abilities({.vectored_fixed = true,
                 .socket_fixed = true,
                 .block_discard = true,
                 .links = true,
                 .zero = {.number = kZeroSlot, .registered = true}});
  file_of_slot_[kZeroSlot] = zero_file_;
}

ManualRing::~ManualRing() { close(zero_file_); }

void ManualRing::settle() {
  uint64_t moved = 0;
  do {
    moved = counters_.submitted + counters_.completed;
    run_once(false);
  } while (!queue_.empty() || counters_.submitted + counters_.completed != moved);
}

void ManualRing::complete(size_t index, int32_t result, uint32_t flags) {
  finish(index, result, flags);
  settle();
}

void ManualRing::perform(size_t index, uint32_t most) {
  const io_uring_sqe sqe = pending_.at(index);
  if (sqe.opcode != IORING_OP_ASYNC_CANCEL) {
    complete(index, execute(sqe, most));
    return;
  }
  const int32_t result = cancel_pending(sqe.addr);
  const auto self = std::ranges::find(pending_, sqe.user_data, &io_uring_sqe::user_data);
  complete(static_cast<size_t>(self - pending_.begin()), result);
}

void ManualRing::perform_all() {
  settle();
  while (pending() != 0) perform(0);
}

io_uring_sqe* ManualRing::next_sqe() {
  if (queue_.size() == sq_entries_) return nullptr;
  queue_.emplace_back();
  std::memset(&queue_.back(), 0, sizeof(io_uring_sqe));
  return &queue_.back();
}

uint32_t ManualRing::free_sqes() const {
  return sq_entries_ - static_cast<uint32_t>(queue_.size());
}

void ManualRing::enter(bool) {
  for (size_t i = 0; i < queue_.size(); ++i) {
    const io_uring_sqe& sqe = pending_.emplace_back(queue_[i]);
    if ((sqe.flags & IOSQE_IO_LINK) != 0) linked_commands_[sqe.user_data] = queue_[++i];
  }
  queue_.clear();
}

uint32_t ManualRing::reap(std::span<Cqe> batch) {
  const size_t count = std::min(batch.size(), completed_.size());
  std::copy_n(completed_.begin(), count, batch.begin());
  completed_.erase(completed_.begin(), completed_.begin() + static_cast<ptrdiff_t>(count));
  return static_cast<uint32_t>(count);
}

void ManualRing::finish(size_t index, int32_t result, uint32_t flags) {
  const io_uring_sqe sqe = pending_.at(index);
  const auto linked_command = linked_commands_.find(sqe.user_data);
  const bool goes_on =
      linked_command != linked_commands_.end() && result == static_cast<int32_t>(sqe.len);
  if (!goes_on) completed_.push_back({sqe.user_data, result, flags});
  if ((flags & IORING_CQE_F_MORE) != 0) return;
  pending_.erase(pending_.begin() + static_cast<ptrdiff_t>(index));
  if (goes_on) pending_.push_back(linked_command->second);
  if (linked_command != linked_commands_.end()) linked_commands_.erase(linked_command);
}

// The kernel's result of a cancellation; here every operation is either found or already done.
int32_t ManualRing::cancel_pending(uint64_t user_data) {
  const auto found = std::ranges::find(pending_, user_data, &io_uring_sqe::user_data);
  if (found == pending_.end()) return -ENOENT;
  completed_.push_back({user_data, -ECANCELED, 0});
  linked_commands_.erase(user_data);
  pending_.erase(found);
  return 0;
}

int32_t ManualRing::execute(const io_uring_sqe& sqe, uint32_t most) {
  const int fd = (sqe.flags & IOSQE_FIXED_FILE) != 0 ? file_of_slot_.at(sqe.fd) : sqe.fd;
  const std::vector<iovec> memory = memory_of(sqe, most);
  const int count = static_cast<int>(memory.size());
  const off_t offset = static_cast<off_t>(sqe.off);
  ssize_t result = 0;
  switch (sqe.opcode) {
    case IORING_OP_READ:
    case IORING_OP_READ_FIXED:
    case IORING_OP_READV:
    case abi::kOpReadvFixed:
      result = preadv(fd, memory.data(), count, offset);
      break;
    case IORING_OP_WRITE:
    case IORING_OP_WRITE_FIXED:
    case IORING_OP_WRITEV:
    case abi::kOpWritevFixed:
      result = pwritev2(fd, memory.data(), count, offset, sqe.rw_flags);
      break;
    case IORING_OP_FSYNC:
      result = (sqe.fsync_flags & IORING_FSYNC_DATASYNC) != 0 ? fdatasync(fd) : fsync(fd);
      break;
    case IORING_OP_FALLOCATE:
      result = ::fallocate(fd, static_cast<int>(sqe.len), offset, static_cast<off_t>(sqe.addr));
      break;
    case IORING_OP_FADVISE:
      return -posix_fadvise(fd, offset, sqe.len, static_cast<int>(sqe.fadvise_advice));
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC:
      result = ::send(fd, memory[0].iov_base, memory[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
      break;
    case IORING_OP_RECV:
      result = ::recv(fd, memory[0].iov_base, memory[0].iov_len, MSG_DONTWAIT);
      break;
    case IORING_OP_SPLICE:
      result = execute_splice(sqe, fd, most);
      break;
    case IORING_OP_TIMEOUT:
      return -ETIME;
    default:
      return -EINVAL;
  }
  return static_cast<int32_t>(result < 0 ? -errno : result);
}

ssize_t ManualRing::execute_splice(const io_uring_sqe& sqe, int to, uint32_t most) const {
  const bool fixed = (sqe.splice_flags & SPLICE_F_FD_IN_FIXED) != 0;
  const int from = fixed ? file_of_slot_.at(sqe.splice_fd_in) : sqe.splice_fd_in;
  off64_t from_offset = static_cast<off64_t>(sqe.splice_off_in);
  off64_t to_offset = static_cast<off64_t>(sqe.off);
  return ::splice(from, from_offset < 0 ? nullptr : &from_offset, to,
                  to_offset < 0 ? nullptr : &to_offset, std::min(sqe.len, most), 0);
}

// The memory of an SQE: its addresses are offsets if its slot has no address.
std::vector<iovec> ManualRing::memory_of(const io_uring_sqe& sqe, uint32_t most) const {
  const bool fixed = sqe.opcode == IORING_OP_READ_FIXED || sqe.opcode == IORING_OP_WRITE_FIXED ||
                     sqe.opcode == abi::kOpReadvFixed || sqe.opcode == abi::kOpWritevFixed ||
                     ((sqe.opcode == IORING_OP_SEND || sqe.opcode == IORING_OP_RECV ||
                       sqe.opcode == IORING_OP_SEND_ZC) &&
                      (sqe.ioprio & abi::kRecvsendFixedBuf) != 0);
  const bool vectored = sqe.opcode == IORING_OP_READV || sqe.opcode == IORING_OP_WRITEV ||
                        sqe.opcode == abi::kOpReadvFixed || sqe.opcode == abi::kOpWritevFixed;
  std::vector<iovec> memory;
  if (vectored) {
    const auto* vectors = reinterpret_cast<const iovec*>(sqe.addr);
    memory.assign(vectors, vectors + sqe.len);
  } else {
    memory.push_back({reinterpret_cast<void*>(sqe.addr), sqe.len});
  }
  for (iovec& vector : memory) {
    if (fixed && buffers_.contains(sqe.buf_index)) {
      const uint64_t offset = reinterpret_cast<uint64_t>(vector.iov_base);
      vector.iov_base = buffers_.at(sqe.buf_index).data() + offset;
    }
    vector.iov_len = std::min<size_t>(vector.iov_len, most);
    most -= static_cast<uint32_t>(vector.iov_len);
  }
  std::erase_if(memory, [](const iovec& vector) { return vector.iov_len == 0; });
  return memory;
}

}  // namespace sluice::test
