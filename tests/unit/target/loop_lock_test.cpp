// Attaching a file while another user has it: another stack, or QEMU.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdio>

#include "core/descriptor.hpp"
#include "target/file/file_lock.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

class LoopLock : public testing::Test {
 protected:
  const TempDir directory_;
  const std::string path_ = directory_.file("a.img", 1 << 20);
};

TEST_F(LoopLock, OneWriterExcludesEverybodyElse) {
  auto writer = open_stack(path_);
  ASSERT_TRUE(writer);
  EXPECT_THAT(open_error(path_), AllOf(HasSubstr("attached for writing elsewhere"),
                                       HasSubstr("detach it there first")));
  EXPECT_THAT(open_error(path_, /*read_only=*/true), HasSubstr("attached for writing elsewhere"));
  writer->reset();
  EXPECT_THAT(open_error(path_), IsEmpty());
}

TEST_F(LoopLock, TheSameFileTwiceInOneStackIsRefused) {
  EXPECT_THAT(open_error("stripe(" + path_ + ", " + path_ + ")"),
              HasSubstr("this stack also has it attached"));
}

TEST_F(LoopLock, ReadersAreTogetherAndExcludeWriters) {
  auto one = open_stack(path_, /*read_only=*/true);
  ASSERT_TRUE(one);
  auto other = open_stack("loop(" + path_ + ", read_only)");
  ASSERT_TRUE(other);
  EXPECT_THAT(open_error(path_),
              AllOf(HasSubstr("lets nobody else write"), HasSubstr("option read_only")));
  one->reset();
  other->reset();
  EXPECT_THAT(open_error(path_), IsEmpty());
}

TEST_F(LoopLock, IsGivenUpWithTheStackEvenWhileARingHoldsTheFile) {
  auto stack = open_stack(path_);
  ASSERT_TRUE(stack);
  auto ring = KernelRing::create({.files = (*stack)->files()});
  ASSERT_TRUE(ring);
  stack->reset();
  EXPECT_THAT(open_error(path_), IsEmpty());
}

// Of one process, for a file that is to be written from now on.
TEST_F(LoopLock, IsMovedToAnotherOpenFileAndBack) {
  const auto opened = [&](int flags) { return Descriptor(open(path_.c_str(), flags | O_CLOEXEC)); };
  const Descriptor reading = opened(O_RDONLY);
  const Descriptor writing = opened(O_RDWR);
  const Descriptor other = opened(O_RDWR);
  ASSERT_TRUE(lock_file(reading.number(), false, path_));
  EXPECT_TRUE(move_lock_for_writing(reading.number(), writing.number(), path_));
  EXPECT_TRUE(others_have_locked(other.number(), /*for_writing=*/false));
  move_lock_for_reading(writing.number(), reading.number());
  EXPECT_FALSE(others_have_locked(other.number(), /*for_writing=*/false));
  EXPECT_TRUE(others_have_locked(other.number(), /*for_writing=*/true));
  // While another reads it nothing changes.
  ASSERT_TRUE(lock_file(other.number(), false, path_));
  EXPECT_FALSE(move_lock_for_writing(reading.number(), writing.number(), path_));
  EXPECT_FALSE(others_have_locked(other.number(), /*for_writing=*/false));
  unlock_file(other.number());
  EXPECT_TRUE(others_have_locked(other.number(), /*for_writing=*/true));
}

// The file holds a qcow2 image, because with the raw format QEMU lets others write while it reads.
class LoopLockAndQemu : public LoopLock {
 protected:
  void SetUp() override {
    if (!has_command("qemu-io") || !has_command("qemu-img")) {
      GTEST_SKIP() << "needs qemu-io and qemu-img (package qemu-utils)";
    }
    const CommandResult made = run_command("qemu-img create -f qcow2 " + path_ + " 1M");
    ASSERT_EQ(made.code, 0) << made.output;
  }

  CommandResult qemu_io(const std::string& options) const {
    return run_command("qemu-io " + options + " " + path_);
  }
};

TEST_F(LoopLockAndQemu, QemuIsKeptOutWhileWeWrite) {
  auto stack = open_stack(path_);
  ASSERT_TRUE(stack);
  EXPECT_THAT(qemu_io("-c 'write 0 4k'").output, HasSubstr("Failed to get \"write\" lock"));
  EXPECT_THAT(qemu_io("-f raw -c 'write 0 4k'").output, HasSubstr("Failed to get \"write\" lock"));
  EXPECT_THAT(qemu_io("-r -c 'read 0 4k'").output,
              HasSubstr("Failed to get shared \"write\" lock"));
  EXPECT_THAT(run_command("qemu-img info " + path_).output,
              HasSubstr("Failed to get shared \"write\" lock"));
  EXPECT_EQ(run_command("qemu-img info -U " + path_).code, 0);
  stack->reset();
  EXPECT_EQ(qemu_io("-c 'write 0 4k'").code, 0);
}

TEST_F(LoopLockAndQemu, QemuMayReadWhileWeRead) {
  auto stack = open_stack(path_, /*read_only=*/true);
  ASSERT_TRUE(stack);
  EXPECT_EQ(qemu_io("-r -c 'read 0 4k'").code, 0);
  EXPECT_EQ(run_command("qemu-img info " + path_).code, 0);
  EXPECT_THAT(qemu_io("-c 'write 0 4k'").output, HasSubstr("Failed to get \"write\" lock"));
}

// A qemu-io that keeps the file open until it is destroyed. It tries again if the test has the file
// locked when it begins.
class RunningQemuIo {
 public:
  RunningQemuIo(const std::string& path, const std::string& options)
      : pipe_(popen(
            ("until qemu-io " + options + " " + path + " > /dev/null 2>&1; do sleep 0.01; done")
                .c_str(),
            "w")) {}
  RunningQemuIo(const RunningQemuIo&) = delete;
  RunningQemuIo& operator=(const RunningQemuIo&) = delete;
  ~RunningQemuIo() { pclose(pipe_); }

 private:
  FILE* pipe_;
};

// The first error of opening the file; empty if there is none within five seconds.
std::string eventual_error(const std::string& path, bool read_only) {
  for (int i = 0; i < 500; ++i) {
    const std::string text = open_error(path, read_only);
    if (!text.empty()) return text;
    usleep(10'000);
  }
  return {};
}

TEST_F(LoopLockAndQemu, WeAreKeptOutWhileQemuWrites) {
  {
    const RunningQemuIo writer(path_, "");
    EXPECT_THAT(eventual_error(path_, false), HasSubstr("attached for writing elsewhere"));
    EXPECT_THAT(open_error(path_, /*read_only=*/true), HasSubstr("attached for writing elsewhere"));
  }
  EXPECT_THAT(open_error(path_), IsEmpty());
}

TEST_F(LoopLockAndQemu, WeMayReadWhileQemuReads) {
  const RunningQemuIo reader(path_, "-r");
  EXPECT_THAT(eventual_error(path_, false), HasSubstr("lets nobody else write"));
  EXPECT_THAT(open_error(path_, /*read_only=*/true), IsEmpty());
}

}  // namespace
}  // namespace sluice::test
