// SpliceReadToRead: fills a request's buffer from a file through the direct pipe: the device's read
// produces the empty pages, the file's read consumes them (S23 to S39).
//
//   lend::BufferProducer into(provider, position);
//   lend::SpliceReadToRead splicing(pipe, into, length, file, offset);
//   Task running = splicing.run(request);
//   const Status status = co_await running;
//
// On the pages of any provider. A producer that does not confirm each chunk as pages to be filled
// gets none filled. What a file that ends early leaves is not counted as filled: whoever claims it
// gets EIO for the program (S33, P-8).
#pragma once

#include "lend/direct_move.hpp"

namespace sluice::lend {

class SpliceReadToRead {
 public:
  SpliceReadToRead(DirectPipe& pipe, Producer& into, uint64_t length, const SpliceFile& from,
                   uint64_t offset)
      : from_(from),
        offset_(offset),
        length_(length),
        move_(pipe, into, length, Direction::destination, from.file, offset) {}

  // `request` gives ring and arena. All bytes, or an errno; nothing stays in the pipe. Before
  // anything is moved: those of the producer, such as EACCES for the buffer of a WRITE; of
  // SpliceFile::as_read_consumer() (S24, S25); EINVAL for an offset that no file has (S26); EBUSY:
  // the pipe is in use. EACCES, and nothing counts as moved: a chunk was not confirmed (S42). Then
  // those of the file; ENODATA: it ended.
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
