// verify: both children get every change, and every read is compared.
#include "target/verify.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/fan_out.hpp"
#include "support/member_target.hpp"
#include "target/open.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kVerifiedBytes = 1 << 20;

Result<std::unique_ptr<Target>> open_verify(Target::Children children) {
  OpenContext context(false);
  return kVerifyTarget.open({}, std::move(children), context);
}

class VerifyTest : public testing::Test {
 protected:
  void SetUp() override {
    Target::Children children;
    for (int& file : files_) {
      file = memfd_create("child", MFD_CLOEXEC);
      ASSERT_EQ(ftruncate(file, kVerifiedBytes), 0);
      children.push_back(std::make_unique<Member>(file, kVerifiedBytes));
    }
    auto opened = open_verify(std::move(children));
    ASSERT_TRUE(opened);
    verify_.reset(static_cast<Verify*>(opened->release()));
  }
  void TearDown() override {
    for (const int file : files_) close(file);
  }

  Status run(Request& request) {
    Task task = verify_->submit(request);
    ring_.perform_all();
    EXPECT_TRUE(task.finished());
    return task.status();
  }
  std::vector<std::byte> content(int file) {
    std::vector<std::byte> bytes(kVerifiedBytes);
    EXPECT_EQ(pread(file, bytes.data(), kVerifiedBytes, 0), static_cast<ssize_t>(kVerifiedBytes));
    return bytes;
  }

  int files_[2] = {-1, -1};
  std::vector<std::byte> memory_ = std::vector<std::byte>(64 << 10, std::byte{7});
  ManualRing ring_;
  TestTag tag_{ring_};
  std::unique_ptr<Verify> verify_;
};

TEST_F(VerifyTest, WritesGoToBothAndReadsComeBack) {
  EXPECT_TRUE(verify_->geometry().needs_bytes);
  EXPECT_TRUE(run(tag_.make(Op::write, 4096, memory_)).ok());
  EXPECT_EQ(content(files_[0]), content(files_[1]));
  std::vector<std::byte> back(memory_.size());
  EXPECT_TRUE(run(tag_.make(Op::read, 4096, back)).ok());
  EXPECT_EQ(back, memory_);
  EXPECT_EQ(tag_.loan.filled_bytes(), back.size());
  EXPECT_EQ(verify_->mismatches(), 0U);
}

TEST_F(VerifyTest, ADifferenceFailsTheReadAndIsCounted) {
  const char wrong = 'x';
  ASSERT_EQ(pwrite(files_[1], &wrong, 1, 5000), 1);
  std::vector<std::byte> back(8192, std::byte{1});
  EXPECT_EQ(run(tag_.make(Op::read, 0, back)).error(), EIO);
  EXPECT_EQ(verify_->mismatches(), 1U);
  EXPECT_EQ(tag_.loan.filled_bytes(), 0U) << "data that may be wrong is not handed out";
  EXPECT_TRUE(run(tag_.make(Op::read, 8192, back)).ok());
}

TEST_F(VerifyTest, DiscardedBytesAreTheSameInBoth) {
  EXPECT_TRUE(run(tag_.make(Op::write, 0, memory_)).ok());
  // Only the main child gets the discard itself; its effect is up to that child.
  {
    Task task = verify_->submit(tag_.make(Op::discard, 4096, uint64_t{8192}));
    ring_.settle();
    ASSERT_EQ(ring_.pending(), 2U);
    ring_.perform_all();
    EXPECT_TRUE(task.status().ok());
  }
  std::vector<std::byte> back(memory_.size());
  EXPECT_TRUE(run(tag_.make(Op::read, 0, back)).ok());
  EXPECT_EQ(back[4096], std::byte{0});
  EXPECT_EQ(back[4095], std::byte{7});
}

TEST_F(VerifyTest, AReadWaitsForAWriteOfTheSameBytes) {
  Task write = verify_->submit(tag_.make(Op::write, 0, std::span(memory_).first(4096)));
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 2U);
  ring_.perform(0);  // one child has the new bytes now
  std::vector<std::byte> back(8192);
  TestTag read_tag(ring_);
  Task read = verify_->submit(read_tag.make(Op::read, 0, back));
  ring_.settle();
  EXPECT_EQ(ring_.pending(), 1U);
  ring_.perform_all();
  EXPECT_TRUE(write.status().ok());
  EXPECT_TRUE(read.status().ok());
  EXPECT_EQ(verify_->mismatches(), 0U);
  EXPECT_EQ(back[0], std::byte{7});
}

TEST_F(VerifyTest, AnErrorOfEitherChildIsTheAnswer) {
  std::vector<std::byte> back(4096);
  for (const size_t failing : {0U, 1U}) {
    Task task = verify_->submit(tag_.make(Op::read, 0, back));
    ring_.settle();
    ASSERT_EQ(ring_.pending(), 2U);
    ring_.complete(failing, -ENOMEM);
    EXPECT_FALSE(task.finished());
    ring_.perform_all();
    ASSERT_TRUE(task.finished());
    EXPECT_EQ(task.status().error(), ENOMEM);
  }
  EXPECT_EQ(verify_->mismatches(), 0U);
}

TEST(Verify, ChildrenEndInAnyOrder) {
  auto verify = open_verify(make_members({kVerifiedBytes, kVerifiedBytes}));
  ASSERT_TRUE(verify);
  std::vector<std::byte> memory(8192);
  FanOut(**verify, 2, [&](TestTag& tag) -> Request& {
    return tag.make(Op::write, 512, memory);
  }).run_all();
  FanOut(**verify, 2, [](TestTag& tag) -> Request& {
    return tag.make(Op::discard, 512, uint64_t{4096});
  }).run_all();
  FanOut(**verify, 2, [](TestTag& tag) -> Request& {
    return tag.make(Op::flush, 0, uint64_t{0});
  }).run_all();
}

TEST(VerifyOpen, WantsAReferenceThatIsLargeEnough) {
  EXPECT_EQ(
      (*open_verify(make_members({kVerifiedBytes, 2 * kVerifiedBytes})))->geometry().size_bytes,
      kVerifiedBytes);
  const auto small = open_verify(make_members({kVerifiedBytes, kVerifiedBytes / 2}));
  ASSERT_FALSE(small);
  EXPECT_EQ(small.error().text,
            "verify: the reference has 524288 bytes in blocks of 512; it must be at least as large "
            "as the main child of 1048576 bytes, in blocks that divide it");
  Target::Children coarse = make_members({512 * 9, kVerifiedBytes});
  static_cast<Member&>(*coarse[1]).shape().logical_block_bytes = 4096;
  EXPECT_FALSE(open_verify(std::move(coarse)));
}

TEST(VerifyOpen, CanDiscardWhatItsMainChildCan) {
  for (const bool able : {false, true}) {
    Target::Children children = make_members({kVerifiedBytes, kVerifiedBytes});
    static_cast<Member&>(*children[0]).shape().can_discard = able;
    static_cast<Member&>(*children[1]).shape().can_discard = !able;
    EXPECT_EQ((*open_verify(std::move(children)))->geometry().can_discard, able);
  }
}

}  // namespace
}  // namespace sluice::test
