// `sluice add -z` and what the targets do with lent buffers: S106 to S115.
#include "conformance/attempts.hpp"
#include "daemon/state.hpp"
#include "frontend/ublk/abi.hpp"
#include "frontend/ublk/mode.hpp"
#include "ring/linked_command.hpp"
#include "support/member_target.hpp"
#include "target/open.hpp"

namespace sluice::test {
namespace {

using ublk::BufferMode;

constexpr uint32_t kBytes = 128 * 1024;
constexpr uint64_t kAllFeatures = ~uint64_t{0};

ublk::ModeOptions z_option() {
  ublk::ModeOptions mode_options;
  mode_options.zero_copy_required = true;
  return mode_options;
}

TEST(Rules, S106_ZIsZeroCopyOrAnError) {
  const auto choice = ublk::choose_mode(z_option(), kAllFeatures, {});
  ASSERT_TRUE(choice);
  EXPECT_TRUE(ublk::is_zero_copy(choice->mode));
  EXPECT_NE(choice->flags & ublk::abi::kSupportZeroCopy, 0U);

  const uint64_t without = kAllFeatures & ~uint64_t{ublk::abi::kSupportZeroCopy};
  const auto refused = ublk::choose_mode(z_option(), without, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().error, EOPNOTSUPP);
  const auto fallback = ublk::choose_mode({}, without, {});
  ASSERT_TRUE(fallback);
  EXPECT_EQ(fallback->flags & ublk::abi::kSupportZeroCopy, 0U);

  ublk::ModeOptions contradiction = z_option();
  contradiction.named = BufferMode::copy;
  const auto neither = ublk::choose_mode(contradiction, kAllFeatures, {});
  ASSERT_FALSE(neither);
  EXPECT_EQ(neither.error().error, EINVAL);
}

// What `sluice recover` goes by.
TEST(Rules, S107_TheModeIsWhatTheRecordOfTheDeviceSays) {
  for (const std::string_view name : ublk::mode_names()) {
    DeviceRecord record;
    record.id = 0;
    record.pid = 1;
    record.frontend = "ublk";
    record.block_bytes = 512;
    record.queues = record.depth = 1;
    record.max_io_bytes = 4096;
    record.spec.target = "null";
    record.mode = name;
    const auto found = record_from_json(to_json(record));
    ASSERT_TRUE(found) << found.error().text;
    EXPECT_EQ(ublk::parse_mode(found->mode), ublk::parse_mode(name));
    EXPECT_TRUE(ublk::parse_mode(found->mode).has_value());
  }
}

// Whether each request had something to lend.
class Looks : public Server {
 public:
  Looks() {
    geometry_.volatile_cache = true;
    geometry_.can_discard = true;
    geometry_.can_write_zeroes = true;
  }
  const std::vector<std::pair<Op, int>>& seen() const { return seen_; }

 private:
  Task serve(Request& request) override {
    const View lent = provider().lend_whole(request.queue, request.tag);
    seen_.emplace_back(request.op, lent.status().error());
    if (request.op != Op::read) co_return kOk;
    auto zeroing = request.ring->zero(request.data);
    co_return co_await zeroing;
  }

