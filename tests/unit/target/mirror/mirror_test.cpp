// mirror: what a request does to the legs, in every order of their ends and with errors at each.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "unit/target/mirror/mirror_rig.hpp"

namespace sluice::test {
namespace {

using mirror::LegState;
using testing::HasSubstr;

constexpr uint64_t kLength = 8192;
constexpr std::byte kNew{0x5a};

bool holds(const MirrorRig& rig, const MirrorRig::Bytes& leg, uint64_t offset, std::byte pattern) {
  return std::ranges::all_of(rig.data_on(leg).subspan(offset, kLength),
                             [=](std::byte each) { return each == pattern; });
}

bool is_on_the_data(const Request& request) { return request.offset >= 1 << 20; }

// T3.12, T3.13: for each number of legs, each set of legs that fail, and each order in which they
// end.
TEST(Mirror, AWriteSucceedsIfALegHasItAndTheOthersHaveLeftDurably) {
  for (size_t legs = 2; legs <= 4; ++legs) {
    for (unsigned failing = 0; failing < 1u << legs; ++failing) {
      std::vector<size_t> order(legs);
      std::iota(order.begin(), order.end(), 0);
      do {
        SCOPED_TRACE(fmt::format("{} legs, failing {:b}, order {}", legs, failing, order[0]));
        const MirrorShape shape{.legs = legs, .data_bytes = 64 << 10};
        MirrorRig rig(shape);
        ASSERT_EQ(rig.start(), "");
        ASSERT_EQ(rig.serve(Op::write, 0, kLength), 0);  // the region is marked
        for (size_t leg = 0; leg < legs; ++leg) {
          if ((failing >> leg & 1) == 0) continue;
          rig.disks[leg]->fails = [](const Request& request) {
            return request.op == Op::write && is_on_the_data(request) ? EIO : 0;
          };
        }
        const size_t before = rig.ring.pending();
        Task& task = rig.submit(Op::write, 0, kLength, kNew);
        ASSERT_EQ(rig.ring.pending(), before + legs) << "all legs at once";
        // The writes of the legs end in this order.
        std::vector<uint64_t> writes;
        for (size_t i = before; i < rig.ring.pending(); ++i) {
          writes.push_back(rig.ring.sqe(i).user_data);
        }
        for (const size_t leg : order) {
          EXPECT_FALSE(task.finished()) << "before every leg has ended";
          for (size_t i = 0; i < rig.ring.pending(); ++i) {
            if (rig.ring.sqe(i).user_data == writes[leg]) {
              rig.ring.perform(i);
              break;
            }
          }
        }
        rig.perform_until([&] { return task.finished(); });
        const bool all_fail = failing == (1u << legs) - 1;
        EXPECT_EQ(task.status().error(), all_fail ? EIO : 0);
        EXPECT_EQ(rig.number("legs_in_sync"),
                  all_fail ? legs : legs - size_t(std::popcount(failing)));
        const auto durable = rig.contents(VolatileDisk::Left::durable);
        const auto newest = rig.contents();
        for (size_t on = 0; on < legs && !all_fail; ++on) {
          if ((failing >> on & 1) != 0) continue;
          const auto table = record_on_leg(shape, durable[on]).legs;
          for (size_t leg = 0; leg < legs; ++leg) {
            const bool failed = (failing >> leg & 1) != 0;
            EXPECT_EQ(table[leg].state, failed ? LegState::out : LegState::in_sync);
          }
          EXPECT_TRUE(holds(rig, newest[on], 0, kNew));
        }
      } while (std::ranges::next_permutation(order).found);
    }
  }
}

// T3.8: no data before the mark, on any leg.
TEST(Mirror, TheBitmapIsDurableOnAllLegsBeforeAnyHasData) {
  size_t marks = 0;
  MirrorRig rig({.legs = 3});
  ASSERT_EQ(rig.start(), "");
  for (VolatileDisk* const disk : rig.disks) {
    disk->fails = [&](const Request& request) {
      if (request.op != Op::write) return 0;
      if (is_on_the_data(request)) {
        EXPECT_EQ(marks, 3U);
      } else {
        EXPECT_TRUE(request.fua);
        ++marks;
      }
      return 0;
    };
  }
  EXPECT_EQ(rig.serve(Op::write, 70'144, kLength, kNew), 0);
  EXPECT_EQ(marks, 3U);
  EXPECT_EQ(rig.serve(Op::write, 70'144, kLength, kNew), 0);
  EXPECT_EQ(marks, 3U) << "once for a region";
}

TEST(Mirror, ALegThatCannotBeMarkedLeavesBeforeAnyHasData) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  rig.disks[1]->fails = [](const Request& request) { return request.op == Op::write ? EIO : 0; };
  EXPECT_EQ(rig.serve(Op::write, 0, kLength, kNew), 0);
  EXPECT_EQ(rig.record(0).legs[1].state, LegState::out);
  EXPECT_TRUE(holds(rig, rig.contents()[1], 0, std::byte{}));
}

TEST(Mirror, EveryLegIsFlushed) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.serve(Op::write, 0, kLength, kNew), 0);
  ASSERT_EQ(rig.serve(Op::flush, 0, 0), 0);
  for (const auto& leg : rig.contents(VolatileDisk::Left::durable)) {
    EXPECT_TRUE(holds(rig, leg, 0, kNew));
  }
}

TEST(Mirror, ALegThatCannotFlushLeaves) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.serve(Op::write, 0, kLength, kNew), 0);
  rig.disks[0]->fails = [](const Request& request) { return request.op == Op::flush ? EIO : 0; };
  EXPECT_EQ(rig.serve(Op::flush, 0, 0), 0);
  EXPECT_EQ(rig.record(1).legs[0].state, LegState::out);
  rig.disks[1]->fails = rig.disks[0]->fails;
  EXPECT_EQ(rig.serve(Op::flush, 0, 0), EIO) << "of the last leg";
}

// T3.13
// It may win after a crash until then, and has lost what was not flushed on it.
TEST(Mirror, AFlushIsNotAcknowledgedBeforeALegThatItLeavesOutHasLeftDurably) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.serve(Op::write, 0, kLength, kNew), 0);
  rig.disks[0]->fails = [](const Request& request) { return request.op == Op::write ? EIO : 0; };
  rig.submit(Op::write, kLength, kLength, kNew);
  rig.perform_until([&] { return rig.number("legs_in_sync") == 1; });
  ASSERT_EQ(rig.record(1).legs[0].state, LegState::in_sync);
  TestTag tag(rig.ring);
  Task flushing = rig.mirror->submit(tag.make(Op::flush, 0, 0));
  rig.pick = [](size_t pending) { return pending - 1; };
  rig.perform_until([&] { return flushing.finished(); });
  EXPECT_EQ(flushing.status().error(), 0);
  EXPECT_EQ(rig.record(1).legs[0].state, LegState::out);
  rig.pick = nullptr;
}

