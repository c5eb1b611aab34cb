#include "lend/splice_write.hpp"

#include "lend/splice.hpp"
#include "ring/ring.hpp"

namespace sluice::lend {

Task SpliceWrite::run(Request& request) {
  Ring& ring = *request.ring;
  const View lent = device_.lend(at_, length_, Direction::source);
  status_ = check(lent);
  while (status_.ok() && moved_ < length_) {
    int64_t held = ring.pipes().refer(lent, static_cast<uint32_t>(moved_), pipe_.pipe());
    status_ = Status::from_result(held);
    while (held > 0) {
      auto splicing =
          splice(ring, pipe_.pipe(), {file_.file, offset_ + moved_}, static_cast<uint32_t>(held));
      const int32_t result = co_await splicing;
      if (result == -EINTR) continue;
      if (result <= 0) {
        status_ = Status::from_errno(result == 0 ? ENOSPC : -result);
        pipe_.clear();
        break;
      }
      held -= result;
      moved_ += static_cast<uint32_t>(result);
    }
  }
  co_return status_;
}

Status SpliceWrite::check(const View& lent) const {
  if (!lent.status().ok()) return lent.status();
  const Status sink = file_.as_sink();
  return sink.ok() ? check_range(offset_, length_) : sink;
}

}  // namespace sluice::lend
