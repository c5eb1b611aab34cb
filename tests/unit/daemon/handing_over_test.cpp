// A device is handed over: at every point it belongs to one server, and no server waits for ever.
#include "daemon/handing_over.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/handover_messages.hpp"
#include "support/fake_frontend.hpp"
#include "support/state_folder.hpp"
#include "target/registry.hpp"

namespace sluice::test {
namespace {

using std::chrono::milliseconds;

// A process in the role of the next server, which does nothing.
class Successor {
 public:
  Successor() : process_(fork()) {
    if (process_ == 0) {
      while (true) pause();
    }
    mark_ = {.pid = process_,
             .started = process_start_time(process_).value_or(0),
             .scope = process_scope()};
  }
  Successor(const Successor&) = delete;
  Successor& operator=(const Successor&) = delete;
  ~Successor() { die(); }
  void die() {
    if (process_ <= 0) return;
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
    process_ = -1;
  }
  const ProcessMark& mark() const { return mark_; }

 private:
  pid_t process_;
  ProcessMark mark_;
};

class HandingOverTest : public testing::Test, private FrontendListener {
 protected:
  void SetUp() override {
    const std::string file = folder_.path() / "disk.img";
    std::ofstream(file).close();
    ASSERT_EQ(truncate(file.c_str(), 1 << 20), 0);
    ServeOptions options{.spec = *parse_spec(file, target_vocabulary()), .frontend = {}};
    options.frontend.type = &kFakeFrontend;
    auto device = Device::add(options);
    ASSERT_TRUE(device) << device.error().text;
    device_ = std::move(*device);
    ASSERT_TRUE(device_->hire_keeper());
    ASSERT_TRUE(device_->prepare(*this));
    ASSERT_TRUE(device_->serve());
    kernel_.calls.clear();
  }

  // The answer of a command; nullopt until it has arrived.
  using Answer = std::shared_ptr<std::optional<Result<ControlReply>>>;
  static Answer say(HandingOver& desk, const std::string& command, JsonValue request = {}) {
    auto answer = std::make_shared<std::optional<Result<ControlReply>>>();
    Letter letter{.kind = Letter::Kind::command,
                  .command = command,
                  .request = std::move(request),
                  .answer = ControlAnswer(
                      [answer](Result<ControlReply> reply) { *answer = std::move(reply); })};
    desk.carry_out(letter);
    return answer;
  }
  Answer begin(HandingOver& desk) const {
    return say(desk, "begin_handover", to_json(HandoverRequest{successor_.mark()}));
  }
  static int error_of(const Answer& answer) {
    if (!*answer) return -1;
    return **answer ? 0 : (**answer).error().error;
  }
  // Carries out the handover until the other server has everything.
  Answer hand_over(HandingOver& desk) {
    EXPECT_EQ(error_of(begin(desk)), 0);
    auto answer = say(desk, "hand_over");
    kernel_.paused = true;
    EXPECT_TRUE(desk.look());
    EXPECT_EQ(error_of(answer), 0);
    return answer;
  }
  using Calls = std::vector<std::string>;

  StateFolder folder_;
  FakeKernel kernel_;
  Successor successor_;
  std::unique_ptr<Device> device_;

