// FusedGroup: one command to a device that provides the buffer of one of its requests, and any
// number of concurrent operations that use parts of it. The mails have no such command: their
// mirror of N files was N fused commands (S64).
//
//   std::array<lend::FusedGroup::Member, 2> mirror{{{{0, length}, lend::Write{.file = left}},
//                                                   {{0, length}, lend::Write{.file = right}}}};
//   lend::FusedGroup moving({&a, request.queue, request.tag}, mirror);
//   Task running = moving.run(request);
//   const Status status = co_await running;
//
// A mirror lends the whole buffer to each member, a stripe lends each its parts (P-7), by one
// Writev per file. The operations are in one submission; the buffer is released when the last of
// them has ended.
#pragma once

#include <span>

#include "lend/fused.hpp"

namespace sluice::lend {

class FusedGroup {
 public:
  struct Member {
    Segment piece;  // its part of the buffer
    Consumer consumer = {};
    int64_t result = -ECANCELED;  // the result its CQE would have, at the end
  };

  // `members` must outlive the run.
  FusedGroup(FusedMaster master, std::span<Member> members) : master_(master), members_(members) {}

  // Returns the first error. The error of a member does not affect others. These errors prevent all
  // members from starting, and are the result of each: those of the buffer; EFAULT: a piece is
  // outside it; EACCES: a member has the wrong direction.
  Task run(Request& request);

 private:
  Status accept(const View& buffer) const;
  Task run_member(Request& request, Member& member, View bytes);

  const FusedMaster master_;
  const std::span<Member> members_;
};

}  // namespace sluice::lend
