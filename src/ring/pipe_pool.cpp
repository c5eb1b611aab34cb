#include "ring/pipe_pool.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstring>
#include <utility>

#include "core/memory_cursor.hpp"
#include "core/page.hpp"
#include "ring/operation.hpp"

namespace sluice {
namespace {

constexpr size_t kZeroBytes = 64 << 10;
alignas(kPageBytes) constexpr std::array<std::byte, kZeroBytes> kZeroes{};

int open_pipe(Pipe& pipe, uint32_t bytes) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return errno;
  pipe.read_end = Descriptor(ends[0]);
  pipe.write_end = Descriptor(ends[1]);
  return fcntl(ends[0], F_SETPIPE_SZ, bytes) < 0 ? errno : 0;
}

uint32_t move(const Pipe& from, int to, uint32_t bytes) {
  const ssize_t moved =
      splice(from.read_end.number(), nullptr, to, nullptr, bytes, SPLICE_F_NONBLOCK);
  return moved < 0 ? 0 : static_cast<uint32_t>(moved);
}

}  // namespace

// A request that begins inside a page has a page more, and a reply has a header.
Result<void> PipePool::open(uint32_t request_bytes, uint32_t limit) {
  assert(spares_.empty() && limit != 0);
  pipe_bytes_ = std::bit_ceil(request_bytes + 2 * kPageBytes);
  limit_ = limit;
  spares_.reserve(limit);
  auto made = make();
  if (!made) return std::unexpected(made.error());
  scratch_ = std::move(*made);
  free_for_sources_ = make_spare();  // one ensures progress, whatever the kernel allows later
  if (free_for_sources_ == nullptr) {
    return fail(errno, fmt::format("cannot make a second pipe of {} bytes: {}", pipe_bytes_,
                                   std::strerror(errno)));
  }
  made_for_sources_ = 1;
  null_ = Descriptor(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  if (null_.valid()) return {};
  return fail(errno, fmt::format("cannot open /dev/null: {}", std::strerror(errno)));
}

Result<Pipe> PipePool::make_pipe(uint32_t bytes) {
  Pipe pipe;
  const int error = open_pipe(pipe, bytes);
  if (error == 0) return pipe;
  const char* const advice = error == EPERM    ? "; see /proc/sys/fs/pipe-max-size"
                             : error == EMFILE ? "; see ulimit -n"
                                               : "";
  return fail(error, fmt::format("cannot make a pipe of {} bytes for lent pages: {}{}", bytes,
                                 std::strerror(error), advice));
}

void PipePool::drain(Pipe& pipe) {
  while (move(pipe, null_.number(), pipe_bytes_) == pipe_bytes_) {
  }
}

Status PipePool::collect(Loan& loan, Pipe& reply) {
  Status status;
  if (!loan.filled({0, loan.length()})) status = Status::from_errno(ENODATA);
  uint32_t offset = 0;
  while (status.ok() && offset < loan.length()) {
    const PipedFills::Run run = loan.fills().run_at(offset);
    assert(run.pipe != nullptr);
    if (!move_run(run, reply)) status = Status::from_errno(EMSGSIZE);
    offset += run.length;
  }
  discard(loan);
  return status;
}

void PipePool::discard(Loan& loan) {
  Pipe* spare = loan.fills().pipes();
  loan.fills().clear();
  while (spare != nullptr) put_back(*std::exchange(spare, spare->next));
}

bool PipePool::move_run(const PipedFills::Run& run, Pipe& reply) {
  Pipe& spare = *run.pipe;
  if (!skip(spare, run.position - spare.taken_bytes)) return false;
  spare.taken_bytes = run.position;
  for (uint32_t left = run.length; left != 0;) {
    uint32_t moved = move(spare, reply.write_end.number(), left);
    if (moved == 0 && compact(reply)) moved = move(spare, reply.write_end.number(), left);
    if (moved == 0) return false;
    left -= moved;
    spare.taken_bytes += moved;
  }
  return true;
}

// A pipe holds a fixed number of pieces, however small they are: merges them into whole pages. For
// requests that consist of very many pieces.
bool PipePool::compact(Pipe& pipe) {
  int held = 0;
  if (ioctl(pipe.read_end.number(), FIONREAD, &held) != 0) return false;
  std::vector<std::byte> bytes(static_cast<size_t>(held));
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t got = read(pipe.read_end.number(), bytes.data() + done, bytes.size() - done);
    if (got <= 0) return false;
    done += static_cast<size_t>(got);
  }
  counters_.copied_bytes += bytes.size();
  return write(pipe.write_end.number(), bytes.data(), bytes.size()) == held;
}

Pipe* PipePool::take(Operation& waiter) {
  if (waiting_.empty()) {
    Pipe* const spare = take_free();
    if (spare != nullptr) return spare;
  }
  waiting_.push(waiter);
  return nullptr;
}

Pipe* PipePool::take_free() {
  if (free_for_sources_ != nullptr) {
    return std::exchange(free_for_sources_, free_for_sources_->next);
  }
  if (made_for_sources_ == limit_) return nullptr;
  Pipe* const spare = make_spare();
  if (spare != nullptr) ++made_for_sources_;
  return spare;
}

