#include "lend/producer.hpp"

#include <fcntl.h>

#include <limits>

#include "lend/splice.hpp"
#include "ring/ring.hpp"

namespace sluice::lend {

Status BufferProducer::prepare(uint64_t length, Direction use) {
  if (length > std::numeric_limits<uint32_t>::max()) return Status::from_errno(EFAULT);
  return device_.lend(at_, static_cast<uint32_t>(length), use).status();
}

Task BufferProducer::produce(Request&, DirectPipe& pipe, uint32_t length) {
  if (pipe.confirmed()) return Status::from_errno(EINVAL);
  const View lent = device_.lend(at_, length, pipe.use());
  if (!lent.status().ok()) return lent.status();
  const uint32_t put = pipe.put(lent);
  if (put == 0) return Status::from_errno(EAGAIN);
  at_.offset += put;
  pipe.confirm(lent.loan()->direction());
  return kOk;
}

Status FileProducer::prepare(uint64_t length, Direction) {
  constexpr uint32_t kKnown = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;
  if ((flags_ & ~kKnown) != 0) return Status::from_errno(EINVAL);
  const Status source = file_.as_source();
  return source.ok() ? check_range(offset_, length) : source;
}

Task FileProducer::produce(Request& request, DirectPipe& pipe, uint32_t length) {
  if (pipe.confirmed()) co_return Status::from_errno(EINVAL);
  auto pages = pipe.file_pages();
  if (!pages) co_return Status::from_errno(pages.error().error);
  auto splicing = splice(*request.ring, {file_.file, offset_}, **pages, length, flags_);
  const int32_t result = co_await splicing;
  if (result < 0) co_return Status::from_result(result);
  offset_ += static_cast<uint32_t>(result);
  pipe.put_file_pages(static_cast<uint32_t>(result));
  pipe.confirm(Direction::source);
  co_return kOk;
}

}  // namespace sluice::lend
