// SpliceDirect: moves bytes of a request's buffer, or of a file, into a file through a private pipe
// (S14 to S22).
//
//   lend::BufferProducer from(provider, position);
//   lend::SpliceDirect splicing(pipe, from, length, file, offset);
//   Task running = splicing.run(request);
//   const Status status = co_await running;
//
// A separate operation, as reviewers requested (S22), not a flag of splice. It works on the pages
// of any provider: the kernel writes them to the file from any kind of loan, also from the slot of
// a registered buffer, since ublk no longer has splice_read.
#pragma once

#include "lend/direct_move.hpp"

namespace sluice::lend {

class SpliceDirect {
 public:
  SpliceDirect(DirectPipe& pipe, Producer& from, uint64_t length, const SpliceFile& to,
               uint64_t offset)
      : to_(to),
        offset_(offset),
        length_(length),
        move_(pipe, from, length, Direction::source, to.file, offset) {}

  // Uses the ring and arena of `request`. Success means all bytes were moved; the pipe is empty
  // afterwards. Errors before a byte moves: those of the producer, such as EACCES for the buffer of
  // a READ; of SpliceFile::as_sink(); EINVAL for an invalid file offset (S17); EBUSY: the pipe is
  // in use. Then those of the file. ENODATA: the producer reached its end.
  Task run(Request& request);
  uint64_t moved_bytes() const { return move_.moved_bytes(); }
  // The bytes moved, 0 at the producer's end, or a negative errno if none were moved (S19).
  int64_t result() const { return move_.result(); }

 private:
  const SpliceFile to_;
  const uint64_t offset_;
  const uint64_t length_;
  DirectMove move_;
};

// SpliceReadToRead: fills a request's buffer from a file through the direct pipe: the device's read
// produces the empty pages, the file's read consumes them (S23 to S39).
//
//   lend::BufferProducer into(provider, position);
//   lend::SpliceReadToRead splicing(pipe, into, length, file, offset);
//   Task running = splicing.run(request);
//   const Status status = co_await running;
//
// It works on the pages of any provider. Chunks that the producer does not confirm for filling are
// not filled. If the file ends early, the rest is not recorded as filled: a server that claims it
// answers EIO (S33, P-8).
class SpliceReadToRead {
 public:
  SpliceReadToRead(DirectPipe& pipe, Producer& into, uint64_t length, const SpliceFile& from,
                   uint64_t offset)
      : from_(from),
        offset_(offset),
        length_(length),
        move_(pipe, into, length, Direction::destination, from.file, offset) {}

  // Uses the ring and arena of `request`. Success means all bytes were moved; the pipe is empty
  // afterwards. Errors before a byte moves: those of the producer, such as EACCES for the buffer of
  // a WRITE; of SpliceFile::as_read_consumer() (S24, S25); EINVAL for an invalid file offset (S26);
  // EBUSY: the pipe is in use. EACCES, with no bytes counted as moved: a chunk was not confirmed
  // (S42). Then those of the file; ENODATA: it ended.
  Task run(Request& request);
  uint64_t moved_bytes() const { return move_.moved_bytes(); }
  // The bytes filled, 0 at the file's end, or a negative errno if none were filled (S19).
  int64_t result() const { return move_.result(); }

 private:
  const SpliceFile from_;
  const uint64_t offset_;
  const uint64_t length_;
  DirectMove move_;
};

}  // namespace sluice::lend
