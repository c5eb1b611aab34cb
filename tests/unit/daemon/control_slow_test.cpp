// Only its own client waits for a command that takes long, and not for ever.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <future>
#include <mutex>
#include <thread>

#include "daemon/ask.hpp"
#include "daemon/control_socket.hpp"
#include "daemon/socket_address.hpp"

namespace sluice {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kShort{100};

// The answers of commands that the test has not completed yet.
class Owed {
 public:
  void add(ControlAnswer answer) {
    const std::scoped_lock guard(mutex_);
    answers_.push_back(std::move(answer));
    came_.notify_all();
  }
  ControlAnswer next() {
    std::unique_lock guard(mutex_);
    came_.wait(guard, [&] { return !answers_.empty(); });
    ControlAnswer first = std::move(answers_.front());
    answers_.erase(answers_.begin());
    return first;
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<ControlAnswer> answers_;
};

class ControlSlowTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "sluice-slow-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path_ = directory_ + "/socket";
  }
  void TearDown() override {
    socket_.reset();
    std::filesystem::remove_all(directory_);
  }

  void open(const ControlLimits& limits = {}) {
    ControlCommands commands;
    commands.add("look",
                 [](const JsonValue&) -> Result<JsonValue> { return JsonValue{{"seen", true}}; });
    const auto owe = [this](const JsonValue&, auto&&, ControlAnswer&& answer) {
      owed_.add(std::move(answer));
    };
    commands.add_slow("change", owe);
    commands.add_slow("brief", owe, kShort);
    commands.add_slow("forget", [](const JsonValue&, auto&&, ControlAnswer&& answer) {
      const ControlAnswer dropped = std::move(answer);
    });
    commands.add_slow("needs", [](const JsonValue& request, auto&&, ControlAnswer&& answer) {
      answer(ControlReply{.body = {{"got", request.at("argument")}}, .descriptors = {}});
    });
    auto opened = ControlSocket::open(path_, std::move(commands), limits);
    ASSERT_TRUE(opened) << opened.error().text;
    socket_ = std::move(*opened);
  }

  std::future<Result<ControlReply>> ask_for(const std::string& command) {
    return std::async(std::launch::async,
                      [this, command] { return ask_at(path_, {{"command", command}}); });
  }

  Descriptor connect_and_say(std::string_view text) const {
    const auto address = SocketAddress::make(path_);
    Descriptor client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(client.number(), address->get(), SocketAddress::size()), 0);
    EXPECT_EQ(send(client.number(), text.data(), text.size(), 0),
              static_cast<ssize_t>(text.size()));
    return client;
  }

  void expect_looks() const {
    const auto reply = ask_at(path_, {{"command", "look"}}, milliseconds(5'000));
    ASSERT_TRUE(reply) << reply.error().text;
  }

  static Result<ControlReply> done() {
    return ControlReply{.body = {{"done", true}}, .descriptors = {}};
  }

  std::string directory_;
  std::string path_;
  Owed owed_;
  std::unique_ptr<ControlSocket> socket_;
};

TEST_F(ControlSlowTest, OthersAreAnsweredMeanwhile) {
  open();
  auto asked = ask_for("change");
  ControlAnswer answer = owed_.next();
  expect_looks();
  EXPECT_TRUE(answer.begin());
  expect_looks();
  answer(done());
  const auto reply = asked.get();
  ASSERT_TRUE(reply) << reply.error().text;
  EXPECT_TRUE(reply->body.at("done").get<bool>());
  expect_looks();
}

TEST_F(ControlSlowTest, AnswersComeInTheOrderOfTheRequests) {
  open();
  const Descriptor client =
      connect_and_say("{\"command\":\"change\"}\n{\"command\":\"look\"}\nrubbish\n");
  shutdown(client.number(), SHUT_WR);  // the client can still receive
  ControlAnswer answer = owed_.next();
  std::thread([&] { answer(done()); }).join();
  std::string text;
  char byte = 0;
  while (recv(client.number(), &byte, 1, 0) == 1) text.push_back(byte);
  EXPECT_LT(text.find("done"), text.find("seen"));
  EXPECT_LT(text.find("seen"), text.find("errno"));
}

TEST_F(ControlSlowTest, OneThatIsDroppedIsAnError) {
  open();
  const auto reply = ask_for("forget").get();
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().error, ECANCELED);
}

