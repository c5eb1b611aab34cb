#include "ring/operation.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "core/arena.hpp"
#include "ring/abi.hpp"
#include "ring/follower.hpp"
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
  assert(!destination.status().ok() || memory.size() == destination.length());
  return {*this,
          {.verb = Operation::Verb::copy_in,
           .view = std::move(destination),
           .memory = const_cast<std::byte*>(memory.data())}};
}

Operation Ring::copy_out(View source, std::span<std::byte> memory) {
  assert(!source.status().ok() || memory.size() == source.length());
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
  if (follower_ != nullptr && submit_linked()) return;
  follower_ = nullptr;
  piped() ? go_on_piped() : ring_.submit(*this);
}

// Only for all pages of a request in one piece: what follows may be the end of the loan.
bool Operation::submit_linked() {
  const View& view = plan_.view;
  const bool transfers = plan_.verb <= Verb::recv || plan_.verb == Verb::zero;
  if (!transfers || plan_.verb == Verb::send_zc || !follower_->offered()) return false;
  if (view.scattered() || view.length() != view.loan()->length() || piped()) return false;
  if (view.length() > abi::kMaxTransferBytes) return false;
  return ring_.submit_linked(*this, *follower_, static_cast<int32_t>(view.length()));
}

// Everything that can be refused is refused here, before a byte moves.
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
  if (plan_.verb == Verb::zero && !ring_.abilities().zero.valid()) {
    return Status::from_errno(EOPNOTSUPP);
  }
  const bool plain_socket = plan_.verb == Verb::send || plan_.verb == Verb::recv;
  if (plain_socket && !ring_.abilities().socket_fixed) return Status::from_errno(EOPNOTSUPP);
  return kOk;
}

bool Operation::fills() const {
  return plan_.verb == Verb::read || plan_.verb == Verb::recv || plan_.verb == Verb::copy_in ||
         plan_.verb == Verb::zero;
}

// Copies and zeroes need no kernel where the pages have an address.
bool Operation::copy_at_once() {
  const bool copies = plan_.verb == Verb::copy_in || plan_.verb == Verb::copy_out;
  if (!copies && plan_.verb != Verb::zero) return false;
  const Loan& loan = *plan_.view.loan();
  if (loan.addressable()) copy_mapped();
  if (loan.piped()) copy_piped();
  return loan.addressable() || loan.piped();
}

