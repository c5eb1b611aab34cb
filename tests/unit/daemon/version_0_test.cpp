// A device is taken over from a server of the first release, which speaks version 0 of the handover
// messages; it keeps the device if its successor fails.
#include "daemon/version_0.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "core/file_id.hpp"
#include "daemon/control_socket.hpp"
#include "daemon/taking_over.hpp"
#include "frontend/fuse/mount_state.hpp"
#include "support/state_folder.hpp"
#include "target/file/file_lock.hpp"
#include "target/registry.hpp"

namespace sluice::test {
namespace {

Descriptor open_path(const std::string& path, int flags) {
  return Descriptor(open(path.c_str(), flags | O_CLOEXEC));
}

// The test process plays both servers. The old one has the file open, and locked.
class Version0Test : public testing::Test, protected FrontendListener {
 protected:
  void SetUp() override {
    file_ = folder_.path() / "disk.img";
    std::ofstream(file_).close();
    ASSERT_EQ(truncate(file_.c_str(), 1 << 20), 0);
    serve();
    record_ = record_of({.id = 0, .frontend = "fuse", .path = at(), .at = at()});
    record_.pid = getpid();
    record_.pid_started = *process_start_time(getpid());
    record_.size_bytes = 1 << 20;
    record_.spec = *parse_spec(file_, target_vocabulary());
    folder_.add_record(record_);
    ControlCommands commands;
    commands.add_slow("hand_over",
                      [this](const JsonValue& request, auto&&, ControlAnswer&& answer) {
                        hand_over(request, std::move(answer));
                      });
    commands.add("take_back", [this](const JsonValue&) -> Result<JsonValue> {
      ++taken_back_;
      serve();
      return JsonValue::object();
    });
    auto socket = ControlSocket::open(control_path(0), std::move(commands));
    ASSERT_TRUE(socket) << socket.error().text;
    socket_ = std::move(*socket);
  }

  // As the first release: no other server may have the file, or its locks.
  void serve() {
    stack_ = open_path(file_, O_RDWR);
    const auto locked = lock_file(stack_.number(), true, file_);
    EXPECT_TRUE(locked) << locked.error().text;
  }

  void hand_over(const JsonValue& request, ControlAnswer answer) {
    EXPECT_EQ(request.at("pid").get<int>(), getpid());
    handed_over_ = true;
    unlock_file(stack_.number());
    stack_ = Descriptor();
    if (in_between_) in_between_();
    if (dies_) return (kept_ = std::move(answer), void());
    ControlReply reply{.body = {{"state", state_}, {"manager", "/run/manager"}}, .descriptors = {}};
    reply.descriptors.push_back(open_path("/dev/null", O_RDWR));
    reply.descriptors.push_back(open_path("/proc/self/ns/mnt", O_RDONLY));
    reply.descriptors.push_back(open_path("/", O_PATH | O_DIRECTORY));
    answer(std::move(reply));
  }

  std::string at() const { return folder_.path() / "view.img"; }
  bool is_locked() const {
    return others_have_locked(open_path(file_, O_RDWR).number(), /*for_writing=*/true);
  }
  void frontend_changed() override {}

