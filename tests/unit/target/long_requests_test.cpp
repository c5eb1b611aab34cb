// A request of any length is served in constant memory: the memory of one part is reused for the
// next, also when several members serve parts that end in any order.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <memory>
#include <random>
#include <span>

#include "support/fan_out.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "target/open.hpp"

namespace sluice::test {
namespace {

constexpr int kMembers = 4;
constexpr uint64_t kMemberBytes = 1ULL << 30;
constexpr uint64_t kLength = 2ULL << 30;
constexpr uint64_t kPartBytes = 1 << 20;

// A file that supports write zeroes only by writing them, and accepts discards in parts.
class PlainFile final : public Target {
 public:
  explicit PlainFile(int number) : file_{.number = number} {
    geometry_.size_bytes = kMemberBytes;
    geometry_.can_discard = true;
    geometry_.can_write_zeroes = true;
    geometry_.max_discard_bytes = kPartBytes;
    geometry_.max_io_bytes = kPartBytes;
  }

 private:
  Task do_submit(Request& request) override {
    if (request.op == Op::write_zeroes) return zero(request);
    return one_operation(request);
  }

  Task zero(Request& request) {
    auto asking = request.ring->fallocate(file_, 0, request.offset, request.length);
    const Status status = co_await asking;
    if (status.error() != EOPNOTSUPP) co_return status;
    Task writing = write_zeroes_by_hand(request);
    co_return co_await writing;
  }

  Task one_operation(Request& request) {
    Ring& ring = *request.ring;
    auto operation = request.has_data() ? ring.write(file_, request.offset, request.data)
                                        : ring.fallocate(file_, 0, request.offset, request.length);
    co_return co_await operation;
  }

  const File file_;
};

std::unique_ptr<Target> open_stripe() {
  Target::Children members;
  for (int i = 0; i < kMembers; ++i) members.push_back(std::make_unique<PlainFile>(i));
  Spec spec;
  spec.set("chunk", uint64_t{64 << 10});
  OpenContext context(false);
  auto stripe = kStripeTarget.open(spec, std::move(members), context);
  EXPECT_TRUE(stripe);
  return std::move(*stripe);
}

struct Bill {
  size_t operations = 0;
  size_t most_bytes = 0;  // of the arena
  uint64_t overflows = 0;
};

// Measures the cost of a request whose operations end in random order.
Bill serve(Request& request, TestTag& tag, ManualRing& ring, Target& target) {
  std::mt19937 random(20261128);
  Bill bill;
  const uint64_t overflows_before = tag.arena.overflows();
  {
    Task task = target.submit(request);
    ring.settle();
    while (ring.pending() != 0) {
      const size_t index = random() % ring.pending();
      const io_uring_sqe& sqe = ring.sqe(index);
      const bool refused = sqe.opcode == IORING_OP_FALLOCATE && request.op == Op::write_zeroes;
      ring.complete(index, refused ? -EOPNOTSUPP : full_result(sqe));
      ++bill.operations;
      bill.most_bytes = std::max(bill.most_bytes, tag.arena.used_bytes());
    }
    EXPECT_TRUE(task.finished());
    EXPECT_TRUE(task.status().ok());
  }
  bill.overflows = tag.arena.overflows() - overflows_before;
  return bill;
}

class LongRequest : public testing::TestWithParam<Op> {};

TEST_P(LongRequest, NeedsNoMoreMemoryThanAShortOne) {
  ManualRing ring;
  TestTag tag(ring);
  const auto stripe = open_stripe();
  const Bill as_short =
      serve(tag.make(GetParam(), 0, kMembers * kPartBytes * 8), tag, ring, *stripe);
  const Bill as_long = serve(tag.make(GetParam(), 0, kLength), tag, ring, *stripe);
  EXPECT_GE(as_long.operations, kLength / kPartBytes);
  EXPECT_EQ(as_long.overflows, 0U);
  EXPECT_EQ(as_long.most_bytes, as_short.most_bytes);
}

INSTANTIATE_TEST_SUITE_P(, LongRequest, testing::Values(Op::discard, Op::write_zeroes),
                         [](const auto& info) { return std::string(to_string(info.param)); });

// If a program in this process writes that much at once, each layer that divides the pieces lists
// them: a few words for each chunk. The memory that serves the parts is reused.
TEST(LongWrite, NeedsListsOfItsPiecesAndNoMore) {
  ManualRing ring;
  TestTag tag(ring);
  const auto stripe = open_stripe();
  void* const memory =
      mmap(nullptr, kLength, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const std::span data(static_cast<std::byte*>(memory), kLength);
  const Bill bill = serve(tag.make(Op::write, 0, data), tag, ring, *stripe);
  tag.finish();
  EXPECT_EQ(bill.operations, kLength / kPartBytes);
  EXPECT_LE(bill.most_bytes, kLength / (64 << 10) * sizeof(Segment) * 5);
  munmap(memory, kLength);
}

}  // namespace
}  // namespace sluice::test
