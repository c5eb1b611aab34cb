// Operation: one I/O on a lent buffer, or one control operation, as an awaitable.
//
//   auto reading = ring.read(file, offset, view);
//   const Status status = co_await reading;
//
// It is submitted when it is awaited. It ends when *all* bytes have been moved, or with an errno:
// it continues short transfers itself (P-9), so that no target ever sees one. The direction of the
// loan and the bounds of the view are checked before a byte moves (P-5, P-6). The operation holds
// its view, and thereby the loan, until the kernel is done with the pages: for SEND_ZC that is the
// notification, not the result (P-10).
#pragma once

#include <sys/uio.h>

#include <coroutine>
#include <cstdint>
#include <span>

#include "core/file.hpp"
#include "core/loan.hpp"
#include "core/status.hpp"
#include "ring/completion.hpp"
#include "ring/piped_progress.hpp"

namespace sluice {

class LinkedCommand;
class Ring;

class [[nodiscard]] Operation final : public Completion, public FifoLink<Operation> {
 public:
  // Links `linked_command` (ring/linked_command.hpp) to this operation if one SQE moves the whole
  // loan; null: no command.
  void then(LinkedCommand* linked_command) { linked_command_ = linked_command; }

  bool await_ready();
  void await_suspend(std::coroutine_handle<> coroutine);
  Status await_resume() const { return status_; }

  // Bytes moved so far, also after a failure.
  uint32_t moved_bytes() const { return moved_; }

  // For the ring; see Completion.
  void prepare(io_uring_sqe& sqe) override;
  void complete(int32_t result, uint32_t flags) override;

 private:
  friend class Ring;
  friend class PipePool;

  enum class Verb : uint8_t {
    read,
    write,
    send,
    send_zc,
    recv,  // between a file or socket and the view
    copy_in,
    copy_out,  // between memory and the view
    zero,      // zeroes into the view
    sync,
    fallocate,
    discard,
    prefetch,
    sleep,  // no view
  };

  struct Plan {
    Verb verb;
    File file = {};
    uint64_t offset = 0;  // in the file; for sleep: nanoseconds
    uint64_t length = 0;  // fallocate, discard, prefetch
    View view = {};
    std::byte* memory = nullptr;  // copy_in, copy_out
    uint32_t flags = 0;           // RWF_*, MSG_*, fallocate mode, IORING_FSYNC_*
  };

  Operation(Ring& ring, Plan&& plan) : ring_(ring), plan_(std::move(plan)) {}

  bool submit_linked();
  bool is_all(int32_t result) const;
  bool is_unlinked(int32_t result);
  static Status status_of(int32_t result);
  bool moves_data() const { return plan_.verb <= Verb::zero; }
  bool fills() const;
  Status check() const;
  bool copy_at_once();
  void prepare_transfer(io_uring_sqe& sqe);
  void prepare_file_io(io_uring_sqe& sqe, Segment piece);
  void prepare_socket_io(io_uring_sqe& sqe, Segment piece);
  void prepare_copy(io_uring_sqe& sqe, Segment piece);
  Segment current_piece() const;
  Segment current_run() const;
  void advance(uint32_t bytes);
  int end_of_data_error() const;
  void go_on();

  // For memory, which may be in several places: operation_memory.cpp.
  void copy_mapped();
  void prepare_vectored(io_uring_sqe& sqe);
  std::span<const iovec> gathered_vectors();
  std::span<const iovec> lent_vectors() const;

  // For piped loans: operation_piped.cpp.
  bool piped() const { return moves_data() && plan_.view.loan()->piped(); }
  void copy_piped();
  void fill(Segment piece);
  bool put(const std::byte* memory, uint32_t length);
  void go_on_piped();
  void resume_with(Pipe& spare);
  bool have_pipe();
  bool stage();
  std::byte* bounce_buffer();
  void leave_pipe();
  bool bounces() const;
  uint32_t fill_bytes() const;
  void prepare_piped(io_uring_sqe& sqe);
  void prepare_splice(io_uring_sqe& sqe);
  void prepare_bounce(io_uring_sqe& sqe);
  void complete_piped(int32_t result);
  void complete_source(uint32_t bytes);
  void complete_bounced_fill(uint32_t bytes);

  Ring& ring_;
  Plan plan_;  // constant after construction

  // Progress.
  bool interrupted_ = false;
  bool wait_all_ = true;      // of recv
  uint32_t moved_ = 0;        // bytes of the view
  uint32_t piece_ = 0;        // index of the segment in progress ...
  uint32_t piece_moved_ = 0;  // ... and the bytes of it that are done
  Status status_;
  LinkedCommand* linked_command_ = nullptr;  // once submitted: non-null only if linked
  iovec* vectors_ = nullptr;                 // in the view's arena; only for scattered views
  __kernel_timespec time_{};
  std::coroutine_handle<> coroutine_;
  PipedProgress piped_;
};

}  // namespace sluice
