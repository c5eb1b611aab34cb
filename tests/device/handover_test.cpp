// A device is handed from one server process to the next, and back if the next one fails, while fio
// writes to it: no write is lost or fails. SLUICE_TEST_FULL=1: 20 times in each mode, instead of 6.
// seconds: 40
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>

#include "device/load.hpp"
#include "frontend/session.hpp"
#include "frontend/ublk/device.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kMiB = 1 << 20;

int cycles() {
  const char* const full = std::getenv("SLUICE_TEST_FULL");
  return full == nullptr || std::string(full) == "0" ? 6 : 20;
}

struct Plan {
  const char* name;
  std::string spec;
  ublk::BufferMode mode;
  ublk::Recovery recovery;
};

// The operations of a server process on the device, each returning an error text, or "".
class Server {
 public:
  explicit Server(const Plan& plan) : plan_(plan) {}

  // Adds the device, or adopts device `id`. Returns an error text; empty if the device is live.
  std::string attach(std::optional<uint32_t> id) {
    auto stack = open_stack(plan_.spec);
    if (!stack) return stack.error().text;
    stack_ = std::move(*stack);
    auto device = id ? ublk::UblkDevice::adopt(*stack_, *id, plan_.mode, std::nullopt)
                     : ublk::UblkDevice::add(*stack_, options());
    if (!device) return device.error().text;
    auto session = Session<ublk::UblkDevice>::start(std::move(*device));
    if (!session) return session.error().text;
    session_ = std::move(*session);
    return "";
  }

  // Lets go of the device for another process; with `resume` takes it back instead.
  std::string let_go(bool resume) {
    ublk::UblkDevice& device = session_->frontend();
    if (const auto paused = device.pause(); !paused) return paused.error().text;
    session_->wait_for_pause();
    if (const auto released = device.let_go(); !released) return released.error().text;
    if (resume) {
      const auto resumed = device.resume();
      return resumed ? "" : resumed.error().text;
    }
    device.leave();
    session_.reset();
    stack_.reset();
    return "";
  }

  std::string remove() {
    const auto ended = session_->end();
    return ended ? "" : ended.error().text;
  }

  uint32_t id() { return session_->frontend().id(); }

 private:
  ublk::DeviceOptions options() const {
    ublk::DeviceOptions options;
    options.queues = 2;
    options.depth = 32;
    options.recovery = plan_.recovery;
    options.mode_options.named = plan_.mode;
    return options;
  }

  const Plan& plan_;
  std::unique_ptr<Stack> stack_;
  std::unique_ptr<Session<ublk::UblkDevice>> session_;
};

// A Server in a process of its own.
class Process {
 public:
  explicit Process(const Plan& plan) {
    std::array<int, 2> ends{};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    child_ = fork();
    socket_ = ends[child_ == 0 ? 1 : 0];
    close(ends[child_ == 0 ? 0 : 1]);
    if (child_ == 0) _exit(answer(plan));
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  // Processes forked later also have our end of the socket open, so the child would not notice that
  // it is closed here.
  ~Process() {
    send(socket_, "end", 3, MSG_NOSIGNAL);
    close(socket_);
    waitpid(child_, nullptr, 0);
  }

  // Returns an error text, or "ok" and the id of the device.
  std::string ask(const std::string& question) const {
    std::array<char, 512> text{};
    if (send(socket_, question.data(), question.size(), MSG_NOSIGNAL) < 0) return "gone";
    const ssize_t length = recv(socket_, text.data(), text.size(), 0);
    return length <= 0 ? "gone" : std::string(text.data(), static_cast<size_t>(length));
  }

 private:
  int answer(const Plan& plan) const {
    Server server(plan);
    std::array<char, 64> text{};
    ssize_t length = 0;
    while ((length = recv(socket_, text.data(), text.size(), 0)) > 0) {
      const std::string order(text.data(), static_cast<size_t>(length));
      if (order == "end") break;
      const std::string said = obey(server, order);
      send(socket_, said.data(), said.size(), MSG_NOSIGNAL);
    }
    return 0;
  }

  static std::string obey(Server& server, const std::string& order) {
    if (order == "let go") return "ok" + server.let_go(false);
    if (order == "let go and resume") return "ok" + server.let_go(true);
    if (order == "remove") return "ok" + server.remove();
    const bool takes_over = order.starts_with("recover ");
    const std::string wrong = server.attach(
        takes_over ? std::optional<uint32_t>(std::stoul(order.substr(8))) : std::nullopt);
    return wrong.empty() ? fmt::format("ok{}", server.id()) : wrong;
  }

  pid_t child_ = -1;
  int socket_ = -1;
};

class HandoverTest : public testing::TestWithParam<Plan> {
 protected:
  Plan plan() const {
    Plan plan = GetParam();
    plan.spec = fmt::format(fmt::runtime(plan.spec), fmt::arg("one", dir_.file("one", 64 * kMiB)),
                            fmt::arg("two", dir_.file("two", 64 * kMiB)));
    return plan;
  }

  const TempDir dir_;
  Load load_{dir_.path("fio.log")};
};

TEST_P(HandoverTest, NothingIsLostAndNothingFails) {
  const Plan plan = this->plan();
  auto server = std::make_unique<Process>(plan);
  const std::string added = server->ask("add");
  ASSERT_TRUE(added.starts_with("ok")) << added;
  const std::string id = added.substr(2);
  load_.start("/dev/ublkb" + id, 48 * kMiB);
  std::chrono::steady_clock::duration longest{};
  for (int cycle = 0; cycle < cycles(); ++cycle) {
    const auto began = std::chrono::steady_clock::now();
    if (cycle % 5 == 4) {  // no successor: the same process takes the device back
      ASSERT_EQ(server->ask("let go and resume"), "ok") << cycle;
    } else {
      ASSERT_EQ(server->ask("let go"), "ok") << cycle;
      auto next = std::make_unique<Process>(plan);
      ASSERT_EQ(next->ask("recover " + id), "ok" + id) << cycle;
      server = std::move(next);
    }
    longest = std::max(longest, std::chrono::steady_clock::now() - began);
    load_.expect_progress();
  }
  EXPECT_EQ(load_.finish(), "");
  EXPECT_EQ(server->ask("remove"), "ok");
  fmt::print("longest handover: {} ms\n",
             std::chrono::duration_cast<std::chrono::milliseconds>(longest).count());
}

using ublk::BufferMode;
using ublk::Recovery;

TEST(Handover, IsRefusedWhereNobodyCouldTakeOver) {
  const auto stack = open_stack("mem:16M").value();
  const auto session =
      Session<ublk::UblkDevice>::start(ublk::UblkDevice::add(*stack, {}).value()).value();
  const auto refused = session->frontend().check_handover();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().text.find("added without recovery (-r 1)"), std::string::npos);
  EXPECT_TRUE(session->end());
}

INSTANTIATE_TEST_SUITE_P(
    All, HandoverTest,
    testing::Values(Plan{"loop", "file:{one}", BufferMode::auto_register, Recovery::wait},
                    Plan{"stripe", "stripe({one}, {two}, chunk=16k)", BufferMode::auto_register,
                         Recovery::reissue},
                    Plan{"by_hand", "file:{one}", BufferMode::register_buf, Recovery::wait},
                    Plan{"user_copy", "file:{one}", BufferMode::user_copy, Recovery::wait},
                    Plan{"get_data", "file:{one}", BufferMode::get_data, Recovery::wait},
                    Plan{"copy", "file:{one}", BufferMode::copy, Recovery::wait}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace sluice::test
