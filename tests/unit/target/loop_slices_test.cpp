// Slices of one file or block device in one stack: they are together, and exclude all others.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>

#include "core/descriptor.hpp"
#include "spec/spec.hpp"
#include "target/open_context.hpp"
#include "target/registry.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

class LoopSlices : public testing::Test {
 protected:
  // A slice of the file, in KiB.
  std::string slice(int offset, int size, const std::string& options = "") const {
    return "loop(" + path_ + ", offset=" + std::to_string(offset) +
           "k, size=" + std::to_string(size) + "k" + options + ")";
  }
  std::string rest(int offset) const {
    return "loop(" + path_ + ", offset=" + std::to_string(offset) + "k)";
  }
  static std::string linear(const std::string& one, const std::string& other) {
    return "linear(" + one + ", " + other + ")";
  }
  char byte_at(int offset) const {
    std::ifstream file(path_);
    file.seekg(offset);
    return static_cast<char>(file.get());
  }

  const TempDir directory_;
  const std::string path_ = directory_.file("a.img", 1 << 20);
};

TEST_F(LoopSlices, AreWrittenInOneStack) {
  LiveStack stack(linear(slice(512, 128), slice(0, 128)));
  EXPECT_TRUE(stack.write(0, Block(128 << 10, 'x')).ok());
  EXPECT_TRUE(stack.write(128 << 10, Block(128 << 10, 'y')).ok());
  EXPECT_TRUE(stack.flush().ok());
  EXPECT_EQ(byte_at(512 << 10), 'x');
  EXPECT_EQ(byte_at(0), 'y');
  EXPECT_EQ(byte_at(128 << 10), 0);
  EXPECT_EQ(byte_at(640 << 10), 0);
}

TEST_F(LoopSlices, ThatOverlapAreRefused) {
  EXPECT_THAT(open_error(linear(slice(0, 128), slice(64, 128))),
              AllOf(HasSubstr("from byte 65536 to 196608"), HasSubstr("from byte 0 to 131072"),
                    HasSubstr("that do not overlap")));
  EXPECT_THAT(open_error(linear(slice(0, 128), path_)), HasSubstr("as a whole"));
  EXPECT_THAT(open_error(linear(path_, slice(512, 128))), HasSubstr("that do not overlap"));
  EXPECT_THAT(open_error(linear(rest(512), rest(768))), HasSubstr("from byte 786432 to its end"));
  EXPECT_THAT(open_error(linear(slice(0, 128), slice(64, 128, ", read_only"))),
              HasSubstr("that do not overlap"));
  EXPECT_THAT(open_error(linear(slice(0, 128), rest(128))), IsEmpty());
  // What is only read may be read twice.
  EXPECT_THAT(open_error(linear(path_, slice(64, 128)), /*read_only=*/true), IsEmpty());
}

TEST_F(LoopSlices, OfAnotherNameAreOfTheSameFile) {
  const std::string other = directory_.path("b.img");
  ASSERT_EQ(link(path_.c_str(), other.c_str()), 0);
  EXPECT_THAT(open_error(linear(path_, other)), HasSubstr("that do not overlap"));
  EXPECT_THAT(open_error(linear(slice(0, 128), "loop(" + other + ", offset=128k)")), IsEmpty());
}

TEST_F(LoopSlices, ExcludeOtherStacks) {
  auto stack = open_stack(linear(slice(0, 128), slice(128, 128)));
  ASSERT_TRUE(stack);
  EXPECT_THAT(open_error(slice(512, 128)), HasSubstr("attached for writing elsewhere"));
  EXPECT_THAT(open_error(path_, /*read_only=*/true), HasSubstr("attached for writing elsewhere"));
  stack->reset();
  EXPECT_THAT(open_error(path_), IsEmpty());
}

TEST_F(LoopSlices, SomeAreOnlyRead) {
  const std::string reads = slice(0, 128, ", read_only");
  const std::string writes = slice(128, 128);
  for (const std::string& spec : {"exports(" + reads + ", " + writes + ", names=a+b)",
                                  "exports(" + writes + ", " + reads + ", names=a+b)"}) {
    auto stack = open_stack(spec);
    ASSERT_TRUE(stack) << stack.error().text;
    EXPECT_THAT(open_error(path_, /*read_only=*/true), HasSubstr("attached for writing elsewhere"));
    stack->reset();
    EXPECT_THAT(open_error(path_), IsEmpty());
  }
}

// The slice that is read comes first, and its lock is of those that others may have.
TEST_F(LoopSlices, AreRefusedWhileOthersReadTheFile) {
  auto reader = open_stack(path_, /*read_only=*/true);
  ASSERT_TRUE(reader);
  const std::string both = linear(slice(0, 128, ", read_only"), slice(128, 128));
  EXPECT_THAT(open_error(both), HasSubstr("lets nobody else write"));
  reader->reset();
  EXPECT_THAT(open_error(both), IsEmpty());
}