// A resumed operation may return its spare immediately: this loop, not a nested call, serves the
// next.
void PipePool::give(Pipe& spare, bool empty) {
  if (!empty) drain(spare);
  spare.next = std::exchange(free_for_sources_, &spare);
  if (serving_) return;
  serving_ = true;
  while (!waiting_.empty() && free_for_sources_ != nullptr) {
    waiting_.pop()->resume_with(*take_free());
  }
  serving_ = false;
}

Pipe* PipePool::take_for_fill() {
  if (free_for_fills_ == nullptr) return make_spare();
  return std::exchange(free_for_fills_, free_for_fills_->next);
}

void PipePool::put_back(Pipe& spare) {
  if (spare.taken_bytes != spare.put_bytes) drain(spare);
  spare.put_bytes = spare.taken_bytes = 0;
  spare.next = std::exchange(free_for_fills_, &spare);
}

Pipe* PipePool::make_spare() {
  auto spare = std::make_unique<Pipe>();
  const int error = open_pipe(*spare, pipe_bytes_);
  if (error == 0) return spares_.emplace_back(std::move(spare)).get();
  errno = error;
  return nullptr;
}

uint32_t PipePool::gather(const View& view, uint32_t from, Pipe& into) {
  const Segment piece = view.segments()[0];
  if (view.scattered() || piece.offset + from != 0) return gather_scattered(view, from, into);
  const ssize_t gathered = tee(view.loan()->pipe()->read_end.number(), into.write_end.number(),
                               piece.length, SPLICE_F_NONBLOCK);
  return gathered < 0 ? 0 : static_cast<uint32_t>(gathered);
}

// The scratch pipe steps through the loan: bytes before a piece are discarded, the piece is moved.
// A piece at a lower offset than the last one starts again.
uint32_t PipePool::gather_scattered(const View& view, uint32_t from, Pipe& into) {
  const Loan& loan = *view.loan();
  uint32_t end = 0;
  for (const Segment& piece : view.segments()) end = std::max(end, piece.end());
  uint32_t gathered = 0;
  uint32_t front = end;  // offset in the loan of the next byte in the scratch pipe
  for (Segment piece : view.segments()) {
    const uint32_t done = std::min(from, piece.length);
    from -= done;
    piece = {piece.offset + done, piece.length - done};
    if (piece.length == 0) continue;
    const bool back = piece.offset < front;
    if (back && front != end) drain(scratch_);
    const bool there =
        back ? fill_scratch(loan, piece.offset, end) : skip(scratch_, piece.offset - front);
    if (!there) {
      drain(scratch_);
      return gathered;
    }
    const uint32_t moved = move(scratch_, into.write_end.number(), piece.length);
    gathered += moved;
    front = piece.offset + moved;
    if (moved < piece.length) break;
  }
  if (front != end) drain(scratch_);
  return gathered;
}

// Tees bytes [begin, end) of the loan into the scratch pipe.
bool PipePool::fill_scratch(const Loan& loan, uint32_t begin, uint32_t end) {
  const ssize_t got =
      tee(loan.pipe()->read_end.number(), scratch_.write_end.number(), end, SPLICE_F_NONBLOCK);
  return got == static_cast<ssize_t>(end) && skip(scratch_, begin);
}

bool PipePool::skip(Pipe& pipe, uint32_t bytes) const {
  return bytes == 0 || move(pipe, null_.number(), bytes) == bytes;
}

ssize_t PipePool::refer(const View& view, uint32_t from, Pipe& into) {
  const Loan& loan = *view.loan();
  if (loan.piped()) {
    const uint32_t gathered = gather(view, from, into);
    return gathered != 0 ? gathered : -EAGAIN;
  }
  if (!loan.addressable()) return -EOPNOTSUPP;
  const Segment* piece = view.segments().data();
  for (; from >= piece->length; ++piece) from -= piece->length;
  const MemoryCursor at(loan, piece->offset + from);
  const iovec memory{reinterpret_cast<void*>(at.address()),
                     std::min(piece->length - from, at.left())};
  const ssize_t put = vmsplice(into.write_end.number(), &memory, 1, SPLICE_F_NONBLOCK);
  return put < 0 ? -errno : put;
}

bool PipePool::copy(const Loan& loan, Segment piece, std::byte* memory) {
  bool fine = fill_scratch(loan, piece.offset, piece.end());
  for (uint32_t done = 0; fine && done < piece.length;) {
    const ssize_t got = read(scratch_.read_end.number(), memory + done, piece.length - done);
    fine = got > 0;
    if (fine) done += static_cast<uint32_t>(got);
  }
  if (!fine) drain(scratch_);
  return fine;
}

// Zeroes are always the same few pages, which the pipe references.
ssize_t PipePool::put(const std::byte* memory, uint32_t length, Pipe& into) {
  if (memory != nullptr) return write(into.write_end.number(), memory, length);
  iovec zeroes{const_cast<std::byte*>(kZeroes.data()), std::min<size_t>(length, kZeroBytes)};
  return vmsplice(into.write_end.number(), &zeroes, 1, SPLICE_F_NONBLOCK);
}

}  // namespace sluice
