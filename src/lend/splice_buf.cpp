#include "lend/splice_buf.hpp"

namespace sluice::lend {
namespace {

View fetch(const SpliceBufSqe& sqe, uint32_t known_flags, Direction use) {
  if (sqe.device == nullptr) return View::broken(EBADF);
  if ((sqe.rw_flags & ~known_flags) != 0) return View::broken(EINVAL);
  return sqe.device->lend(Position::unpack(sqe.position), sqe.length, use);
}

}  // namespace

ReadSpliceBuf::ReadSpliceBuf(const SpliceBufSqe& sqe)
    : SpliceBuf(sqe, 0, Read{.file = sqe.file, .offset = sqe.offset}) {}

WriteSpliceBuf::WriteSpliceBuf(const SpliceBufSqe& sqe)
    : SpliceBuf(sqe, RWF_DSYNC,
                Write{.file = sqe.file,
                      .offset = sqe.offset,
                      .durable = (sqe.rw_flags & RWF_DSYNC) != 0}) {}

SpliceBuf::SpliceBuf(const SpliceBufSqe& sqe, uint32_t known_flags, const Consumer& consumer)
    : moving_(fetch(sqe, known_flags, direction_of(consumer)), consumer) {}

}  // namespace sluice::lend
