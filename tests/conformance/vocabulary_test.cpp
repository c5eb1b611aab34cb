// The vocabulary that all interfaces share (S1 to S7), and the door through which every loan by
// name goes.
#include <chrono>
#include <thread>

#include "conformance/scene.hpp"
#include "core/gather.hpp"
#include "lend/consumer.hpp"
#include "unit/core/lent.hpp"

namespace sluice::test {
namespace {

constexpr uint32_t kBytes = 128 * 1024;

// What serves a request from a file, or a part of it.
lend::Consumer on(const Request& request, File file, uint64_t offset) {
  if (request.op == Op::read) return lend::Read{.file = file, .offset = offset};
  return lend::Write{.file = file, .offset = offset};
}

TEST(Rules, S2_APositionIsOneNumber) {
  const lend::Position at{.queue = 3, .tag = 0x0a5, .offset = 0x1234};
  EXPECT_EQ(at.pack(), (3ULL << 41) | (0x0a5ULL << 25) | 0x1234);
  EXPECT_EQ(at.pack_2022(), (3ULL << 42) | (0x0a5ULL << 30) | 0x1234);
  EXPECT_EQ(lend::Position::unpack(at.pack()), at);
  EXPECT_EQ(lend::Position::unpack_2022(at.pack_2022()), at);
  const lend::Position last{.queue = 4095, .tag = 4095, .offset = (1U << 25) - 1};
  EXPECT_EQ(lend::Position::unpack(last.pack()), last);
  EXPECT_EQ(lend::Position::unpack_2022(last.pack_2022()), last);
}

// A request of queue 1, tag 3, whose 4096 bytes are lent.
struct OneWrite {
  OneWrite() {
    request.op = Op::write;
    request.queue = 1;
    request.tag = 3;
    request.data = lent.loan.view();
  }
  std::vector<std::byte> memory = std::vector<std::byte>(4096);
  Lent lent{Direction::source, memory};
  Request request;
};

// Else it would be the name of another request's bytes.
TEST(Rules, S2_P5_P6_E_WhatHasNoRoomInTheNumberNamesNothing) {
  lend::Provider provider(2, 8);
  OneWrite write;
  Request& request = write.request;
  provider.begin(request);
  const auto error_of = [&](uint64_t packed) {
    return provider.lend(lend::Position::unpack(packed), 512).status().error();
  };
  const auto error_of_2022 = [&](uint64_t packed) {
    return provider.lend(lend::Position::unpack_2022(packed), 512).status().error();
  };
  const lend::Position right = lend::Provider::position(request);
  EXPECT_EQ(error_of(right.pack()), 0);
  EXPECT_EQ(error_of(right.pack() | (1ULL << 62)), EINVAL) << "integrity";
  EXPECT_EQ(error_of(right.pack() | (1ULL << 57)), EINVAL) << "a queue of more than 16 bits";
  EXPECT_EQ(error_of(lend::Position{.queue = 1, .tag = 2, .offset = 1U << 25}.pack()), EINVAL);
  EXPECT_EQ(error_of(lend::Position{.queue = 4097, .tag = 3}.pack()), EINVAL);
  EXPECT_EQ(error_of_2022(right.pack_2022()), 0);
  EXPECT_EQ(error_of_2022(right.pack_2022() | (1ULL << 58)), EINVAL);
  EXPECT_EQ(error_of_2022(lend::Position{.tag = 4096 + 3}.pack_2022()), EINVAL);
  EXPECT_EQ(error_of_2022(lend::Position{.queue = 1, .tag = 2, .offset = 1U << 30}.pack_2022()),
            EINVAL);
  provider.end(request);
}

// Moves the request's bytes to or from the same place of a file, by name.
class ByName : public Server {
 public:
  explicit ByName(const Descriptor& file) : file_(as_file(file)) {}

 private:
  Task serve(Request& request) override {
    const bool reads = request.op == Op::read;
    const auto at = lend::Provider::position(request);
    View lent = provider().lend(at, static_cast<uint32_t>(request.length),
                                reads ? Direction::destination : Direction::source);
    lend::Consumption moving(std::move(lent), on(request, file_, request.offset));
    Task running = moving.run(request);
    co_return co_await running;
  }

