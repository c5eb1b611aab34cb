#include "lend/get_buf.hpp"

namespace sluice::lend {

Task GetBuf::run(Request&) {
  View lent = source_.lend(at_, length_);
  const uint32_t provided = lent.length();
  const Status installed = table_.install(slot_, std::move(lent), into_);
  result_ = installed.ok() ? int64_t{provided} : -installed.error();
  if (installed.ok() && provided != length_) return Status::from_errno(ENODATA);
  return installed;
}

Task UseBuf::run(Request& request) {
  consuming_.emplace(table_.use(slot_, piece_, *request.arena), consumer_);
  return consuming_->run(request);
}

Task PutBuf::run(Request&) {
  const Status removed = table_.remove(slot_);
  result_ = -removed.error();
  return removed;
}

}  // namespace sluice::lend