TEST_F(LoopSlices, GoThroughThePageCacheOrNot) {
  EXPECT_THAT(open_error(linear(slice(0, 128, ", buffered_io"), slice(128, 128, ", buffered_io"))),
              IsEmpty());
  const Descriptor direct(open(path_.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
  if (!direct.valid()) GTEST_SKIP() << "no direct I/O on this file system";
  EXPECT_THAT(open_error(linear(slice(0, 128), slice(128, 128, ", buffered_io"))),
              HasSubstr("give buffered_io to all"));
}

TEST_F(LoopSlices, GrowUpToTheNextOne) {
  auto stack = open_stack(linear(slice(512, 128), slice(0, 128)));
  ASSERT_TRUE(stack);
  EXPECT_EQ((*stack)->resize(384 << 10).value_or(0), 384U << 10);
  const auto refused = (*stack)->resize((128 + 512 + 4) << 10);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().error, ENOSPC);
  EXPECT_THAT(refused.error().text, HasSubstr("another slice"));
  EXPECT_EQ((*stack)->resize((128 + 512) << 10).value_or(0), 640U << 10);
  stack->reset();
  // The last one, also behind the end of the file.
  auto last = open_stack(linear(slice(0, 128), rest(512)));
  ASSERT_TRUE(last);
  EXPECT_EQ((*last)->resize(2 << 20).value_or(0), 2U << 20);
}

TEST_F(LoopSlices, AreHandedOver) {
  auto stack = open_stack(linear(slice(128, 128), slice(0, 128)));
  ASSERT_TRUE(stack);
  ASSERT_TRUE((*stack)->check_handover());
  InheritedFiles passed;
  for (const int file : (*stack)->files()) passed.files.emplace_back(dup(file));
  OpenContext next(/*read_only=*/false, std::move(passed));
  auto successor = Stack::open((*stack)->spec(), next);
  ASSERT_TRUE(successor) << successor.error().text;
  (*stack)->own_files(false);
  stack->reset();
  (*successor)->own_files(true);
  EXPECT_THAT(open_error(path_), HasSubstr("attached for writing elsewhere"));
  EXPECT_FALSE((*successor)->resize(512 << 10)) << "over the other slice";
  successor->reset();
  EXPECT_THAT(open_error(path_), IsEmpty());
}

// As when a mirror goes on without a leg.
TEST_F(LoopSlices, OfATargetThatCouldNotBeOpenedAreFree) {
  OpenContext context(/*read_only=*/false);
  const auto spec = [](const std::string& text) { return *parse_spec(text, target_vocabulary()); };
  const auto failed = Stack::open(spec(linear(path_, directory_.path("absent"))), context);
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().text, HasSubstr("does not exist"));
  EXPECT_TRUE(Stack::open(spec(linear(slice(0, 128), slice(128, 128))), context));
}

// A loop device of the kernel with blocks of 4 KiB.
class DeviceSlices : public LoopSlices {
 protected:
  std::string part(int offset, int size, const std::string& options = "") const {
    return "loop(" + device_.output() + ", offset=" + std::to_string(offset) +
           ", size=" + std::to_string(size) + options + ")";
  }
  bool others_may_claim() const {
    return Descriptor(open(device_.output().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC)).valid();
  }

  const Undoable device_{"losetup --find --show --sector-size 4096 " + path_,
                         "losetup --detach {}"};
};

TEST_F(DeviceSlices, ShareTheClaim) {
  if (!device_.works()) GTEST_SKIP() << device_.output();
  auto stack = open_stack(linear(part(0, 65536), part(65536, 65536)));
  ASSERT_TRUE(stack) << stack.error().text;
  EXPECT_FALSE(others_may_claim());
  EXPECT_THAT(open_error(part(131072, 65536)), HasSubstr("in use"));
  EXPECT_TRUE((*stack)->check_handover());
  stack->reset();
  EXPECT_TRUE(others_may_claim());
}

// Smaller blocks than those of the device are written with what is beside them.
TEST_F(DeviceSlices, DoNotMeetInABlock) {
  if (!device_.works()) GTEST_SKIP() << device_.output();
  const std::string fine = ", block=512";
  EXPECT_THAT(open_error(linear(part(0, 6144, fine), part(6144, 6144, fine))),
              HasSubstr("from byte 4096 to 12288"));
  EXPECT_THAT(open_error(linear(part(0, 6144, fine), part(8192, 6144, fine))), IsEmpty());
}

TEST_F(DeviceSlices, KeepTheClaimOfOneThatHasGone) {
  if (!device_.works()) GTEST_SKIP() << device_.output();
  const auto spec = [&](int offset) {
    return *parse_spec(part(offset, 65536), target_vocabulary());
  };
  OpenContext context(/*read_only=*/false);
  auto first = Stack::open(spec(0), context);
  auto second = Stack::open(spec(65536), context);
  ASSERT_TRUE(first && second);
  first->reset();
  EXPECT_FALSE(others_may_claim());
  // The file of the second one does not pass it on.
  const auto refused = (*second)->check_handover();
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().text, HasSubstr("add it again"));
  second->reset();
  EXPECT_TRUE(others_may_claim());
}

}  // namespace
}  // namespace sluice::test
