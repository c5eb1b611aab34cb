#include "lend/fused_group.hpp"

#include "core/gather.hpp"

namespace sluice::lend {

Task FusedGroup::run(Request& request) {
  const View buffer = master_.buffer();
  const Status accepted = accept(buffer);
  if (!accepted.ok()) {
    for (Member& member : members_) member.result = -accepted.error();
    co_return accepted;
  }
  Gather running(request, members_.size());
  for (Member& member : members_) {
    const Segment piece = member.piece;
    running.add(
        run_member(request, member, buffer.slice(piece.offset, piece.length, *request.arena)));
  }
  co_return co_await running;
}

Status FusedGroup::accept(const View& buffer) const {
  if (!buffer.status().ok()) return buffer.status();
  for (const Member& member : members_) {
    const Segment piece = member.piece;
    const bool within =
        piece.offset <= buffer.length() && piece.length <= buffer.length() - piece.offset;
    if (!within) return Status::from_errno(EFAULT);
    if (buffer.loan()->direction() != direction_of(member.consumer)) {
      return Status::from_errno(EACCES);
    }
  }
  return kOk;
}

Task FusedGroup::run_member(Request& request, Member& member, View bytes) {
  Consumption moving(std::move(bytes), member.consumer);
  Status status;
  {
    Task running = moving.run(request);
    status = co_await running;
  }
  member.result = moving.result();
  co_return status;
}

}  // namespace sluice::lend
