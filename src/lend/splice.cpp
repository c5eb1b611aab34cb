#include "lend/splice.hpp"

#include <fcntl.h>

namespace sluice::lend {

RawOperation splice(Ring& ring, SpliceEnd from, const Pipe& to, uint32_t length, uint32_t flags) {
  if (from.file.registered) flags |= SPLICE_F_FD_IN_FIXED;
  io_uring_sqe sqe{};
  io_uring_prep_splice(&sqe, from.file.number, static_cast<int64_t>(from.offset),
                       to.write_end.number(), -1, length, flags);
  return {ring, sqe};
}

RawOperation splice(Ring& ring, const Pipe& from, SpliceEnd to, uint32_t length) {
  io_uring_sqe sqe{};
  io_uring_prep_splice(&sqe, from.read_end.number(), -1, to.file.number,
                       static_cast<int64_t>(to.offset), length, 0);
  if (to.file.registered) sqe.flags |= IOSQE_FIXED_FILE;
  return {ring, sqe};
}

}  // namespace sluice::lend
