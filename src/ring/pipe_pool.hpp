// PipePool: the spare pipes of a ring, and everything that is done with pages between two pipes.
//
// Users of a piped loan never take bytes out of its pipe: they tee them into a spare, which costs a
// reference per page and no copy. What fills a READ stays in spares until the lender collects it.
// All of this is done by system calls of the ring's thread, which never block here and cost far
// less than the same as submissions (docs/decisions/0005-piped-loans.md); only I/O on files and
// sockets goes through the ring.
//
// Owned by a Ring, used by its thread only. Sources share a number of spares and wait for one when
// all are taken. What fills a destination never waits, because its spare stays with the request
// until that is done: who waits for others to be done may be what the others wait for.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/error.hpp"
#include "core/pipe.hpp"
#include "core/view.hpp"
#include "ring/counters.hpp"

namespace sluice {

class Operation;

class PipePool {
 public:
  static constexpr uint32_t kBounceBytes = 64 << 10;
  static constexpr uint32_t kDefaultLimit = 16;

  explicit PipePool(RingCounters& counters) : counters_(counters) {}
  PipePool(const PipePool&) = delete;
  PipePool& operator=(const PipePool&) = delete;

  // --- Control path. Before the ring serves piped loans, of at most `request_bytes` each; `limit`:
  // spares that operations on sources share. EPERM, EMFILE: the kernel allows no pipes so large or
  // so many.
  Result<void> open(uint32_t request_bytes, uint32_t limit = kDefaultLimit);
  bool is_open() const { return null_.valid(); }
  // A pipe of a lender, as large as the spares.
  Result<Pipe> make() const { return make_pipe(pipe_bytes_); }
  // One of this size. EPERM, EMFILE: as above.
  static Result<Pipe> make_pipe(uint32_t bytes);

  // --- For lenders.
  // Throws away what is in it.
  void drain(Pipe& pipe);
  // All bytes of a destination that is back, in order, behind what `reply` holds. Gives the spares
  // back in any case. ENODATA: not all of it was filled (P-8); EMSGSIZE: it does not fit.
  Status collect(Loan& loan, Pipe& reply);
  // Throws away what filled it.
  void discard(Loan& loan);

  // --- For operations.
  // A spare for a source, to be given back. Null: none is free, and `waiter` is resumed with one as
  // soon as there is.
  Pipe* take(Operation& waiter);
  void give(Pipe& spare, bool empty);
  // A spare for what fills a destination; put back by collect() or discard(), or by hand when
  // nothing filled it. Null: the kernel allows no more; see errno.
  Pipe* take_for_fill();
  void put_back(Pipe& spare);
  // Puts the bytes of a source from `from` on into `into`. Fewer than all where it is full; errno
  // tells why none.
  uint32_t gather(const View& view, uint32_t from, Pipe& into);
  // The same for any source whose pages can be put into a pipe, memory too: as many bytes as fit,
  // by reference. A negative errno if none: EOPNOTSUPP where they cannot.
  ssize_t refer(const View& view, uint32_t from, Pipe& into);
  // Copies a piece of a source out. False: see errno.
  bool copy(const Loan& loan, Segment piece, std::byte* memory);
  // Puts memory, or zeroes where that is null, into a spare, as far as it fits; negative: errno.
  ssize_t put(const std::byte* memory, uint32_t length, Pipe& into);

 private:
  uint32_t gather_scattered(const View& view, uint32_t from, Pipe& into);
  bool fill_scratch(const Loan& loan, uint32_t begin, uint32_t end);
  bool skip(Pipe& pipe, uint32_t bytes) const;
  bool move_run(const PipedFills::Run& run, Pipe& reply);
  bool compact(Pipe& pipe);
  Pipe* take_free();
  Pipe* make_spare();

  RingCounters& counters_;
  uint32_t pipe_bytes_ = 0;
  uint32_t limit_ = 0;
  Descriptor null_;
  Pipe scratch_;  // empty between calls
  std::vector<std::unique_ptr<Pipe>> spares_;
  uint32_t made_for_sources_ = 0;
  Pipe* free_for_sources_ = nullptr;
  Pipe* free_for_fills_ = nullptr;
  Operation* waiting_head_ = nullptr;
  Operation* waiting_tail_ = nullptr;
  bool serving_ = false;
};

}  // namespace sluice
