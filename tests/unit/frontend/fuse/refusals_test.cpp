// The negotiation with the kernel when it refuses a data path, on real connections that are not
// mounted. Skipped without /dev/fuse or root.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <optional>

#include "frontend/fuse/command_ring.hpp"
#include "frontend/fuse/copy_queue.hpp"
#include "frontend/fuse/handshake.hpp"
#include "frontend/fuse/mount_point.hpp"
#include "frontend/fuse/passthrough.hpp"
#include "frontend/fuse/queue_plan.hpp"
#include "frontend/fuse/uring_queue.hpp"
#include "target/registry.hpp"

namespace sluice::fuse {
namespace {

constexpr uint32_t kMaxIo = 65536;

class Deaf final : public ReactorListener {
 public:
  void reactor_changed() override {}
};

class FuseRefusals : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) GTEST_SKIP() << "no /dev/fuse";
    auto point = MountPoint::make({.place = {}, .max_io_bytes = kMaxIo});
    ASSERT_TRUE(point) << point.error().text;
    point_.emplace(std::move(*point));
    auto offer = receive_offer(point_->fuse_device());
    ASSERT_TRUE(offer) << offer.error().text;
    offer_ = *offer;
    auto stack = Stack::open(*parse_spec("mem:1M", target_vocabulary()), false);
    ASSERT_TRUE(stack) << stack.error().text;
    stack_ = std::move(*stack);
  }

  void TearDown() override {
    if (point_) point_->close_fuse_device();
  }

  bool offers(uint64_t flag) const { return (offer_.flags & flag) != 0; }
  void agree_on(DataPath path, uint32_t max_io_bytes) const {
    const auto answer = make_answer(offer_, {.path = path, .max_io_bytes = max_io_bytes}, 1);
    ASSERT_TRUE(send_answer(point_->fuse_device(), offer_, answer));
  }

  std::optional<MountPoint> point_;
  KernelOffer offer_;
  std::unique_ptr<Stack> stack_;
};

TEST_F(FuseRefusals, CommandsComeThroughBeforeInitIsAnswered) {
  if (!offers(abi::kOverIoUring)) GTEST_SKIP() << "no FUSE over io_uring";
  const auto let_in = try_uring_commands(point_->fuse_device());
  EXPECT_TRUE(let_in) << let_in.error().text;
  const Descriptor other(memfd_create("no-fuse", MFD_CLOEXEC));
  EXPECT_EQ(try_uring_commands(other.number()).error().error, EOPNOTSUPP);
}

TEST_F(FuseRefusals, UringCanBeLeftAfterItWasAgreedOn) {
  if (!offers(abi::kOverIoUring)) GTEST_SKIP() << "no FUSE over io_uring";
  agree_on(DataPath::uring, kMaxIo);
  EXPECT_TRUE(turn_uring_off(point_->fuse_device()));
}

// The kernel accepts no ring entries: the agreed maximum size of requests exceeds their buffers.
TEST_F(FuseRefusals, AQueueWithoutEntriesDoesNotServe) {
  if (!offers(abi::kOverIoUring)) GTEST_SKIP() << "no FUSE over io_uring";
  agree_on(DataPath::uring, 2 * kMaxIo);
  OneFile file(OneFile::Shape{.size_bytes = 1U << 20});
  FileIo io(*stack_, file, kMaxIo);
  Reactor::Setup setup{.name = "test", .wide_sqes = true};
  setup.files = stack_->registered_files();
  const FileSlot slot;
  const File device = slot.file();
  setup.files.push_back({.slot = device});
  setup.queues = {
      plan_queue<UringQueue>({.depth = 4, .max_io_bytes = kMaxIo, .device = device}, io),
      plan_queue<CopyQueue>({.depth = 4, .max_io_bytes = kMaxIo, .device = device}, io)};
  Deaf nobody;
  Reactor reactor(std::move(setup), nobody);
  ASSERT_TRUE(reactor.prepare());
  const auto begun = reactor.begin(point_->fuse_device());
  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error().error, EINVAL);
  reactor.join();
  EXPECT_TRUE(reactor.has_ended());
}

TEST_F(FuseRefusals, PassthroughAsksForTheLeastDepth) {
  if (!offers(abi::kPassthrough)) GTEST_SKIP() << "no passthrough";
  const auto depth = passthrough_depth(*stack_);
  ASSERT_TRUE(depth) << depth.error().text;
  EXPECT_EQ(*depth, 1U);
}

}  // namespace
}  // namespace sluice::fuse
