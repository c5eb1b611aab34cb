// DirectMove: the loop of a direct splice: move a chunk of at most 64 KiB from the producer into
// the direct pipe, then all of it to or from the file, and repeat (S19, S30, S38). A part of
// SpliceDirect and SpliceReadToRead.
#pragma once

#include "core/request.hpp"
#include "core/task.hpp"
#include "lend/consumer.hpp"
#include "lend/producer.hpp"
#include "lend/splice_file.hpp"

namespace sluice::lend {

class DirectMove {
 public:
  // `use`: the chunks are filled from the file (destination), or written to it.
  DirectMove(DirectPipe& pipe, Producer& producer, uint64_t length, Direction use, File file,
             uint64_t offset)
      : pipe_(pipe),
        producer_(producer),
        length_(length),
        use_(use),
        file_(file),
        offset_(offset) {}
  DirectMove(const DirectMove&) = delete;
  DirectMove& operator=(const DirectMove&) = delete;

  // Moves all bytes, or returns an errno; ENODATA at the end of a file. `checked`: the result of
  // checking the file; an error is returned before a byte moves.
  Task run(Request& request, Status checked);
  uint64_t moved_bytes() const { return moved_; }
  int64_t result() const { return cqe_result(moved_, status_); }

 private:
  Task move_chunk(Request& request);
  Task consume_lent(Request& request);
  Task consume_file_pages(Request& request);

  DirectPipe& pipe_;
  Producer& producer_;
  const uint64_t length_;
  const Direction use_;
  const File file_;
  const uint64_t offset_;
  uint64_t moved_ = 0;
  Status status_ = Status::from_errno(ECANCELED);  // before it has run
};

}  // namespace sluice::lend