 private:
  void frontend_changed() override {}
};

TEST_F(HandingOverTest, TheOfferIsAllThatTheNextServerPreparesWith) {
  HandingOver desk(*device_);
  const auto answer = begin(desk);
  ASSERT_EQ(error_of(answer), 0);
  const auto offer = handover_offer_from((**answer)->body);
  ASSERT_TRUE(offer) << offer.error().text;
  EXPECT_EQ(offer->version, kHandoverVersion);
  EXPECT_EQ(offer->frontend_state, "state");
  EXPECT_EQ(offer->files, 1U);
  const auto record = record_from_json(offer->record);
  ASSERT_TRUE(record) << record.error().text;
  EXPECT_EQ(record->id, device_->id());
  EXPECT_TRUE(desk.busy());
  EXPECT_TRUE(kernel_.calls.empty()) << "requests go on";
}

TEST_F(HandingOverTest, FilesArePassedAsTheyAreOpen) {
  HandingOver desk(*device_);
  EXPECT_EQ(error_of(say(desk, "pass_files", files_request(0))), EINVAL) << "nothing has begun";
  begin(desk);
  const auto passed = say(desk, "pass_files", files_request(0));
  ASSERT_EQ(error_of(passed), 0);
  ASSERT_EQ((**passed)->descriptors.size(), 1U);
  struct stat ours{};
  struct stat theirs{};
  ASSERT_EQ(fstat(device_->files()[0], &ours), 0);
  ASSERT_EQ(fstat((**passed)->descriptors[0].number(), &theirs), 0);
  EXPECT_EQ(ours.st_ino, theirs.st_ino);
  EXPECT_TRUE((**say(desk, "pass_files", files_request(1)))->descriptors.empty());
  EXPECT_EQ(error_of(say(desk, "pass_files", files_request(2))), EINVAL);
  EXPECT_THROW(say(desk, "pass_files"), JsonMismatch);
}

TEST_F(HandingOverTest, TheDeviceIsGivenWhenNothingIsInFlight) {
  HandingOver desk(*device_);
  begin(desk);
  const auto answer = say(desk, "hand_over");
  EXPECT_TRUE(desk.look());
  EXPECT_EQ(error_of(answer), -1) << "a request is still in flight";
  kernel_.paused = true;
  EXPECT_TRUE(desk.look());
  ASSERT_EQ(error_of(answer), 0);
  const auto given = given_device_from((**answer)->body);
  ASSERT_TRUE(given);
  EXPECT_EQ(given->frontend_state, "last state");
  EXPECT_FALSE(given->stack_failed);
  EXPECT_EQ((**answer)->descriptors.size(), 1U);
  EXPECT_EQ(error_of(say(desk, "commit_handover")), 0);
  EXPECT_TRUE(desk.is_over());
  EXPECT_EQ(kernel_.calls, (Calls{"pause", "let_go", "leave"}));
}

TEST_F(HandingOverTest, ItIsGivenToOneOnly) {
  HandingOver desk(*device_);
  begin(desk);
  EXPECT_EQ(error_of(begin(desk)), EBUSY);
  EXPECT_EQ(error_of(say(desk, "quiesce")), EBUSY);
  say(desk, "hand_over");
  EXPECT_EQ(error_of(say(desk, "hand_over")), EBUSY);
}

TEST_F(HandingOverTest, OneThatGivesItBackIsTakenAtItsWord) {
  HandingOver desk(*device_);
  EXPECT_EQ(error_of(say(desk, "take_back")), EINVAL) << "it was not handed over";
  begin(desk);
  EXPECT_EQ(error_of(say(desk, "take_back")), 0);
  EXPECT_FALSE(desk.busy());
  EXPECT_TRUE(kernel_.calls.empty()) << "it never stood still";
  hand_over(desk);
  EXPECT_EQ(error_of(say(desk, "take_back")), 0);
  EXPECT_FALSE(desk.busy());
  EXPECT_EQ(kernel_.calls, (Calls{"pause", "let_go", "resume"}));
  EXPECT_EQ(error_of(say(desk, "commit_handover")), EINVAL) << "it is too late";
}

TEST_F(HandingOverTest, GivenBackDuringThePauseNobodyWaitsForTheAnswer) {
  HandingOver desk(*device_);
  begin(desk);
  const auto answer = say(desk, "hand_over");
  EXPECT_EQ(error_of(say(desk, "take_back")), 0);
  EXPECT_EQ(error_of(answer), ECANCELED);
  EXPECT_EQ(kernel_.calls, (Calls{"pause", "resume"}));
}

TEST_F(HandingOverTest, OneThatDiesLeavesTheDeviceHere) {
  HandingOver desk(*device_);
  hand_over(desk);
  EXPECT_TRUE(desk.next_look());
  EXPECT_TRUE(desk.look());
  EXPECT_TRUE(desk.busy()) << "it still lives";
  successor_.die();
  EXPECT_TRUE(desk.look());
  EXPECT_FALSE(desk.busy());
  EXPECT_EQ(kernel_.calls.back(), "resume");
  EXPECT_EQ(error_of(begin(desk)), ESRCH) << "who has died cannot begin";
}

TEST_F(HandingOverTest, OneThatTakesTooLongIsNotWaitedFor) {
  HandingOver desk(*device_, {.prepare = milliseconds(0), .successor = milliseconds(0)});
  begin(desk);
  usleep(2000);
  EXPECT_TRUE(desk.look());
  EXPECT_FALSE(desk.busy());
  EXPECT_EQ(error_of(say(desk, "hand_over")), EINVAL);
  HandingOver later(*device_, {.successor = milliseconds(0)});
  hand_over(later);
  usleep(2000);
  EXPECT_TRUE(later.look());
  EXPECT_FALSE(later.busy());
  EXPECT_EQ(kernel_.calls.back(), "resume");
}

// The next server has not reported that it serves, but its record has replaced ours.
TEST_F(HandingOverTest, OneThatServesHasIt) {
  HandingOver desk(*device_, {.successor = milliseconds(0)});
  hand_over(desk);
  DeviceRecord record = device_->record();
  record.pid = successor_.mark().pid;
  record.pid_started = successor_.mark().started;
  ASSERT_TRUE(write_record(record));
  usleep(2000);
  EXPECT_TRUE(desk.look());
  EXPECT_TRUE(desk.is_over());
  EXPECT_EQ(kernel_.calls.back(), "leave");
}

TEST_F(HandingOverTest, OneThatServesTooLateIsToldSoAndItsRecordGoes) {
  HandingOver desk(*device_);
  DeviceRecord record = device_->record();
  record.pid = successor_.mark().pid;
  ASSERT_TRUE(write_record(record));
  EXPECT_EQ(error_of(say(desk, "commit_handover")), EINVAL);
  EXPECT_EQ(read_record(device_->id())->pid, getpid());
}

// A driver that refuses to resume the device while requests are in flight.
TEST_F(HandingOverTest, RequestsThatDoNotEndKeepTheDeviceFromEverybody) {
  HandingOver desk(*device_, {.pause = milliseconds(0)});
  begin(desk);
  const auto answer = say(desk, "hand_over");
  kernel_.resume_error = Error{EBUSY, "not before they have ended"};
  usleep(2000);
  EXPECT_TRUE(desk.look());
  EXPECT_EQ(error_of(answer), ETIMEDOUT);
  EXPECT_TRUE(desk.is_refused());
  EXPECT_TRUE(desk.look());
  EXPECT_TRUE(desk.is_refused());
  kernel_.resume_error.reset();
  kernel_.paused = true;
  EXPECT_TRUE(desk.look());
  EXPECT_FALSE(desk.busy());
  EXPECT_EQ(kernel_.calls.back(), "resume");
}

TEST_F(HandingOverTest, OneThatCannotBeServedAgainIsAnError) {
  HandingOver desk(*device_);
  hand_over(desk);
  kernel_.resume_error = Error{EIO, "the kernel has lost it"};
  EXPECT_EQ(error_of(say(desk, "take_back")), EIO);
  EXPECT_EQ(desk.look().error().error, EIO);
}

TEST_F(HandingOverTest, OnlyWhatTheKernelKeepsCanBeWithoutAServer) {
  HandingOver desk(*device_);
  const auto answer = say(desk, "quiesce");
  ASSERT_EQ(error_of(answer), EOPNOTSUPP);
  EXPECT_NE((**answer).error().text.find("only ublk devices can"), std::string::npos);
  EXPECT_FALSE(desk.busy());
}

// Servers of the first release send only {"command": "hand_over", "pid": ...}.
TEST_F(HandingOverTest, AServerThatTakesNoFilesIsRefused) {
  HandingOver desk(*device_);
  const auto answer = say(desk, "hand_over", {{"command", "hand_over"}, {"pid", getpid()}});
  ASSERT_EQ(error_of(answer), EINVAL);
  EXPECT_NE((**answer).error().text.find("of an older sluice"), std::string::npos);
  EXPECT_TRUE(kernel_.calls.empty());
}

}  // namespace
}  // namespace sluice::test
