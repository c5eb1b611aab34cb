// Operations on piped loans. Bytes of a source are gathered into a spare pipe and spliced from
// there to the file; a fill is spliced from the file into a spare, which the loan then keeps. Both
// continue until all bytes are moved. Data that cannot be spliced is copied through the bounce
// buffer of the spare and counted: for sockets, which would hold the pages after the loan is back
// (P-10), and after EINVAL (O_DIRECT with unaligned pages).
#include <algorithm>
#include <cassert>
#include <utility>

#include "ring/abi.hpp"
#include "ring/operation.hpp"
#include "ring/ring.hpp"

namespace sluice {

// Copies finish immediately: they never wait, not even for a spare.
void Operation::copy_piped() {
  const Loan& loan = *plan_.view.loan();
  while (status_.ok() && moved_ < plan_.view.length()) {
    const Segment piece = current_piece();
    std::byte* const memory = plan_.verb == Verb::zero ? nullptr : plan_.memory + moved_;
    const bool fine = fills() ? put(memory, piece.length) : ring_.pipes().copy(loan, piece, memory);
    if (!fine) {
      status_ = Status::from_errno(errno);
    } else if (!fills()) {
      advance(piece.length);
    }
  }
  if (piped_.pipe != nullptr) leave_pipe();
}

// Fills the next `length` bytes from memory, or with zeroes if it is null.
bool Operation::put(const std::byte* memory, uint32_t length) {
  for (uint32_t done = 0; done < length;) {
    if (!have_pipe()) return false;
    const std::byte* const from = memory == nullptr ? nullptr : memory + done;
    const ssize_t count = ring_.pipes().put(from, length - done, *piped_.pipe);
    if (count > 0) {
      advance(static_cast<uint32_t>(count));
      done += static_cast<uint32_t>(count);
    } else if (errno == EAGAIN && piped_.pipe->put_bytes != 0) {
      leave_pipe();  // it is full
    } else {
      return false;
    }
  }
  return true;
}

void Operation::fill(Segment piece) {
  Loan& loan = *plan_.view.loan();
  if (!piped()) {
    loan.fill(piece);
    return;
  }
  loan.fill_from(piece, *piped_.pipe);
  piped_.fill_end = piece.end();
}

// Submits the next step, or ends.
void Operation::go_on_piped() {
  const bool unfinished = moved_ < plan_.view.length();
  if (status_.ok() && unfinished && cancelled()) status_ = Status::from_errno(ECANCELED);
  if (status_.ok() && unfinished) {
    if (!have_pipe()) {
      if (!fills()) return;  // resume_with() continues
      status_ = Status::from_errno(errno);
    } else if (fills() || stage()) {
      ring_.submit(*this);
      return;
    }
  } else if (status_.ok() && plan_.flags != 0 && plan_.verb == Verb::write && !piped_.synced) {
    ring_.submit(*this);  // splice has no RWF_DSYNC
    return;
  }
  if (piped_.pipe != nullptr) leave_pipe();
  ring_.ready().push(coroutine_);
}

void Operation::resume_with(Pipe& spare) {
  piped_.pipe = &spare;
  go_on_piped();
}

// Gets a spare for the next bytes. In the spare of a fill the pieces ascend: a piece at a lower
// offset of the loan starts another spare.
bool Operation::have_pipe() {
  if (piped_.pipe != nullptr && fills() && current_piece().offset < piped_.fill_end) leave_pipe();
  if (piped_.pipe == nullptr) {
    piped_.pipe = fills() ? ring_.pipes().take_for_fill() : ring_.pipes().take(*this);
  }
  return piped_.pipe != nullptr;
}

std::byte* Operation::bounce_buffer() {
  if (piped_.pipe->bounce == nullptr) {
    piped_.pipe->bounce = std::make_unique<Buffer>(PipePool::kBounceBytes);
  }
  return piped_.pipe->bounce->bytes().data();
}

// Passes the content of a fill's spare to the loan.
void Operation::leave_pipe() {
  Pipe& spare = *std::exchange(piped_.pipe, nullptr);
  piped_.fill_end = 0;
  if (!fills()) {
    ring_.pipes().give(spare, piped_.staged == piped_.bounced);
  } else if (spare.put_bytes == 0) {
    ring_.pipes().put_back(spare);
  }
}

// Moves the next bytes of a source into the spare, and from there to the bounce buffer if
// necessary.
bool Operation::stage() {
  if (piped_.staged == 0) piped_.staged = ring_.pipes().gather(plan_.view, moved_, *piped_.pipe);
  if (piped_.staged != 0 && bounces() && piped_.bounced == 0) {
    const uint32_t most = std::min(piped_.staged, PipePool::kBounceBytes);
    const ssize_t count = ::read(piped_.pipe->read_end.number(), bounce_buffer(), most);
    piped_.bounced = static_cast<uint32_t>(std::max<ssize_t>(0, count));
    piped_.bounce_done = 0;
    ring_.counters_.copied_bytes += piped_.bounced;
  }
  if (piped_.staged != 0 && (piped_.bounced != 0 || !bounces())) return true;
  status_ = Status::from_errno(EIO);
  return false;
}

bool Operation::bounces() const {
  return piped_.cannot_splice || plan_.verb == Verb::send || plan_.verb == Verb::send_zc ||
         plan_.verb == Verb::recv;
}

// The number of next bytes that can go into one pipe: as long as their pieces ascend.
uint32_t Operation::fill_bytes() const {
  const std::span<const Segment> pieces = plan_.view.segments();
  uint32_t bytes = pieces[piece_].length - piece_moved_;
  for (size_t i = piece_ + 1; i < pieces.size(); ++i) {
    if (pieces[i].offset < pieces[i - 1].end()) break;
    bytes += pieces[i].length;
  }
  return std::min(bytes, abi::kMaxTransferBytes);
}

void Operation::prepare_piped(io_uring_sqe& sqe) {
  if (moved_ == plan_.view.length()) {
    io_uring_prep_fsync(&sqe, plan_.file.number, IORING_FSYNC_DATASYNC);
    sqe.off = plan_.offset;
    sqe.len = moved_;
  } else if (bounces()) {
    prepare_bounce(sqe);
  } else {
    prepare_splice(sqe);
    return;
  }
  if (plan_.file.registered) sqe.flags |= IOSQE_FIXED_FILE;
}

void Operation::prepare_splice(io_uring_sqe& sqe) {
  const File file = plan_.file;
  const auto offset = static_cast<int64_t>(plan_.offset + moved_);
  if (fills()) {
    io_uring_prep_splice(&sqe, file.number, offset, piped_.pipe->write_end.number(), -1,
                         fill_bytes(), file.registered ? SPLICE_F_FD_IN_FIXED : 0);
  } else {
    io_uring_prep_splice(&sqe, piped_.pipe->read_end.number(), -1, file.number, offset,
                         piped_.staged, 0);
    if (file.registered) sqe.flags |= IOSQE_FIXED_FILE;
  }
}

void Operation::prepare_bounce(io_uring_sqe& sqe) {
  std::byte* const memory = bounce_buffer();
  const uint32_t most = std::min(fill_bytes(), PipePool::kBounceBytes);
  switch (plan_.verb) {
    case Verb::read:
      io_uring_prep_read(&sqe, plan_.file.number, memory, most, plan_.offset + moved_);
      break;
    case Verb::recv:
      io_uring_prep_recv(&sqe, plan_.file.number, memory, most, MSG_WAITALL | MSG_NOSIGNAL);
      break;
    case Verb::write:
      io_uring_prep_write(&sqe, plan_.file.number, memory + piped_.bounce_done, piped_.bounced,
                          plan_.offset + moved_);
      break;
    default:
      io_uring_prep_send(&sqe, plan_.file.number, memory + piped_.bounce_done, piped_.bounced,
                         static_cast<int>(plan_.flags) | MSG_WAITALL | MSG_NOSIGNAL);
      break;
  }
}

void Operation::complete_piped(int32_t result) {
  const bool syncs = moved_ == plan_.view.length();
  if (syncs) {
    piped_.synced = true;
    status_ = status_of(std::min(result, 0));
  } else if (result == -EINVAL && !bounces()) {
    piped_.cannot_splice = true;
  } else if (result == -EAGAIN && fills() && !bounces() && piped_.pipe->put_bytes != 0) {
    leave_pipe();  // it is full
  } else if (result < 0) {
    status_ = status_of(result);
  } else if (result == 0) {
    status_ = Status::from_errno(end_of_data_error());
  } else if (!fills()) {
    complete_source(static_cast<uint32_t>(result));
  } else if (!bounces()) {
    advance(static_cast<uint32_t>(result));
  } else {
    complete_bounced_fill(static_cast<uint32_t>(result));
  }
}

void Operation::complete_source(uint32_t bytes) {
  piped_.staged -= bytes;
  if (piped_.bounced != 0) {
    piped_.bounced -= bytes;
    piped_.bounce_done += bytes;
  }
  advance(bytes);
}

// Moves the bounce buffer into the spare. If the spare gets full, the loan keeps it, and the rest
// goes into the next one.
void Operation::complete_bounced_fill(uint32_t bytes) {
  std::unique_ptr<Buffer> bounce = std::move(piped_.pipe->bounce);
  ring_.counters_.copied_bytes += bytes;
  if (!put(bounce->bytes().data(), bytes)) status_ = Status::from_errno(errno);
  if (piped_.pipe != nullptr) piped_.pipe->bounce = std::move(bounce);
}

}  // namespace sluice
