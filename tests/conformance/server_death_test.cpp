// The server of a ublk device is killed with a request in its hands, whose pages are lent to an
// operation (S123, P-15).
#include <gmock/gmock.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <csignal>
#include <future>
#include <thread>

#include "conformance/scene.hpp"
#include "frontend/session.hpp"
#include "frontend/ublk/device.hpp"
#include "ring/ring.hpp"
#include "unit/ring/descriptors.hpp"

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

constexpr uint32_t kBytes = 128 * 1024;
constexpr uint32_t kBegun = 4096;  // bytes that come before the server dies
constexpr uint64_t kParkedFrom = 1 << 20;

// Fills reads from a socket from which too little comes; what is in front of these is zeroes.
class Parks final : public Target {
 public:
  Parks(const Descriptor& socket, const Descriptor& told)
      : socket_(as_file(socket)), told_(told.number()) {
    geometry_.size_bytes = 16 << 20;
  }

 private:
  Task do_submit(Request& request) override {
    if (request.op != Op::read) co_return Status::from_errno(EOPNOTSUPP);
    if (request.offset < kParkedFrom) {
      auto zeroing = request.ring->zero(request.data);
      co_return co_await zeroing;
    }
    auto receiving = request.ring->recv(socket_, request.data);
    const uint32_t parked = 1;
    EXPECT_EQ(::write(told_, &parked, sizeof(parked)), ssize_t{sizeof(parked)});
    co_return co_await receiving;
  }

  const File socket_;
  const int told_;
};

// The server, in a process of its own. It tells the number of its device, and then when it has a
// request.
class Victim {
 public:
  explicit Victim(ublk::BufferMode mode) : child_(fork()) {
    if (child_ == 0) serve(mode);
    told_.far = {};
    sockets_.near = {};
  }
  ~Victim() {
    kill();
    auto control = ublk::Control::open();
    EXPECT_TRUE(control && (*control)->remove(id_, true));
  }
  Victim(const Victim&) = delete;
  Victim& operator=(const Victim&) = delete;

  // False: there is no device.
  bool is_there() {
    id_ = told();
    return id_ != ublk::kAnyId;
  }
  std::string path() const { return ublk::block_device_path(id_); }
  bool has_request() { return told() == 1; }
  void kill() {
    if (child_ < 0) return;
    ::kill(child_, SIGKILL);
    waitpid(std::exchange(child_, -1), nullptr, 0);
  }
  const Descriptor& socket() const { return sockets_.far; }

 private:
  [[noreturn]] void serve(ublk::BufferMode mode) {
    Stack stack(std::make_unique<Parks>(sockets_.near, told_.far));
    ublk::DeviceOptions options;
    options.depth = 8;
    options.mode_options.named = mode;
    auto device = ublk::UblkDevice::add(stack, options);
    auto session = device ? Session<ublk::UblkDevice>::start(std::move(*device))
                          : std::unexpected(device.error());
    const bool serves = session.has_value();
    const uint32_t id = serves ? (*session)->frontend().id() : ublk::kAnyId;
    if (::write(told_.far.number(), &id, sizeof(id)) != sizeof(id) || !serves) _exit(1);
    while (true) pause();
  }

  uint32_t told() {
    uint32_t what = ublk::kAnyId;
    const ssize_t count = ::read(told_.near.number(), &what, sizeof(what));
    return count == sizeof(what) ? what : ublk::kAnyId;
  }

  Pair told_ = pipe_ends();
  Pair sockets_ = stream_sockets();
  uint32_t id_ = ublk::kAnyId;
  pid_t child_;
};

// Of what was sent into this end of a pair.
int unread(const Descriptor& socket) {
  int bytes = -1;
  EXPECT_EQ(ioctl(socket.number(), SIOCOUTQ, &bytes), 0);
  return bytes;
}

class ServerDeath : public testing::TestWithParam<Kind> {};

TEST_P(ServerDeath, S123_P15_ItsRequestsFailAndTheirPagesAreNotFilledAfterwards) {
  const Client client;
  Victim server(GetParam() == Kind::ublk ? ublk::BufferMode::auto_register
                                         : ublk::BufferMode::register_buf);
  ASSERT_TRUE(server.is_there());
  const auto memory = client.memory(kBytes);
  std::ranges::fill(memory, std::byte{0xee});
  auto reading = std::async(std::launch::async,
                            [&] { return client.read(server.path(), kParkedFrom, kBytes); });
  EXPECT_TRUE(server.has_request());
  const auto data = patterned(kBytes);
  ASSERT_EQ(::send(server.socket().number(), data.data(), kBegun, 0), kBegun);
  while (unread(server.socket()) != 0) std::this_thread::sleep_for(1ms);
  server.kill();
  EXPECT_EQ(reading.get(), EIO);
  EXPECT_LT(::send(server.socket().number(), data.data(), kBytes, MSG_NOSIGNAL | MSG_DONTWAIT), 0)
      << "nobody is there to receive it";
  EXPECT_THAT(memory.subspan(kBegun), testing::Each(std::byte{0xee}));
}

std::vector<Kind> ublk_kinds() {
  std::vector<Kind> kinds = kinds_here();
  std::erase_if(kinds, [](Kind kind) { return kind != Kind::ublk && kind != Kind::ublk_by_hand; });
  return kinds;
}

// On this machine there may be no driver.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ServerDeath);
INSTANTIATE_TEST_SUITE_P(Providers, ServerDeath, testing::ValuesIn(ublk_kinds()),
                         [](const auto& kind) { return to_string(kind.param); });

}  // namespace
}  // namespace sluice::test
