#include "ring/operation.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

#include "core/memory_cursor.hpp"
#include "ring/abi.hpp"
#include "ring/linked_command.hpp"
#include "ring/ring.hpp"

namespace sluice {

Operation Ring::read(File file, uint64_t offset, View destination) {
  return {*this,
          {.verb = Operation::Verb::read,
           .file = file,
           .offset = offset,
           .view = std::move(destination)}};
}

Operation Ring::write(File file, uint64_t offset, View source, bool durable) {
  return {*this,
          {.verb = Operation::Verb::write,
           .file = file,
           .offset = offset,
           .view = std::move(source),
           .flags = durable ? uint32_t{RWF_DSYNC} : 0}};
}

Operation Ring::send(File socket, View source, int message_flags) {
  return {*this,
          {.verb = Operation::Verb::send,
           .file = socket,
           .view = std::move(source),
           .flags = static_cast<uint32_t>(message_flags)}};
}

Operation Ring::send_zc(File socket, View source, int message_flags) {
  return {*this,
          {.verb = Operation::Verb::send_zc,
           .file = socket,
           .view = std::move(source),
           .flags = static_cast<uint32_t>(message_flags)}};
}

Operation Ring::recv(File socket, View destination) {
  return {*this, {.verb = Operation::Verb::recv, .file = socket, .view = std::move(destination)}};
}

Operation Ring::copy_in(View destination, std::span<const std::byte> memory) {
  if (destination.status().ok() && memory.size() != destination.length()) {
    destination = View::broken(EINVAL);
  }
  return {*this,
          {.verb = Operation::Verb::copy_in,
           .view = std::move(destination),
           .memory = const_cast<std::byte*>(memory.data())}};
}

Operation Ring::copy_out(View source, std::span<std::byte> memory) {
  if (source.status().ok() && memory.size() != source.length()) source = View::broken(EINVAL);
  return {*this,
          {.verb = Operation::Verb::copy_out, .view = std::move(source), .memory = memory.data()}};
}

Operation Ring::zero(View destination) {
  return {*this, {.verb = Operation::Verb::zero, .view = std::move(destination)}};
}

Operation Ring::sync(File file, bool data_only) {
  return {*this,
          {.verb = Operation::Verb::sync,
           .file = file,
           .flags = data_only ? uint32_t{IORING_FSYNC_DATASYNC} : 0}};
}

Operation Ring::fallocate(File file, int mode, uint64_t offset, uint64_t length) {
  return {*this,
          {.verb = Operation::Verb::fallocate,
           .file = file,
           .offset = offset,
           .length = length,
           .flags = static_cast<uint32_t>(mode)}};
}

Operation Ring::discard(File block_device, uint64_t offset, uint64_t length) {
  return {
      *this,
      {.verb = Operation::Verb::discard, .file = block_device, .offset = offset, .length = length}};
}

Operation Ring::prefetch(File file, uint64_t offset, uint64_t length) {
  constexpr uint64_t kMost = 1 << 30;  // the kernel takes 32 bits
  return {*this,
          {.verb = Operation::Verb::prefetch,
           .file = file,
           .offset = offset,
           .length = std::min(length, kMost)}};
}

Operation Ring::sleep(std::chrono::nanoseconds duration) {
  return {*this,
          {.verb = Operation::Verb::sleep, .offset = static_cast<uint64_t>(duration.count())}};
}

bool Operation::await_ready() {
  status_ = check();
  if (!status_.ok()) return true;
  if (moves_data() && plan_.view.length() == 0) return true;
  return copy_at_once();
}

void Operation::await_suspend(std::coroutine_handle<> coroutine) {
  coroutine_ = coroutine;
  if (linked_command_ != nullptr && submit_linked()) return;
  linked_command_ = nullptr;
  piped() ? go_on_piped() : ring_.submit(*this);
}

// Only for all pages of a request in one piece: the linked command may end the loan.
bool Operation::submit_linked() {
  const View& view = plan_.view;
  const bool transfers = plan_.verb <= Verb::recv || plan_.verb == Verb::zero;
  if (!transfers || plan_.verb == Verb::send_zc || !linked_command_->offered()) return false;
  if (view.scattered() || view.length() != view.loan()->length() || piped()) return false;
  if (view.length() > abi::kMaxTransferBytes || !view.loan()->vectors().empty()) return false;
  return ring_.submit_linked(*this, *linked_command_, static_cast<int32_t>(view.length()));
}

// All refusals happen here, before a byte moves.
Status Operation::check() const {
  if (!moves_data()) return kOk;
  if (!plan_.view.status().ok()) return plan_.view.status();
  const Loan& loan = *plan_.view.loan();
  const Direction needed = fills() ? Direction::destination : Direction::source;
  if (loan.direction() != needed) return Status::from_errno(EACCES);
  if (loan.addressable()) return kOk;
  if (loan.piped()) return ring_.pipes().is_open() ? kOk : Status::from_errno(EOPNOTSUPP);
  const bool copies = plan_.verb == Verb::copy_in || plan_.verb == Verb::copy_out;
  if (copies && !loan.copy_file().valid()) return Status::from_errno(EOPNOTSUPP);
  const bool plain_socket = plan_.verb == Verb::send || plan_.verb == Verb::recv;
  const bool possible = plain_socket ? ring_.abilities().socket_fixed
                                     : plan_.verb != Verb::zero || ring_.abilities().zero.valid();
  return possible ? kOk : Status::from_errno(EOPNOTSUPP);
}

bool Operation::fills() const {
  return plan_.verb == Verb::read || plan_.verb == Verb::recv || plan_.verb == Verb::copy_in ||
         plan_.verb == Verb::zero;
}

// Copies and zeroes need no system call if the pages have an address.
bool Operation::copy_at_once() {
  const bool copies = plan_.verb == Verb::copy_in || plan_.verb == Verb::copy_out;
  if (!copies && plan_.verb != Verb::zero) return false;
  const Loan& loan = *plan_.view.loan();
  if (loan.addressable()) copy_mapped();
  if (loan.piped()) copy_piped();
  return loan.addressable() || loan.piped();
}

void Operation::prepare(io_uring_sqe& sqe) {
  switch (plan_.verb) {
    case Verb::sync:
      io_uring_prep_fsync(&sqe, plan_.file.number, plan_.flags);
      break;
    case Verb::fallocate:
      io_uring_prep_rw(IORING_OP_FALLOCATE, &sqe, plan_.file.number, nullptr, plan_.flags,
                       plan_.offset);
      sqe.addr = plan_.length;
      break;
    case Verb::prefetch:
      io_uring_prep_fadvise(&sqe, plan_.file.number, plan_.offset,
                            static_cast<uint32_t>(plan_.length), POSIX_FADV_WILLNEED);
      break;
    case Verb::discard:
      io_uring_prep_rw(IORING_OP_URING_CMD, &sqe, plan_.file.number, nullptr, 0, 0);
      sqe.cmd_op = abi::kBlockUringCmdDiscard;
      sqe.addr = plan_.offset;
      sqe.addr3 = plan_.length;
      break;
    case Verb::sleep:
      time_ = {.tv_sec = static_cast<int64_t>(plan_.offset / 1'000'000'000),
               .tv_nsec = static_cast<int64_t>(plan_.offset % 1'000'000'000)};
      io_uring_prep_timeout(&sqe, &time_, 0, 0);
      return;
    default:
      prepare_transfer(sqe);
      return;
  }
  if (plan_.file.registered) sqe.flags |= IOSQE_FIXED_FILE;
}

void Operation::prepare_transfer(io_uring_sqe& sqe) {
  if (piped()) return prepare_piped(sqe);
  const Segment piece = current_run();
  File file = plan_.file;
  switch (plan_.verb) {
    case Verb::read:
    case Verb::write:
      if (plan_.view.scattered() || !plan_.view.loan()->vectors().empty()) {
        prepare_vectored(sqe);
      } else {
        prepare_file_io(sqe, piece);
      }
      break;
    case Verb::zero:
      file = ring_.abilities().zero;
      prepare_file_io(sqe, piece);
      sqe.fd = file.number;
      sqe.off = 0;
      break;
    case Verb::copy_in:
    case Verb::copy_out:
      file = plan_.view.loan()->copy_file();
      prepare_copy(sqe, piece);
      break;
    default:
      prepare_socket_io(sqe, piece);
      break;
  }
  if (file.registered) sqe.flags |= IOSQE_FIXED_FILE;
}

void Operation::prepare_file_io(io_uring_sqe& sqe, Segment piece) {
  const Loan& loan = *plan_.view.loan();
  const bool fixed = loan.slot() != Loan::kNoSlot;
  const int op = fills() ? (fixed ? IORING_OP_READ_FIXED : IORING_OP_READ)
                         : (fixed ? IORING_OP_WRITE_FIXED : IORING_OP_WRITE);
  io_uring_prep_rw(op, &sqe, plan_.file.number, nullptr, piece.length, plan_.offset + moved_);
  sqe.addr = MemoryCursor(loan, piece.offset).address();
  if (fixed) sqe.buf_index = static_cast<uint16_t>(loan.slot());
  sqe.rw_flags = static_cast<int>(plan_.flags);
}

void Operation::prepare_socket_io(io_uring_sqe& sqe, Segment piece) {
  const Loan& loan = *plan_.view.loan();
  const int op = plan_.verb == Verb::recv   ? IORING_OP_RECV
                 : plan_.verb == Verb::send ? IORING_OP_SEND
                                            : IORING_OP_SEND_ZC;
  io_uring_prep_rw(op, &sqe, plan_.file.number, nullptr, piece.length, 0);
  sqe.addr = MemoryCursor(loan, piece.offset).address();
  sqe.msg_flags = plan_.flags | (wait_all_ ? MSG_WAITALL : 0U) | MSG_NOSIGNAL;
  const bool fixed = loan.slot() != Loan::kNoSlot;
  if (fixed && (plan_.verb == Verb::send_zc || ring_.abilities().socket_fixed)) {
    sqe.ioprio |= abi::kRecvsendFixedBuf;
    sqe.buf_index = static_cast<uint16_t>(loan.slot());
  }
}

// pread or pwrite of the lender's file at the packed position of the request (S127).
void Operation::prepare_copy(io_uring_sqe& sqe, Segment piece) {
  const Loan& loan = *plan_.view.loan();
  const int op = plan_.verb == Verb::copy_in ? IORING_OP_WRITE : IORING_OP_READ;
  io_uring_prep_rw(op, &sqe, loan.copy_file().number, plan_.memory + moved_, piece.length,
                   loan.copy_position() + piece.offset);
}

// The rest of the piece, as far as one operation can move it.
Segment Operation::current_piece() const {
  const Segment piece = plan_.view.segments()[piece_];
  return {piece.offset + piece_moved_,
          std::min(piece.length - piece_moved_, abi::kMaxTransferBytes)};
}

// ... and as far as it is contiguous in memory.
Segment Operation::current_run() const {
  const Segment piece = current_piece();
  return {piece.offset,
          std::min(piece.length, MemoryCursor(*plan_.view.loan(), piece.offset).left())};
}

void Operation::complete(int32_t result, uint32_t flags) {
  if (flags == 0 && is_all(result)) {
    moved_ = plan_.view.length();
    if (fills()) plan_.view.loan()->fill(plan_.view.segments().front());
    ring_.ready().push(coroutine_);
    return;
  }
  if ((flags & IORING_CQE_F_NOTIF) != 0) {
    go_on();  // SEND_ZC: the kernel has released the pages
    return;
  }
  if (plan_.verb == Verb::sleep && result == -ETIME) result = 0;
  interrupted_ = result == -EINTR || is_unlinked(result);
  if (interrupted_) {
    // Nothing was moved: retry.
  } else if (piped()) {
    complete_piped(result);
  } else if (result == -ENOMEM && plan_.verb == Verb::recv && wait_all_) {
    wait_all_ = false;  // AF_VSOCK does not wait for more than its buffer holds
  } else if (result < 0) {
    status_ = status_of(result);
  } else if (!moves_data()) {
    status_ = kOk;
  } else if (result == 0) {
    status_ = Status::from_errno(end_of_data_error());
  } else {
    advance(static_cast<uint32_t>(result));
  }
  if ((flags & IORING_CQE_F_MORE) == 0) go_on();
}

// The usual case: one transfer has moved everything.
bool Operation::is_all(int32_t result) const {
  const View& view = plan_.view;
  return plan_.verb <= Verb::recv && result > 0 && static_cast<uint32_t>(result) == view.length() &&
         moved_ == 0 && !view.scattered() && linked_command_ == nullptr && !view.loan()->piped();
}

// A disk that cannot read a sector returns ENODATA, which here would mean the end of a file.
Status Operation::status_of(int32_t result) {
  return result == -ENODATA ? Status::from_errno(EIO) : Status::from_result(result);
}

// A linked operation has a CQE only if it was short or failed; its linked command is then
// cancelled. If the kernel could not accept the linked command, the operation itself is cancelled.
bool Operation::is_unlinked(int32_t result) {
  if (linked_command_ == nullptr || linked_command_->done()) return false;
  linked_command_->drop();
  linked_command_ = nullptr;
  return result == -ECANCELED && !cancelled();
}

// The error for a transfer of 0 bytes without an error.
int Operation::end_of_data_error() const {
  switch (plan_.verb) {
    case Verb::recv:
      return ECONNRESET;
    case Verb::write:
    case Verb::copy_in:
      return ENOSPC;
    default:
      return ENODATA;
  }
}

// Continues a short transfer (P-9), or makes the waiting coroutine ready.
void Operation::go_on() {
  if (piped()) return go_on_piped();
  const bool unfinished = moves_data() ? moved_ < plan_.view.length() : interrupted_;
  if (status_.ok() && unfinished && !cancelled()) {
    ring_.submit(*this);
    return;
  }
  if (status_.ok() && unfinished) status_ = Status::from_errno(ECANCELED);
  ring_.ready().push(coroutine_);
}

void Operation::advance(uint32_t bytes) {
  if (plan_.verb == Verb::copy_in || plan_.verb == Verb::copy_out) {
    ring_.counters_.copied_bytes += bytes;
  }
  const std::span<const Segment> pieces = plan_.view.segments();
  moved_ += bytes;
  assert(moved_ <= plan_.view.length());
  while (bytes != 0) {
    const Segment piece = current_piece();
    const uint32_t step = std::min(bytes, piece.length);
    if (fills()) fill({piece.offset, step});
    bytes -= step;
    piece_moved_ += step;
    if (piece_moved_ == pieces[piece_].length) {
      ++piece_;
      piece_moved_ = 0;
    }
  }
}

}  // namespace sluice
