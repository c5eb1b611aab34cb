// A control socket answers authorised clients, whatever other clients do.
#include "daemon/control_socket.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "daemon/ask.hpp"
#include "daemon/control_request.hpp"
#include "daemon/socket_address.hpp"

namespace sluice {
namespace {

using std::chrono::milliseconds;

class ControlSocketTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "sluice-control-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path_ = directory_ + "/ublk-0.sock";
  }
  void TearDown() override {
    socket_.reset();
    EXPECT_TRUE(std::filesystem::is_empty(directory_)) << "the socket is removed";
    std::filesystem::remove_all(directory_);
  }

  void open(const ControlLimits& limits = {}) {
    ControlCommands commands;
    commands.add("echo", [](const JsonValue& request) -> Result<JsonValue> {
      return JsonValue{{"said", request.at("say")}};
    });
    commands.add("large", [](const JsonValue& request) -> Result<JsonValue> {
      return JsonValue{{"text", std::string(request.at("bytes").get<size_t>(), 'x')}};
    });
    commands.add("fails",
                 [](const JsonValue&) -> Result<JsonValue> { return fail(ENOSPC, "no room"); });
    commands.add_passing("file", [](const JsonValue&) -> Result<ControlReply> {
      ControlReply reply;
      reply.descriptors.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      reply.descriptors.emplace_back(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
      return reply;
    });
    auto opened = ControlSocket::open(path_, std::move(commands), limits);
    ASSERT_TRUE(opened) << opened.error().text;
    socket_ = std::move(*opened);
  }

  Descriptor connect() const {
    const auto address = SocketAddress::make(path_);
    Descriptor client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(client.number(), address->get(), SocketAddress::size()), 0);
    const timeval timeout{.tv_sec = 20, .tv_usec = 0};
    setsockopt(client.number(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    return client;
  }

  void send_text(const Descriptor& client, std::string_view text) const {
    while (!text.empty()) {
      const ssize_t count = send(client.number(), text.data(), text.size(), MSG_NOSIGNAL);
      if (count < 0) return;  // the server has closed the connection
      text.remove_prefix(static_cast<size_t>(count));
    }
  }

  // Receives until the server closes the connection.
  std::string receive_all(const Descriptor& client) const {
    std::string text;
    char bytes[4096];
    ssize_t count = 0;
    while ((count = recv(client.number(), bytes, sizeof(bytes), 0)) > 0) {
      text.append(bytes, static_cast<size_t>(count));
    }
    return text;
  }

  void expect_answers() const {
    const auto reply = ask_at(path_, {{"command", "echo"}, {"say", "well"}});
    ASSERT_TRUE(reply) << reply.error().text;
    EXPECT_EQ(reply->body.at("said").get<std::string>(), "well");
  }

  std::string directory_;
  std::string path_;
  std::unique_ptr<ControlSocket> socket_;
};

TEST_F(ControlSocketTest, AnswersAndFailsAsItsCommandsSay) {
  open();
  expect_answers();
  const auto failed = ask_at(path_, {{"command", "fails"}});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().error, ENOSPC);
  EXPECT_EQ(failed.error().text, "no room");
  const auto missing = ask_at(path_, {{"command", "echo"}});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().error, EINVAL);
  const auto unknown = ask_at(path_, {{"command", "dance"}});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().error, ENOSYS);
  EXPECT_NE(unknown.error().text.find("'dance'"), std::string::npos);
}

TEST_F(ControlSocketTest, SeveralRequestsOnOneConnectionAreAnsweredInOrder) {
  open();
  const Descriptor client = connect();
  send_text(client,
            "{\"command\":\"echo\",\"say\":1}\n{\"command\":\"echo\",\"say\":2}\nrubbish\n");
  shutdown(client.number(), SHUT_WR);
  const std::string text = receive_all(client);
  EXPECT_LT(text.find("\"said\":1"), text.find("\"said\":2"));
  EXPECT_LT(text.find("\"said\":2"), text.find("\"errno\":22"));
}

