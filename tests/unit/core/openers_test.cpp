// Finds the programs that have a block device open: each test has a process that opens it in
// another way.
#include "core/openers.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <functional>
#include <thread>

#include "core/file_id.hpp"
#include "core/holders.hpp"
#include "ring/kernel_ring.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Another process: runs `act` before the constructor returns; the destructor kills it.
class Other {
 public:
  explicit Other(const std::function<void()>& act) {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid_ = fork();
    if (pid_ == 0) {
      act();
      [[maybe_unused]] const ssize_t told = write(ends[1], "x", 1);
      while (true) pause();
    }
    close(ends[1]);
    char byte = 0;
    EXPECT_EQ(read(ends[0], &byte, 1), 1);
    close(ends[0]);
  }
  Other(const Other&) = delete;
  Other& operator=(const Other&) = delete;
  ~Other() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  std::string name() const { return "process " + std::to_string(pid_) + " (unit_tests)"; }

 private:
  pid_t pid_ = 0;
};

class OpenersTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, to make a block device";
    loop_ = std::make_unique<Undoable>("losetup --find --show " + file_, "losetup --detach {}");
    if (!loop_->works()) GTEST_SKIP() << "no loop device: " << loop_->output();
    device_ = identify(path())->number;
  }

  const std::string& path() const { return loop_->output(); }
  int open_it() const { return open(path().c_str(), O_RDONLY | O_CLOEXEC); }
  // Ignores a losetup of another test, which opens every loop device for a moment.
  Openers find(std::span<const pid_t> ours = {}) const {
    for (int attempt = 0;; ++attempt) {
      auto openers = find_openers(std::span(&device_, 1), ours);
      EXPECT_TRUE(openers) << openers.error().text;
      const auto looks = [](const std::string& name) { return name.ends_with("(losetup)"); };
      if (!openers || std::ranges::none_of(openers->found, looks) || attempt == 100) {
        return openers ? *openers : Openers();
      }
      usleep(10'000);
    }
  }

  const TempDir directory_;
  const std::string file_ = directory_.file("a.img", 1 << 20);
  std::unique_ptr<Undoable> loop_;
  dev_t device_ = 0;
};

TEST_F(OpenersTest, NobodyHasIt) { EXPECT_THAT(find().found, IsEmpty()); }

TEST_F(OpenersTest, OneHasItOpen) {
  const Other other([&] { open_it(); });
  EXPECT_THAT(find().found, ElementsAre(other.name()));
  const pid_t ours = other.pid();
  EXPECT_THAT(find(std::span(&ours, 1)).found, IsEmpty());
}

TEST_F(OpenersTest, ThisProcessDoesNotCount) {
  const Descriptor own(open_it());
  EXPECT_THAT(find().found, IsEmpty());
}

TEST_F(OpenersTest, ByAnotherNode) {
  const std::string node = directory_.path("node");
  ASSERT_EQ(mknod(node.c_str(), S_IFBLK | 0600, device_), 0);
  const Other other([&] { open(node.c_str(), O_RDONLY | O_CLOEXEC); });
  unlink(node.c_str());
  EXPECT_THAT(find().found, ElementsAre(other.name()));
}

TEST_F(OpenersTest, MappedAndClosed) {
  const Other other([&] {
    const Descriptor file(open_it());
    mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file.number(), 0);
  });
  EXPECT_THAT(find().found, ElementsAre(other.name()));
}

TEST_F(OpenersTest, RegisteredWithARingAndClosed) {
  std::unique_ptr<KernelRing> ring;
  const Other other([&] {
    const Descriptor file(open_it());
    const int number = file.number();
    ring = std::move(*KernelRing::create({.files = std::span(&number, 1)}));
  });
  EXPECT_THAT(find().found, ElementsAre(other.name()));
}

TEST_F(OpenersTest, InTheTableOfOneThread) {
  const Other other([&] {
    std::atomic<bool> opened = false;
    std::thread([&] {
      unshare(CLONE_FILES);
      open_it();
      opened = true;
      while (true) pause();
    }).detach();
    while (!opened) std::this_thread::yield();
  });
  EXPECT_THAT(find().found, ElementsAre(other.name()));
}

TEST_F(OpenersTest, AllThatHoldItAreNamed) {
  const Other other([&] { open_it(); });
  const auto held = check_unheld({.path = path(), .device = device_, .timeout = {}});
  ASSERT_FALSE(held);
  EXPECT_EQ(held.error().error, EBUSY);
  EXPECT_THAT(held.error().text,
              HasSubstr(path() + " is in use (" + other.name() + "): release it"));
  const auto claimed = check_unheld(
      {.path = path(), .device = device_, .claimed = true, .ours = std::array{other.pid()}});
  ASSERT_FALSE(claimed);
  EXPECT_THAT(claimed.error().text, HasSubstr("in use (mounted, or part of another device)"));
}

TEST_F(OpenersTest, WhoLetsGoOfItSoonIsWaitedFor) {
  const Other other([&] {
    open_it();
    std::thread([] {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      _exit(0);
    }).detach();
  });
  const auto held = check_unheld(
      {.path = path(), .device = device_, .timeout = std::chrono::milliseconds(5'000)});
  EXPECT_TRUE(held) << held.error().text;
}

TEST(HoldersText, NamesAFew) {
  Holders holders{.found = {"swap"}, .programs = {"process 1 (a)"}, .unseen = {}};
  EXPECT_EQ(holders.text(), "swap, process 1 (a)");
  holders.programs = {"p1", "p2", "p3", "p4"};
  EXPECT_EQ(holders.text(), "swap, p1, p2 and 2 more");
}

}  // namespace
}  // namespace sluice::test