  File file_;
};

TEST_P(OnEachProvider, S1_TheRequestsPagesAreBorrowed) {
  const Descriptor file = make_file(1 << 20, false);
  serve_with<ByName>(file);
  memory(kBytes, true);
  ASSERT_EQ(write(8192, kBytes), 0);
  EXPECT_TRUE(has_pattern(contents(file, kBytes, 8192)));
  const auto back = memory(kBytes);
  ASSERT_EQ(read(8192, kBytes), 0);
  EXPECT_TRUE(has_pattern(back));
  EXPECT_EQ(copied_bytes(), 0U);
}

// Asks for loans in ways that must be refused, and uses what it gets all the same.
class Asks : public Server {
 public:
  explicit Asks(const Descriptor& file) : file_(as_file(file)) {}

  int right_length = -1;
  std::vector<int> refused;

 private:
  Task serve(Request& request) override {
    const bool reads = request.op == Op::read;
    const Direction right = reads ? Direction::destination : Direction::source;
    const Direction wrong = reads ? Direction::source : Direction::destination;
    const auto length = static_cast<uint32_t>(request.length);
    const lend::Position at = lend::Provider::position(request);
    const auto moved = [&at](uint16_t queue, uint16_t tag, uint32_t offset) {
      return lend::Position{.queue = static_cast<uint16_t>(at.queue + queue),
                            .tag = static_cast<uint16_t>(at.tag + tag),
                            .offset = offset};
    };
    View views[] = {
        provider().lend(at, length, wrong),
        provider().lend(at, 0, right),
        provider().lend(moved(1, 0, 0), length, right),
        provider().lend(moved(0, 100, 0), length, right),
        provider().lend(moved(0, 0, length), 1, right),
        provider().lend(moved(0, 0, 4096), length, right),
        provider().lend(moved(0, 0, 4096), UINT32_MAX, right),
    };
    for (View& view : views) {
      lend::Consumption moving(std::move(view), on(request, file_, 0));
      Task running = moving.run(request);
      const Status status = co_await running;
      refused.push_back(status.error());
      EXPECT_EQ(moving.moved_bytes(), 0U);
    }
    right_length = provider().lend(at, length, right).status().error();
    co_return Status::from_errno(ENXIO);
  }

  File file_;
};

const std::vector<int> kRefusals{EACCES, EINVAL, EINVAL, EINVAL, EFAULT, EFAULT, EFAULT};

TEST_P(OnEachProvider, S3_S7_WhatCannotBeLentMovesNoByte) {
  const Descriptor file = make_file(1 << 20, true);
  auto& server = serve_with<Asks>(file);
  memory(kBytes);
  EXPECT_NE(write(0, kBytes), 0);
  EXPECT_EQ(server.refused, kRefusals);
  EXPECT_EQ(server.right_length, 0);
  EXPECT_TRUE(has_pattern(contents(file, 1 << 20))) << "the file has changed";
  server.refused.clear();
  const auto program = memory(kBytes);
  EXPECT_NE(read(0, kBytes), 0);
  EXPECT_EQ(server.refused, kRefusals);
  for (const std::byte byte : program) ASSERT_EQ(byte, std::byte{0xee});
}

// Requests without data have a name and nothing to lend.
class AsksFlush : public Server {
 public:
  AsksFlush() { geometry_.volatile_cache = true; }
  int refused = -1;

 private:
  Task serve(Request& request) override {
    const auto at = lend::Provider::position(request);
    refused = provider().lend(at, 512).status().error();
    return kOk;
  }
};

TEST_P(OnEachProvider, S7_AFlushHasNothingToLend) {
  auto& server = serve_with<AsksFlush>();
  EXPECT_EQ(flush(), 0);
  EXPECT_EQ(server.refused, EINVAL);
}

// Every byte of a request through small parts, several of them at once, some of them twice.
class InParts : public Server {
 public:
  explicit InParts(const Descriptor& file) : file_(as_file(file)) {}

 private:
  static constexpr uint32_t kPart = 24 * 1024;

