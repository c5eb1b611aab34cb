// The vocabulary that all interfaces share (S1 to S7), and the door through which every loan by
// name goes.
#include "conformance/scene.hpp"
#include "lend/consumer.hpp"

namespace sluice::test {
namespace {

constexpr uint32_t kBytes = 128 * 1024;

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
    const lend::Consumer read = lend::Read{.file = file_, .offset = request.offset};
    const lend::Consumer write = lend::Write{.file = file_, .offset = request.offset};
    lend::Consumption moving(std::move(lent), reads ? read : write);
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

}  // namespace
}  // namespace sluice::test