// A server whose descriptors are all in use can still be told to end.
TEST_F(ControlSocketTest, AnswersWithoutAnyDescriptorLeft) {
  open();
  const auto address = SocketAddress::make(path_);
  std::vector<Descriptor> clients;
  for (int i = 0; i < 3; ++i) clients.emplace_back(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit few{.rlim_cur = 100, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &few);
  std::vector<Descriptor> all;
  while (all.empty() || all.back().valid()) all.emplace_back(dup(clients[0].number()));
  for (Descriptor& client : clients) {
    ASSERT_EQ(::connect(client.number(), address->get(), SocketAddress::size()), 0);
    send_text(client, "{\"command\":\"echo\",\"say\":1}\n");
    shutdown(client.number(), SHUT_WR);
    EXPECT_NE(receive_all(client).find("\"said\":1"), std::string::npos);
    client = Descriptor();
  }
  all.clear();
  setrlimit(RLIMIT_NOFILE, &before);
}

TEST_F(ControlSocketTest, LargeRepliesArriveWhole) {
  open();
  const auto reply = ask_at(path_, {{"command", "large"}, {"bytes", 20 << 20}});
  ASSERT_TRUE(reply) << reply.error().text;
  EXPECT_EQ(reply->body.at("text").get<std::string>().size(), size_t{20 << 20});
}

TEST_F(ControlSocketTest, DescriptorsComeWithAReply) {
  open();
  const auto reply = ask_at(path_, {{"command", "file"}});
  ASSERT_TRUE(reply) << reply.error().text;
  ASSERT_EQ(reply->descriptors.size(), 2U);
  char byte = 'x';
  EXPECT_EQ(read(reply->descriptors[0].number(), &byte, 1), 0);
  EXPECT_EQ(read(reply->descriptors[1].number(), &byte, 1), 1);
  EXPECT_EQ(byte, 0);
}

TEST_F(ControlSocketTest, ALineThatDoesNotEndIsRefused) {
  open();
  const Descriptor client = connect();
  send_text(client, std::string(4 * kMaxControlRequestBytes, 'x'));
  EXPECT_NE(receive_all(client).find("a request has at most"), std::string::npos);
  expect_answers();
}

TEST_F(ControlSocketTest, GarbageDoesNoHarm) {
  open();
  for (const std::string_view text :
       {std::string_view("\0\0\0\n", 4), std::string_view("\n\n\n"),
        std::string_view("GET / HTTP/1.0\r\n\r\n"), std::string_view("{\"command\":\"ec")}) {
    send_text(connect(), text);
  }
  expect_answers();
}

TEST_F(ControlSocketTest, SilentClientsAreClosed) {
  open({.clients = 4, .silence = milliseconds(100)});
  const Descriptor silent = connect();
  const Descriptor half = connect();
  send_text(half, "{\"command\":");
  EXPECT_EQ(receive_all(silent), "");
  EXPECT_EQ(receive_all(half), "");
}

TEST_F(ControlSocketTest, AClientThatDoesNotReadIsClosedAndHoldsUpNobody) {
  open({.clients = 4, .silence = milliseconds(300)});
  const Descriptor client = connect();
  send_text(client, "{\"command\":\"large\",\"bytes\":9000000}\n");
  expect_answers();
  pollfd file{.fd = client.number(), .events = 0, .revents = 0};
  EXPECT_EQ(poll(&file, 1, 20'000), 1) << "it is hung up on";
}

TEST_F(ControlSocketTest, MoreClientsThanItTakesWaitTheirTurn) {
  open({.clients = 2, .silence = milliseconds(100)});
  std::vector<Descriptor> clients;
  for (int i = 0; i < 8; ++i) clients.push_back(connect());
  expect_answers();
}

TEST_F(ControlSocketTest, WithoutDescriptorsItServesThoseItHasAndTakesNobody) {
  open();
  const Descriptor early = connect();
  char byte = 0;
  send_text(early, "{\"command\":\"echo\",\"say\":1}\n");
  ASSERT_EQ(recv(early.number(), &byte, 1, 0), 1) << "it is taken";
  const Descriptor late = connect();  // a descriptor for it is taken first, or cannot be had
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{.rlim_cur = 1, .rlim_max = before.rlim_max};
  const Descriptor later(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto address = SocketAddress::make(path_);
  setrlimit(RLIMIT_NOFILE, &none);
  EXPECT_EQ(::connect(later.number(), address->get(), SocketAddress::size()), 0);
  setrlimit(RLIMIT_NOFILE, &before);
  for (const Descriptor* each : {&early, &late, &later}) {
    send_text(*each, "{\"command\":\"echo\",\"say\":1}\n");
    EXPECT_EQ(recv(each->number(), &byte, 1, 0), 1);
  }
}

TEST_F(ControlSocketTest, AnotherUserIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can ask as another user";
  open();
  struct stat status{};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  // As if the permissions of the socket file had been changed.
  ASSERT_EQ(chmod(directory_.c_str(), 0755), 0);
  ASSERT_EQ(chmod(path_.c_str(), 0666), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (setgid(65534) != 0 || setuid(65534) != 0) _exit(2);
    const auto reply = ask_at(path_, {{"command", "echo"}, {"say", "well"}});
    _exit(!reply && reply.error().error == EACCES && reply.error().text.starts_with("only root")
              ? 0
              : 1);
  }
  int ended = 0;
  ASSERT_EQ(waitpid(child, &ended, 0), child);
  EXPECT_EQ(WEXITSTATUS(ended), 0);
  expect_answers();
}

TEST_F(ControlSocketTest, TakesThePlaceOfAnotherWhichLeavesItAlone) {
  open();
  const std::unique_ptr<ControlSocket> old = std::move(socket_);
  open();
  expect_answers();
}

TEST_F(ControlSocketTest, APathCanBeLong) {
  const std::string longer = directory_ + "/" + std::string(150, 'd');
  std::filesystem::create_directory(longer);
  path_ = longer + "/ublk-0.sock";
  open();
  expect_answers();
  socket_.reset();
  EXPECT_TRUE(std::filesystem::is_empty(longer));
  std::filesystem::remove(longer);
}

TEST_F(ControlSocketTest, AServerThatDoesNotAnswerIsNotWaitedForLongerThanTheLimit) {
  const auto address = SocketAddress::make(path_);
  const Descriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(listener.number(), address->get(), SocketAddress::size()), 0);
  ASSERT_EQ(listen(listener.number(), 1), 0);
  const auto reply = ask_at(path_, {{"command", "stat"}}, milliseconds(50));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().error, ETIMEDOUT);
  unlink(path_.c_str());
}

TEST_F(ControlSocketTest, NobodyThereIsSaidSo) {
  const auto reply = ask_at(path_, {{"command", "stat"}});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().error, ENOENT);
}

}  // namespace
}  // namespace sluice
