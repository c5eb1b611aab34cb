// SpliceDirect: moves bytes of a request's buffer, or of a file, into a file through a pipe that
// nobody else sees (S14 to S22).
//
//   lend::BufferProducer from(provider, position);
//   lend::SpliceDirect splicing(pipe, from, length, file, offset);
//   Task running = splicing.run(request);
//   const Status status = co_await running;
//
// An operation of its own, as was asked for (S22), not a flag of splice. On the pages of any
// provider: the kernel writes them to the file from where they are, be it the slot of a registered
// buffer, since ublk's splice_read is gone.
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

  // `request` gives ring and arena. All bytes, or an errno; nothing stays in the pipe. Before
  // anything is moved: those of the producer, such as EACCES for the buffer of a READ; of
  // SpliceFile::as_sink(); EINVAL for an offset that no file has (S17); EBUSY: the pipe is in use.
  // Then those of the file. ENODATA: the producer came to its end.
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

}  // namespace sluice::lend