  std::vector<std::pair<Op, int>> seen_;
};

TEST(Rules, S108_OnlyReadsAndWritesHaveABufferToLend) {
  auto made = std::make_unique<Looks>();
  Looks& server = *made;
  Stack stack(std::move(made));
  auto device = direct::Device::create(stack, {});
  ASSERT_TRUE(device) << device.error().text;
  server.arm();
  std::vector<std::byte> memory(4096);
  EXPECT_TRUE((*device)->write(0, memory).ok());
  EXPECT_TRUE((*device)->read(0, memory).ok());
  EXPECT_TRUE((*device)->flush().ok());
  EXPECT_TRUE((*device)->discard(0, 4096).ok());
  EXPECT_TRUE((*device)->write_zeroes(0, 4096).ok());
  const std::vector<std::pair<Op, int>> expected{{Op::write, 0},
                                                 {Op::read, 0},
                                                 {Op::flush, EINVAL},
                                                 {Op::discard, EINVAL},
                                                 {Op::write_zeroes, EINVAL}};
  EXPECT_EQ(server.seen(), expected);
}

class Commit final : public Completion {
 public:
  void prepare(io_uring_sqe& sqe) override { io_uring_prep_nop(&sqe); }
  void complete(int32_t, uint32_t) override {}
};

TEST(Rules, S109_WhatIsLinkedIsSubmittedAsAWholeOrNotAtAll) {
  ManualRing ring(2);
  Commit other;
  Commit leader;
  LinkedCommand linked_command;
  io_uring_sqe sqe{};
  io_uring_prep_nop(&sqe);
  linked_command.offer(sqe);
  ring.submit(other);
  EXPECT_FALSE(ring.submit_linked(leader, linked_command, 0)) << "one entry is left for the two";
  EXPECT_FALSE(linked_command.linked());
  EXPECT_EQ(ring.counters().submitted, 1U);
  ring.run_once(false);
  EXPECT_TRUE(ring.submit_linked(leader, linked_command, 0));
  ring.settle();
  for (int i = 0; i < 3; ++i) ring.complete(0, 0);
  EXPECT_TRUE(linked_command.done());
}

// What qcow2 does where a cluster has no data.
class Zeroes : public Server {
 private:
  Task serve(Request& request) override {
    auto zeroing = request.ring->zero(request.data);
    co_return co_await zeroing;
  }
};

TEST_P(OnEachProvider, S110_ZeroesAreFilledInWithoutACopyOfTheServers) {
  serve_with<Zeroes>();
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(std::vector<std::byte>(back.begin(), back.end()), std::vector<std::byte>(kBytes));
  EXPECT_EQ(copied_bytes(), 0U);
}

std::unique_ptr<Target> opened(const TargetType& type, const Spec& spec,
                               Target::Children children) {
  OpenContext context(false);
  auto target = type.open(spec, std::move(children), context);
  EXPECT_TRUE(target) << target.error().text;
  return std::move(*target);
}

TEST(Rules, S113_NullTakesAWriteAndGivesTheBufferBackWithoutIo) {
  const auto null = opened(kNullTarget, {}, {});
  OneRequest one(Op::write, 4096);
  const Task task = null->submit(one.request);
  EXPECT_TRUE(task.status().ok());
  EXPECT_TRUE(one.untouched());
  EXPECT_EQ(one.loan().references(), 2U);
}

TEST(Rules, S114_TheResultOfTheOperationIsThatOfTheRequest) {
  for (const int32_t result : {4096, -ENOSPC}) {
    OneRequest one(Op::write, 4096);
    Member member(5, 1 << 20);
    const Task task = member.submit(one.request);
    one.ring.settle();
    one.ring.complete(0, result);
    EXPECT_EQ(task.status().error(), result < 0 ? ENOSPC : 0);
  }
}

// The mails pass a short read on; here it is short of nothing but an error.
class ReadsShort : public Server {
 public:
  explicit ReadsShort(const Descriptor& file) : file_(as_file(file)) {}

 private:
  Task serve(Request& request) override {
    auto reading = request.ring->read(file_, 0, request.data);
    co_return co_await reading;
  }

  const File file_;
};

TEST_P(OnEachProvider, S114_AShortReadIsAnErrorAndNotAShortSuccess) {
  const Descriptor file = make_file(100'000, true);
  serve_with<ReadsShort>(file);
  memory(kBytes);
  const int error = read(0, kBytes);
  EXPECT_TRUE(error == ENODATA || error == EIO) << error;
}

TEST(Rules, S115_AStripeIsOneVectoredOperationForEachMemberAndOneThatIsShortFailsIt) {
  Spec spec;
  spec.set("chunk", uint64_t{4096});
  const auto stripe = opened(kStripeTarget, spec, make_members({1 << 20, 1 << 20}));
  for (const bool fails : {false, true}) {
    OneRequest one(Op::read, 32768);
    const Task task = stripe->submit(one.request);
    one.ring.settle();
    ASSERT_EQ(one.ring.pending(), 2U);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(one.ring.sqe(i).opcode, IORING_OP_READV);
      EXPECT_EQ(one.ring.sqe(i).len, 4U);
    }
    one.ring.complete(0, 16384);
    one.ring.complete(0, fails ? 8192 : 16384);
    if (fails) one.ring.complete(0, 0);  // there is no more
    EXPECT_EQ(task.status().error(), fails ? ENODATA : 0);
  }
}

}  // namespace
}  // namespace sluice::test
