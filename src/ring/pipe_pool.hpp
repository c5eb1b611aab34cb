// PipePool: the spare pipes of a ring, and all operations between two pipes.
//
// Users of a piped loan never remove bytes from its pipe: they tee them into a spare, which costs a
// reference per page and no copy. Bytes that fill a READ stay in spares until the lender collects
// them. The ring's thread does all of this by system calls, which never block here and cost far
// less than submissions (docs/decisions/0005-piped-loans.md); only I/O on files and sockets goes
// through the ring.
//
// Owned by a Ring, used by its thread only. Sources share a limited number of spares and wait if
// all are taken. A fill of a destination never waits: its spare stays with the request until the
// request is done, so waiting for other requests could deadlock.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/error.hpp"
#include "core/fifo.hpp"
#include "core/loan.hpp"
#include "core/pipe.hpp"
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

  // --- Control path. Called before the ring serves piped loans, of at most `request_bytes` each;
  // `limit`: the number of spares for sources. EPERM, EMFILE: the kernel allows no pipes of this
  // size or number.
  Result<void> open(uint32_t request_bytes, uint32_t limit = kDefaultLimit);
  bool is_open() const { return null_.valid(); }
  // A pipe of a lender, as large as the spares.
  Result<Pipe> make() const { return make_pipe(pipe_bytes_); }
  // A pipe of this size. EPERM, EMFILE: as above.
  static Result<Pipe> make_pipe(uint32_t bytes);

  // --- For lenders. Discards the content of the pipe.
  void drain(Pipe& pipe);
  // Appends all bytes of a returned destination, in order, to the content of `reply`. Always
  // releases the spares. ENODATA: not all bytes were filled (P-8); EMSGSIZE: they do not fit.
  Status collect(Loan& loan, Pipe& reply);
  // Discards the bytes that filled the loan.
  void discard(Loan& loan);

  // --- For operations. Takes a spare for a source, until give(). Null: none is free, and `waiter`
  // is resumed with one later.
  Pipe* take(Operation& waiter);
  void give(Pipe& spare, bool empty);
  // Takes a spare to fill a destination, until collect() or discard(), or put_back() if it stays
  // empty. Null: the kernel allows no more; see errno.
  Pipe* take_for_fill();
  void put_back(Pipe& spare);
  // Puts the bytes of a source from `from` on into `into`, as many as fit. 0: see errno.
  uint32_t gather(const View& view, uint32_t from, Pipe& into);
  // The same by reference for any source whose pages can go into a pipe, including memory. Returns
  // a negative errno if none fit: EOPNOTSUPP if the pages cannot go into a pipe.
  ssize_t refer(const View& view, uint32_t from, Pipe& into);
  // Copies a piece of a source to memory. False: see errno.
  bool copy(const Loan& loan, Segment piece, std::byte* memory);
  // Puts memory, or zeroes if it is null, into a spare, as many bytes as fit; negative: errno.
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
  Fifo<Operation> waiting_;  // for a spare
  bool serving_ = false;
};

}  // namespace sluice
