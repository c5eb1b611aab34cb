// FusedGroup: one command to a device that gives the buffer of one of its requests, and any number
// of operations that use parts of it, all at once. Not in the mails: there a mirror of N files was
// N fused commands (S64).
//
//   std::array<lend::FusedGroup::Member, 2> mirror{{{{0, length}, lend::Write{.file = left}},
//                                                   {{0, length}, lend::Write{.file = right}}}};
//   lend::FusedGroup moving({&a, request.queue, request.tag}, mirror);
//   Task running = moving.run(request);
//   const Status status = co_await running;
//
// A mirror lends all of the buffer to each, a stripe its parts (P-7): one Writev for each file. The
// operations are in one submission; the buffer is back when the last of them has ended.
#pragma once

#include <span>

#include "lend/fused.hpp"

namespace sluice::lend {

class FusedGroup {
 public:
  struct Member {
    Segment piece;  // which bytes of the buffer
    Consumer consumer = {};
    int64_t result = -ECANCELED;  // what its CQE would say, at the end
  };

  // `members` live as long as the command runs.
  FusedGroup(FusedMaster master, std::span<Member> members) : master_(master), members_(members) {}

  // The first error wins, and disturbs no other member. Those with which none of them begins, and
  // which are the result of each: those of the buffer; EFAULT: a piece is beyond it; EACCES: one of
  // them has the wrong direction.
  Task run(Request& request);

 private:
  Status accept(const View& buffer) const;
  Task run_member(Request& request, Member& member, View bytes);

  const FusedMaster master_;
  const std::span<Member> members_;
};

}  // namespace sluice::lend