  StateFolder folder_;
  std::string file_;
  DeviceRecord record_;
  Descriptor stack_;
  std::string state_ =
      R"({"at":")" + at() +
      R"(","attributes":{"accessed":[1,2],"changed":[3,4],"gid":0,"modified":[5,6],)"
      R"("permissions":384,"uid":0},"backing_id":0,"by_helper":false,"depth":16,"detached":false,)"
      R"("device":"0:47","directory":false,"made":true,"max_io_bytes":524288,"path":"copy",)"
      R"("queues":1})";
  std::function<void()> in_between_;
  std::atomic<bool> dies_ = false;
  std::atomic<bool> handed_over_ = false;
  std::atomic<int> taken_back_ = 0;
  ControlAnswer kept_;
  std::unique_ptr<ControlSocket> socket_;
  OldServer old_{.id = 0, .manager = {}};
};

TEST_F(Version0Test, ItsOpenFilesAreCopiedWhileItServes) {
  const auto offer = old_.begin();
  ASSERT_TRUE(offer) << offer.error().text;
  EXPECT_EQ(to_json(offer->record), to_json(record_));
  EXPECT_FALSE(offer->frontend_state) << "only the device itself brings it";
  ASSERT_EQ(offer->files.size(), 1U);
  EXPECT_EQ(identify(offer->files[0].number())->inode, identify(file_)->inode);
  EXPECT_FALSE(handed_over_);
}

TEST_F(Version0Test, OfTwoDescriptorsOfAFileTheLockedOneIsThatOfTheStack) {
  const Descriptor before(fcntl(stack_.number(), F_DUPFD_CLOEXEC, 200));
  stack_ = open_path(file_, O_RDWR);  // has a lower number, and no lock
  const auto offer = old_.begin();
  ASSERT_TRUE(offer) << offer.error().text;
  EXPECT_TRUE(others_have_locked(stack_.number(), true));
  EXPECT_FALSE(others_have_locked(offer->files[0].number(), true)) << "the lock is its own";
}

TEST_F(Version0Test, WhatItHandsOverIsServed) {
  auto offer = old_.begin();
  ASSERT_TRUE(offer) << offer.error().text;
  auto device = Device::take_over(std::move(*offer));
  ASSERT_TRUE(device) << device.error().text;
  ASSERT_TRUE((*device)->hire_keeper());
  ASSERT_TRUE((*device)->prepare(*this));
  auto handover = old_.let_go();
  ASSERT_TRUE(handover) << handover.error().text;
  EXPECT_EQ(old_.manager, "/run/manager");
  const auto state = fuse::mount_state_from_json(handover->frontend.state);
  ASSERT_TRUE(state) << state.error().text;
  EXPECT_EQ(state->file_system, "0:47 sluice");
  EXPECT_EQ(state->at, at());
  EXPECT_FALSE(state->size_bytes);
  ASSERT_EQ(handover->frontend.descriptors.size(), 2U);
  EXPECT_EQ(identify(handover->frontend.descriptors[1].number())->inode,
            identify(folder_.path().string())->inode);
  EXPECT_FALSE(is_locked());
  const auto taken = (*device)->take(std::move(*handover));
  ASSERT_TRUE(taken) << taken.error().text;
  EXPECT_TRUE(is_locked());
  const DeviceRecord record = (*device)->record();
  EXPECT_EQ(record.files.size(), 1U) << "recovery compares them";
  EXPECT_EQ(record.path, at());
  EXPECT_EQ(record.traces.text("file_system"), "0:47 sluice");
  EXPECT_TRUE(record.traces.flag("made"));
  device->reset();
  EXPECT_FALSE(is_locked()) << "the old server could have it back";
  EXPECT_EQ(taken_back_, 0);
}

TEST_F(Version0Test, ADeviceThatCannotBeServedIsGivenBack) {
  ASSERT_TRUE(old_.begin());
  ASSERT_TRUE(old_.let_go());
  const Error error = old_.give_back({ENOMEM, "no memory"});
  EXPECT_EQ(error.text, "the old server goes on: no memory");
  EXPECT_EQ(taken_back_, 1);
  EXPECT_TRUE(is_locked());
}

TEST_F(Version0Test, AStateThatIsNotUnderstoodIsGivenBack) {
  ASSERT_TRUE(old_.begin());
  state_ = R"({"path":"copy"})";
  const auto handover = old_.let_go();
  ASSERT_FALSE(handover);
  EXPECT_EQ(handover.error().error, EINVAL);
  EXPECT_NE(handover.error().text.find("the old server goes on"), std::string::npos);
  EXPECT_EQ(taken_back_, 1);
}

TEST_F(Version0Test, ADeviceThatWasResizedMeanwhileIsGivenBack) {
  ASSERT_TRUE(old_.begin());
  in_between_ = [this] {
    record_.size_bytes *= 2;
    EXPECT_TRUE(write_record(record_));
  };
  const auto handover = old_.let_go();
  ASSERT_FALSE(handover);
  EXPECT_EQ(handover.error().error, EAGAIN);
  EXPECT_EQ(taken_back_, 1);
}

TEST_F(Version0Test, AFileThatAThirdProgramHasLockedMeanwhileIsNotServed) {
  auto offer = old_.begin();
  ASSERT_TRUE(offer) << offer.error().text;
  auto device = Device::take_over(std::move(*offer));
  ASSERT_TRUE(device) << device.error().text;
  const Descriptor third = open_path(file_, O_RDWR);
  in_between_ = [&] { EXPECT_TRUE(lock_file(third.number(), true, file_)); };
  auto handover = old_.let_go();
  ASSERT_TRUE(handover) << handover.error().text;
  EXPECT_EQ((*device)->take(std::move(*handover)).error().error, EBUSY);
}

TEST_F(Version0Test, OneThatDiesInTheMiddleIsNotWaitedFor) {
  ASSERT_TRUE(old_.begin());
  dies_ = true;
  std::thread death([this] {
    while (!handed_over_) usleep(1000);
    usleep(10'000);
    socket_.reset();
  });
  const auto handover = old_.let_go();
  death.join();
  ASSERT_FALSE(handover);
  EXPECT_EQ(handover.error().error, EPIPE);
  EXPECT_EQ(taken_back_, 0);
  const Error error = old_.give_back({ENOMEM, "no memory"});
  EXPECT_EQ(error.text, "the old server is gone as well: no memory");
}

TEST_F(Version0Test, ItsEndIsAwaited) {
  const pid_t process = fork();
  if (process == 0) {
    usleep(50'000);
    _exit(0);
  }
  record_.pid = process;
  record_.pid_started = process_start_time(process).value_or(0);
  old_.first_release = record_;
  EXPECT_TRUE(old_.commit());
  EXPECT_EQ(server_life(record_), Life::dead);
  waitpid(process, nullptr, 0);
}

TEST_F(Version0Test, APathThatLeadsToAnotherFileIsNotTouched) {
  const std::string moved = file_ + ".old";
  ASSERT_EQ(rename(file_.c_str(), moved.c_str()), 0);
  EXPECT_EQ(old_.begin().error().error, ENOENT);
  std::ofstream(file_).close();
  const auto offer = old_.begin();
  ASSERT_FALSE(offer);
  EXPECT_EQ(offer.error().error, ESTALE);
  EXPECT_NE(offer.error().text.find("is not the file that is served"), std::string::npos);
  EXPECT_FALSE(handed_over_);
}

TEST_F(Version0Test, DataInItsMemoryStaysThere) {
  record_.spec = *parse_spec("mem:1M", target_vocabulary());
  folder_.add_record(record_);
  EXPECT_EQ(old_.begin().error().error, EOPNOTSUPP);
  EXPECT_FALSE(handed_over_);
}

// The front end `ublk` takes everything from the driver.
TEST_F(Version0Test, AUblkDeviceNeedsNoState) {
  record_.frontend = "ublk";
  folder_.add_record(record_);
  const auto offer = old_.begin();
  ASSERT_TRUE(offer) << offer.error().text;
  EXPECT_EQ(offer->frontend_state, "");
  const auto handover = old_.let_go();
  ASSERT_TRUE(handover) << handover.error().text;
  EXPECT_TRUE(handover->files_unlocked);
}

}  // namespace
}  // namespace sluice::test
