// SpliceWrite: serves a WRITE with plain splice: puts its pages into a pipe by reference, and from
// there into a file at an offset (S8 to S13).
//
//   lend::SpliceWrite writing(pipe, provider, at, length, file, offset);
//   Task running = writing.run(request);
//   const Status status = co_await running;
//
// Memory goes into the pipe by vmsplice, piped pages by tee: one system call of the ring's thread
// per filled pipe. OP_SPLICE moves them out. Pages of ublk cannot be spliced, since ublk no longer
// has splice_read: use registered buffers (SpliceDirect, DevSplice).
#pragma once

#include "core/request.hpp"
#include "core/task.hpp"
#include "lend/consumer.hpp"
#include "lend/provider.hpp"
#include "lend/splice_file.hpp"
#include "lend/user_pipe.hpp"

namespace sluice::lend {

class SpliceWrite {
 public:
  SpliceWrite(UserPipe& pipe, Provider& device, Position at, uint32_t length,
              const SpliceFile& file, uint64_t offset)
      : pipe_(pipe), device_(device), at_(at), length_(length), file_(file), offset_(offset) {}
  SpliceWrite(const SpliceWrite&) = delete;
  SpliceWrite& operator=(const SpliceWrite&) = delete;

  // The pipe must be empty before, and is empty afterwards (S12). Success means all bytes were
  // moved. Errors: those of Provider::lend(), such as EACCES for a READ (S8); EOPNOTSUPP: the pages
  // cannot go into a pipe; EBADF, EINVAL: those of SpliceFile::as_sink(), which refuses sockets,
  // because they would hold the pages after the request (S6); and the kernel's.
  Task run(Request& request);
  uint64_t moved_bytes() const { return moved_; }
  int64_t result() const { return cqe_result(moved_, status_); }

 private:
  Status check(const View& lent) const;

  UserPipe& pipe_;
  Provider& device_;
  const Position at_;
  const uint32_t length_;
  const SpliceFile file_;
  const uint64_t offset_;
  uint64_t moved_ = 0;
  Status status_ = Status::from_errno(ECANCELED);  // before it has run
};

}  // namespace sluice::lend