void Operation::copy_mapped() {
  Loan& loan = *plan_.view.loan();
  for (const Segment& piece : plan_.view.segments()) {
    std::byte* const place = loan.address() + piece.offset;
    switch (plan_.verb) {
      case Verb::copy_in:
        std::memcpy(place, plan_.memory + moved_, piece.length);
        break;
      case Verb::copy_out:
        std::memcpy(plan_.memory + moved_, place, piece.length);
        break;
      default:
        std::memset(place, 0, piece.length);
        break;
    }
    if (fills()) loan.fill(piece);
    moved_ += piece.length;
  }
  if (plan_.verb != Verb::zero) ring_.counters_.copied_bytes += moved_;
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
  const Segment piece = current_piece();
  File file = plan_.file;
  switch (plan_.verb) {
    case Verb::read:
    case Verb::write:
      if (plan_.view.scattered()) {
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
  sqe.addr = reinterpret_cast<uint64_t>(loan.address()) + piece.offset;
  if (fixed) sqe.buf_index = static_cast<uint16_t>(loan.slot());
  sqe.rw_flags = static_cast<int>(plan_.flags);
}

// All that is left of the pieces, in one operation where the kernel can do that; otherwise only the
// current piece, and go_on() comes back for the next.
void Operation::prepare_vectored(io_uring_sqe& sqe) {
  const Loan& loan = *plan_.view.loan();
  const bool fixed = loan.slot() != Loan::kNoSlot;
  const std::span<const Segment> pieces = plan_.view.segments();
  if (fixed && !ring_.abilities().vectored_fixed) {
    prepare_file_io(sqe, current_piece());
    return;
  }
  const uint32_t most = std::min(static_cast<uint32_t>(pieces.size()), abi::kMaxVectors);
  if (vectors_ == nullptr) vectors_ = plan_.view.arena()->array<iovec>(most).data();
  const uint32_t left = std::min(static_cast<uint32_t>(pieces.size()) - piece_, most);
  uint32_t count = 0;
  for (uint32_t bytes = 0; count < left && bytes < abi::kMaxTransferBytes; ++count) {
    const Segment piece = count == 0 ? current_piece() : pieces[piece_ + count];
    const uint32_t length = std::min(piece.length, abi::kMaxTransferBytes - bytes);
    const uint64_t address = reinterpret_cast<uint64_t>(loan.address()) + piece.offset;
    vectors_[count] = {reinterpret_cast<void*>(address), length};
    bytes += length;
  }
  const int op = fills() ? (fixed ? int{abi::kOpReadvFixed} : int{IORING_OP_READV})
                         : (fixed ? int{abi::kOpWritevFixed} : int{IORING_OP_WRITEV});
  io_uring_prep_rw(op, &sqe, plan_.file.number, vectors_, count, plan_.offset + moved_);
  if (fixed) sqe.buf_index = static_cast<uint16_t>(loan.slot());
  sqe.rw_flags = static_cast<int>(plan_.flags);
}

void Operation::prepare_socket_io(io_uring_sqe& sqe, Segment piece) {
  const Loan& loan = *plan_.view.loan();
  const int op = plan_.verb == Verb::recv   ? IORING_OP_RECV
                 : plan_.verb == Verb::send ? IORING_OP_SEND
                                            : IORING_OP_SEND_ZC;
  io_uring_prep_rw(op, &sqe, plan_.file.number, nullptr, piece.length, 0);
  sqe.addr = reinterpret_cast<uint64_t>(loan.address()) + piece.offset;
  sqe.msg_flags = plan_.flags | MSG_WAITALL | MSG_NOSIGNAL;
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

// What is left of it, as far as one operation can move it.
Segment Operation::current_piece() const {
  const Segment piece = plan_.view.segments()[piece_];
  return {piece.offset + piece_moved_,
          std::min(piece.length - piece_moved_, abi::kMaxTransferBytes)};
}

void Operation::complete(int32_t result, uint32_t flags) {
  if (flags == 0 && is_all(result)) {
    moved_ = plan_.view.length();
    if (fills()) plan_.view.loan()->fill(plan_.view.segments().front());
    ring_.ready().push(coroutine_);
    return;
  }
  if ((flags & IORING_CQE_F_NOTIF) != 0) {
    go_on();  // SEND_ZC: the kernel has let go of the pages
    return;
  }
  if (plan_.verb == Verb::sleep && result == -ETIME) result = 0;
  interrupted_ = result == -EINTR || is_unlinked(result);
  if (interrupted_) {
    // Nothing was moved: the same again.
  } else if (piped()) {
    complete_piped(result);
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

// What nearly always happens: one transfer has moved all there is.
bool Operation::is_all(int32_t result) const {
  const View& view = plan_.view;
  return plan_.verb <= Verb::recv && result > 0 && static_cast<uint32_t>(result) == view.length() &&
         moved_ == 0 && !view.scattered() && follower_ == nullptr && !view.loan()->piped();
}

// A disk that cannot read a sector says ENODATA, which here means that a file has ended.
Status Operation::status_of(int32_t result) {
  return result == -ENODATA ? Status::from_errno(EIO) : Status::from_result(result);
}

// A linked operation reports only that it was short or has failed, and its follower is gone. Where
// that is because the kernel could not take the follower, the operation is only cancelled.
bool Operation::is_unlinked(int32_t result) {
  if (follower_ == nullptr || follower_->done()) return false;
  follower_->drop();
  follower_ = nullptr;
  return result == -ECANCELED && !cancelled();
}

// What it means that nothing was moved and nothing is wrong.
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

// Continues what is short (P-9), or makes the waiting coroutine ready.
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