TEST_F(ControlSlowTest, AnExceptionIsAnError) {
  open();
  const auto reply = ask_for("needs").get();
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().error, EINVAL);
  EXPECT_NE(reply.error().text.find("'needs'"), std::string::npos);
}

TEST_F(ControlSlowTest, ItIsWaitedForUntilItsLimitAndThenNotBegun) {
  open();
  auto asked = ask_for("brief");
  ControlAnswer answer = owed_.next();
  const auto reply = asked.get();
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().error, ETIMEDOUT);
  EXPECT_NE(reply.error().text.find("has not started"), std::string::npos);
  EXPECT_FALSE(answer.begin()) << "nothing is done that was said not to be done";
  answer(done());
  expect_looks();
}

TEST_F(ControlSlowTest, OneThatHasBegunIsSaidToBeUnderWay) {
  open();
  auto asked = ask_for("brief");
  ControlAnswer answer = owed_.next();
  EXPECT_TRUE(answer.begin());
  const auto reply = asked.get();
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().error, ETIMEDOUT);
  EXPECT_NE(reply.error().text.find("has started"), std::string::npos);
}

TEST_F(ControlSlowTest, OfAClientThatHasGoneNothingIsBegun) {
  open();
  {
    const Descriptor client = connect_and_say("{\"command\":\"change\"}\n");
  }
  ControlAnswer answer = owed_.next();
  expect_looks();  // after the end of the client was seen
  expect_looks();
  EXPECT_FALSE(answer.begin());
}

TEST_F(ControlSlowTest, MoreThanItTakesAreToldThatItIsBusy) {
  open({.clients = 4, .waiting = 2});
  auto first = ask_for("change");
  ControlAnswer one = owed_.next();
  auto second = ask_for("change");
  ControlAnswer two = owed_.next();
  const auto third = ask_for("change").get();
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().error, EBUSY);
  EXPECT_FALSE(owed_.next().begin());
  expect_looks();
  one(done());
  two(done());
  EXPECT_TRUE(first.get());
  EXPECT_TRUE(second.get());
}

TEST_F(ControlSlowTest, AnAnswerGivenBeforeTheEndArrives) {
  open();
  for (int i = 0; i < 20; ++i) {
    auto asked = ask_for("change");
    ControlAnswer answer = owed_.next();
    answer(done());
    socket_.reset();
    EXPECT_TRUE(asked.get());
    open();
  }
}

TEST_F(ControlSlowTest, AfterTheEndAnswersGoNowhere) {
  open();
  auto asked = ask_for("change");
  auto dropped = ask_for("change");
  ControlAnswer answer = owed_.next();
  {
    const ControlAnswer never = owed_.next();
    socket_.reset();
    EXPECT_EQ(asked.get().error().error, EPIPE);
    EXPECT_EQ(dropped.get().error().error, EPIPE);
  }
  EXPECT_FALSE(answer.begin());
  answer(done());
}

TEST_F(ControlSlowTest, SilentClientsMakeRoom) {
  open({.clients = 4});
  std::vector<Descriptor> clients;
  for (int i = 0; i < 60; ++i) clients.push_back(connect_and_say(i % 2 == 0 ? "" : "{\"comm"));
  expect_looks();
}

TEST_F(ControlSlowTest, OneThatWaitsIsNotSilent) {
  open({.clients = 2, .silence = kShort});
  auto asked = ask_for("change");
  ControlAnswer answer = owed_.next();
  std::vector<Descriptor> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(connect_and_say(""));
  std::this_thread::sleep_for(3 * kShort);
  answer(done());
  EXPECT_TRUE(asked.get());
}

}  // namespace
}  // namespace sluice