  Task serve(Request& request) override {
    const auto length = static_cast<uint32_t>(request.length);
    const Direction use = request.op == Op::read ? Direction::destination : Direction::source;
    Gather parts(request, 2 * (length / kPart + 1));
    for (uint32_t offset = 0; offset < length; offset += kPart) {
      const uint32_t part = std::min(kPart, length - offset);
      parts.add(move(request, offset, part, use));
      if (use == Direction::source) parts.add(move(request, offset, part, use));
    }
    co_return co_await parts;
  }
  Task move(Request& request, uint32_t offset, uint32_t length, Direction use) {
    View lent = provider().lend(lend::Provider::position(request, offset), length, use);
    lend::Consumption moving(std::move(lent), on(request, file_, request.offset + offset));
    Task running = moving.run(request);
    co_return co_await running;
  }

  File file_;
};

TEST_P(OnEachProvider, S4_S5_AnyPartAnyNumberOfTimes) {
  const Descriptor file = make_file(1 << 20, false);
  serve_with<InParts>(file);
  memory(kBytes, true);
  ASSERT_EQ(write(4096, kBytes), 0);
  EXPECT_TRUE(has_pattern(contents(file, kBytes, 4096)));
  const auto back = memory(kBytes);
  ASSERT_EQ(read(4096, kBytes), 0);
  EXPECT_TRUE(has_pattern(back));
}

// Keeps a part of the request after it has said that it is done, until the test takes it away.
class Keeps : public Server {
 public:
  std::atomic<bool> served = false;
  View kept;

 private:
  Task serve(Request& request) override {
    kept = provider().lend(lend::Provider::position(request, 4096), 512);
    served.store(true);
    return kOk;
  }
};

TEST_P(OnEachProvider, S6_NoRequestIsCompletedBeforeItsPagesAreBack) {
  auto& server = serve_with<Keeps>();
  memory(kBytes, true);
  std::atomic<bool> answered = false;
  std::thread program([&] {
    EXPECT_EQ(write(0, kBytes), 0);
    answered.store(true);
  });
  while (!server.served.load()) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(answered.load());
  server.kept.drop();  // by another thread
  program.join();
  EXPECT_TRUE(answered.load());
}

// Lends from another thread than the one that serves the queue, and after the device is gone.
TEST(Rules, S75_P16_AnyThreadMayLend) {
  lend::Provider provider(2, 4);
  OneWrite write;
  Request& request = write.request;
  provider.begin(request);
  std::thread other([&] {
    const View whole = provider.lend_whole(1, 3);
    EXPECT_EQ(whole.length(), 4096U);
    EXPECT_EQ(provider.lend({.queue = 1, .tag = 3, .offset = 4000}, 97).status().error(), EFAULT);
  });
  other.join();
  provider.end(request);
  EXPECT_EQ(provider.lend_whole(1, 3).status().error(), EINVAL);
  provider.begin(request);
  provider.withdraw();
  EXPECT_EQ(provider.lend_whole(1, 3).status().error(), ENODEV);
  provider.end(request);
}

// Two lengths in turn under one name, each ended before the other begins.
class TwoLengths final : private Lender {
 public:
  void serve_once(uint32_t length) {
    Request request;
    request.op = Op::write;
    back_.store(false);
    request.data = loan_.lend_mapped(*this, Direction::source, std::span(memory_).first(length));
    provider.begin(request);
    provider.end(request);
    request.data.drop();
    while (!back_.load()) std::this_thread::yield();
  }
  lend::Provider provider{1, 1};

 private:
  void returned(Loan&) noexcept override { back_.store(true); }

  std::vector<std::byte> memory_ = std::vector<std::byte>(8192);
  Loan loan_;
  std::atomic<bool> back_ = true;
};

// What is lent by another thread is of the request that is there, and never longer than it.
TEST(Rules, S75_P6_P16_ATagsNextRequestIsNotTakenForTheOneBefore) {
  TwoLengths requests;
  std::atomic<bool> ends = false;
  uint64_t beyond = 0;
  uint64_t lent = 0;
  std::thread other([&] {
    while (!ends.load()) {
      for (const View& view :
           {requests.provider.lend({}, 8192), requests.provider.lend_whole(0, 0)}) {
        if (!view.status().ok()) continue;
        ++lent;
        if (view.length() != view.loan()->length()) ++beyond;
      }
    }
  });
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
  while (std::chrono::steady_clock::now() < until) {
    for (const uint32_t length : {8192U, 512U}) requests.serve_once(length);
  }
  ends.store(true);
  other.join();
  EXPECT_EQ(beyond, 0U) << "of " << lent;
}

}  // namespace
}  // namespace sluice::test
