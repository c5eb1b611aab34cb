#include "bench/held_requests.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "bench/column.hpp"
#include "core/buffer.hpp"
#include "ring/ring.hpp"

namespace sluice::bench {
namespace {

constexpr std::chrono::seconds kTimeout{10};

// Runs in a forked process: must not use locks or objects of other threads. One write, which the
// block layer splits into requests of the device's size.
[[noreturn]] void write_when_told(int pipe, std::span<const std::byte> bytes) {
  uint32_t id = 0;
  std::array<char, 32> path{};
  if (read(pipe, &id, sizeof(id)) != sizeof(id)) _exit(0);  // the parent has given up
  static_cast<void>(snprintf(path.data(), path.size(), "/dev/ublkb%u", id));
  const int device = open(path.data(), O_WRONLY | O_DIRECT);
  _exit(pwrite(device, bytes.data(), bytes.size(), 0) < 0 ? 1 : 0);
}

}  // namespace

// Answers the kernel's initial reads of a new device, and holds all writes until let_go().
class HeldRequests::Holder final : public Target {
 public:
  Holder() { geometry_.size_bytes = 64 << 20; }

  // Any thread, like let_go().
  size_t held() const {
    const std::scoped_lock guard(mutex_);
    return held_.size();
  }
  void let_go() {
    const std::scoped_lock guard(mutex_);
    open_ = true;
    for (Wait* const wait : std::exchange(held_, {})) wait->request.ring->post(*wait);
  }

 private:
  struct Wait final : public Message {
    Wait(Holder& in, Request& of) : holder(in), request(of) {}
    bool await_ready() const { return false; }
    bool await_suspend(std::coroutine_handle<> waiting) {
      coroutine = waiting;
      const std::scoped_lock guard(holder.mutex_);
      if (!holder.open_) holder.held_.push_back(this);
      return !holder.open_;
    }
    void await_resume() const {}
    void run() override { request.ready->push(coroutine); }

    Holder& holder;
    Request& request;
    std::coroutine_handle<> coroutine;
  };

  Task do_submit(Request& request) override {
    if (request.op == Op::read) return read(request);
    return request.op == Op::write ? hold(request) : Task(kOk);
  }
  Task read(Request& request) {
    auto clearing = request.ring->zero(request.data);
    co_return co_await clearing;
  }
  Task hold(Request& request) {
    Wait wait(*this, request);
    co_await wait;
    co_return kOk;
  }

  mutable std::mutex mutex_;
  std::vector<Wait*> held_;
  bool open_ = false;
};

Result<std::unique_ptr<HeldRequests>> HeldRequests::open(uint16_t count) {
  std::unique_ptr<HeldRequests> held(new HeldRequests);
  // The writer starts first, so that it inherits nothing of the device.
  if (auto started = held->start_writer(count); !started) return std::unexpected(started.error());
  auto device = ublk::UblkDevice::add(held->stack_,
                                      {.depth = count,
                                       .max_io_bytes = kIoBytes,
                                       .mode_options = {.named = ublk::BufferMode::auto_register}});
  if (!device) return std::unexpected(device.error());
  if (((*device)->info().flags & ublk::abi::kBufRegOffDaemon) == 0) {
    return fail(EOPNOTSUPP,
                "this kernel's ublk lends the pages of requests to their server's ring only: "
                "--ublk needs Linux 6.16 or newer");
  }
  auto session = Session<ublk::UblkDevice>::start(std::move(*device));
  if (!session) return std::unexpected(session.error());
  held->session_ = std::move(*session);
  if (auto filled = held->fill(count); !filled) return std::unexpected(filled.error());
  return held;
}

HeldRequests::HeldRequests() : stack_(std::make_unique<Holder>()) {
  holder_ = static_cast<Holder*>(&stack_.root());
}

Result<void> HeldRequests::start_writer(uint16_t count) {
  const Buffer memory(size_t{count} * kIoBytes);
  int pipe[2];
  if (pipe2(pipe, O_CLOEXEC) != 0) {
    return fail(errno, fmt::format("cannot make a pipe: {}", std::strerror(errno)));
  }
  const Descriptor reads(pipe[0]);
  writers_pipe_ = Descriptor(pipe[1]);
  writer_ = fork();
  if (writer_ == 0) {
    close(pipe[1]);
    write_when_told(pipe[0], memory.bytes());
  }
  if (writer_ > 0) return {};
  return fail(errno, fmt::format("cannot start a process: {}", std::strerror(errno)));
}

Result<void> HeldRequests::fill(uint16_t count) {
  const uint32_t id = session_->frontend().id();
  const auto give_up = std::chrono::steady_clock::now() + kTimeout;
  bool told = write(writers_pipe_.number(), &id, sizeof(id)) == sizeof(id);
  while (told && holder_->held() < count) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    told = std::chrono::steady_clock::now() < give_up;
  }
  if (told) return {};
  return fail(ETIMEDOUT, fmt::format("{} delivered only {} of {} requests",
                                     session_->frontend().path(), holder_->held(), count));
}

HeldRequests::~HeldRequests() {
  writers_pipe_ = Descriptor();
  holder_->let_go();
  if (writer_ > 0) waitpid(writer_, nullptr, 0);
  if (!session_) return;
  [[maybe_unused]] const auto ended = session_->end();
}

}  // namespace sluice::bench