TEST(Mirror, AReadErrorIsAnsweredByAnotherLegAndRepaired) {
  MirrorRig rig({}, {.prefer = 0});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.serve(Op::write, 0, kLength, kNew), 0);
  int errors = 1;
  rig.disks[0]->fails = [&](const Request& request) {
    return request.op == Op::read && errors-- > 0 ? EIO : 0;
  };
  EXPECT_EQ(rig.serve(Op::read, 0, kLength), 0);
  EXPECT_EQ(rig.memory(), MirrorRig::Bytes(kLength, kNew));
  EXPECT_EQ(rig.number("leg_repairs"), 1U);
  EXPECT_EQ(rig.number("legs_in_sync"), 2U);
}

TEST(Mirror, ALegThatCannotBeRepairedLeaves) {
  MirrorRig rig({}, {.prefer = 0});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.serve(Op::write, 0, kLength, kNew), 0);
  rig.disks[0]->fails = [](const Request&) { return EIO; };
  EXPECT_EQ(rig.serve(Op::read, 0, kLength), 0);
  EXPECT_EQ(rig.memory(), MirrorRig::Bytes(kLength, kNew));
  EXPECT_EQ(rig.number("legs_in_sync"), 1U);
}

// T3.14, T3.22
TEST(Mirror, ADiscardReadsAsZeroesOnEveryLegAndNeverFailsDuringAResync) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.serve(Op::write, 0, 256 << 10, kNew), 0);
  ASSERT_EQ(rig.control("fail(2)"), 0);
  ASSERT_EQ(rig.serve(Op::write, 0, kLength, kNew), 0);
  ASSERT_EQ(rig.control("readd(2)"), 0) << rig.why();
  EXPECT_EQ(rig.serve(Op::discard, 4096, 128 << 10), 0);
  rig.make_whole();
  for (const auto& leg : rig.contents()) {
    EXPECT_TRUE(holds(rig, leg, 4096, std::byte{}));
    EXPECT_TRUE(holds(rig, leg, (128 << 10) + 4096, kNew));
  }
}

TEST(Mirror, WhatOneLegCannotZeroIsWrittenThere) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.serve(Op::write, 0, kLength, kNew), 0);
  rig.disks[1]->fails = [](const Request& request) {
    return request.op == Op::write_zeroes && request.may_unmap ? EOPNOTSUPP : 0;
  };
  EXPECT_EQ(rig.serve(Op::write_zeroes, 0, kLength), 0);
  EXPECT_EQ(rig.number("legs_in_sync"), 2U);
  for (const auto& leg : rig.contents()) EXPECT_TRUE(holds(rig, leg, 0, std::byte{}));
}

TEST(Mirror, WhatNoLegCanDoFastChangesNothing) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  for (VolatileDisk* const disk : rig.disks) {
    disk->fails = [](const Request& request) {
      return request.op == Op::write_zeroes && request.fast_only ? EOPNOTSUPP : 0;
    };
  }
  EXPECT_EQ(rig.serve_fast_zeroes(0, kLength), EOPNOTSUPP);
  EXPECT_EQ(rig.number("legs_in_sync"), 2U);
  EXPECT_EQ(rig.number("leg_write_errors"), 0U);
  EXPECT_EQ(rig.number("resync_left_bytes"), 0U);
}

TEST(Mirror, ALegWithoutSpaceLeavesButNotIfNoneHasAny) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.serve(Op::write, 0, kLength, kNew), 0);
  const auto is_full = [](const Request& request) {
    return request.op == Op::write && is_on_the_data(request) ? ENOSPC : 0;
  };
  rig.disks[0]->fails = is_full;
  rig.disks[1]->fails = is_full;
  EXPECT_EQ(rig.serve(Op::write, 0, kLength, kNew), ENOSPC);
  EXPECT_EQ(rig.number("legs_in_sync"), 2U);
  rig.disks[0]->fails = nullptr;
  EXPECT_EQ(rig.serve(Op::write, 0, kLength, kNew), 0);
  EXPECT_EQ(rig.number("legs_in_sync"), 1U);
}

}  // namespace
}  // namespace sluice::test
