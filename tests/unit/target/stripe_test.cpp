// stripe: the arithmetic compared with a byte by byte oracle, one SQE per member, members that end
// in any order.
#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/mman.h>

#include <random>

#include "ring/abi.hpp"
#include "support/fan_out.hpp"
#include "support/member_target.hpp"
#include "target/open.hpp"
#include "target/stack.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kChunk = 64 << 10;

Result<std::unique_ptr<Target>> open_stripe(Target::Children members, uint64_t chunk = kChunk) {
  Spec spec;
  spec.set("chunk", chunk);
  OpenContext context(false);
  return kStripeTarget.open(spec, std::move(members), context);
}

// The member and place of byte `offset` of the whole, by simple counting of chunks.
std::pair<int, uint64_t> place_of(uint64_t offset, uint64_t members, uint64_t chunk) {
  const uint64_t index = offset / chunk;
  return {static_cast<int>(index % members), index / members * chunk + offset % chunk};
}

// Each byte that an SQE moves, as (file, offset there) -> address.
void check_bytes(const io_uring_sqe& sqe, uint64_t begin, std::span<const std::byte> memory,
                 uint64_t members, uint64_t chunk, uint64_t& seen) {
  std::vector<iovec> vectors = {{reinterpret_cast<void*>(sqe.addr), sqe.len}};
  if (sqe.opcode == IORING_OP_READV || sqe.opcode == IORING_OP_WRITEV) {
    const auto* list = reinterpret_cast<const iovec*>(sqe.addr);
    vectors.assign(list, list + sqe.len);
  }
  uint64_t offset = sqe.off;
  for (const iovec& vector : vectors) {
    for (size_t i = 0; i < vector.iov_len; i += 512, offset += 512) {
      const auto* address = static_cast<const std::byte*>(vector.iov_base) + i;
      ASSERT_GE(address, memory.data());
      const auto in_memory = static_cast<uint64_t>(address - memory.data());
      ASSERT_LT(in_memory, memory.size());
      const auto expected = std::pair(sqe.fd, offset);
      ASSERT_EQ(place_of(begin + in_memory, members, chunk), expected);
      seen += 512;
    }
  }
}

TEST(Stripe, EveryByteGoesToItsMemberInOneSqeEach) {
  std::mt19937_64 random(1);
  std::vector<std::byte> memory(3 << 20);
  for (const uint64_t members : {1U, 2U, 3U, 4U, 7U}) {
    for (const uint64_t chunk : {512U, 1536U, 4096U, 20480U, 65536U}) {
      Target::Children children;
      for (uint64_t i = 0; i < members; ++i) {
        children.push_back(std::make_unique<Member>(static_cast<int>(i), chunk * 400));
      }
      auto stripe = open_stripe(std::move(children), chunk);
      ASSERT_TRUE(stripe);
      const uint64_t size = (*stripe)->geometry().size_bytes;
      ASSERT_EQ(size, chunk * 400 * members);
      for (int round = 0; round < 20; ++round) {
        const uint64_t begin = random() % (size / 512) * 512;
        const uint64_t most = std::min<uint64_t>(size - begin, memory.size());
        const uint64_t length = (random() % (most / 512) + 1) * 512 / (round % 2 == 0 ? 1 : 16);
        const uint64_t bytes = std::max<uint64_t>(length / 512 * 512, 512);
        ManualRing ring;
        TestTag tag(ring);
        const std::span<std::byte> data = std::span(memory).first(bytes);
        Task task = (*stripe)->submit(tag.make(Op::write, begin, data));
        ring.settle();
        const uint64_t chunks = (begin + bytes - 1) / chunk - begin / chunk + 1;
        ASSERT_GE(ring.pending(), std::min(chunks, members));
        uint64_t seen = 0;
        // If there are more pieces than fit one SQE, the next SQE continues.
        while (ring.pending() != 0) {
          check_bytes(ring.sqe(0), begin, data, members, chunk, seen);
          if (HasFatalFailure()) return;
          ring.complete(0, full_result(ring.sqe(0)));
        }
        ASSERT_TRUE(task.finished());
        ASSERT_TRUE(task.status().ok());
        ASSERT_EQ(seen, bytes);
      }
    }
  }
}

TEST(Stripe, ARequestInsideAChunkIsForwarded) {
  ManualRing ring;
  TestTag tag(ring);
  std::vector<std::byte> memory(kChunk);
  auto stripe = open_stripe(make_members({kChunk * 4, kChunk * 4}));
  ASSERT_TRUE(stripe);
  Task task = (*stripe)->submit(tag.make(Op::read, 3 * kChunk, memory));
  ring.settle();
  ASSERT_EQ(ring.pending(), 1U);
  EXPECT_EQ(ring.sqe(0).opcode, IORING_OP_READ);
  EXPECT_EQ(ring.sqe(0).fd, 1);
  EXPECT_EQ(ring.sqe(0).off, kChunk);
  ring.complete(0, kChunk);
  EXPECT_TRUE(task.status().ok());
}

TEST(Stripe, ALargeRequestOnFourMembersFitsTheArena) {
  std::vector<std::byte> memory(512 << 10);
  auto stripe = open_stripe(make_members({1 << 20, 1 << 20, 1 << 20, 1 << 20}));
  ASSERT_TRUE(stripe);
  for (const uint64_t offset : {uint64_t{0}, uint64_t{4096}, 3 * kChunk + 512}) {
    ManualRing ring;
    TestTag tag(ring);
    Task task = (*stripe)->submit(tag.make(Op::read, offset, memory));
    ring.settle();
    ASSERT_EQ(ring.pending(), 4U);
    while (ring.pending() != 0) {
      EXPECT_EQ(ring.sqe(0).opcode, IORING_OP_READV);
      ring.complete(0, full_result(ring.sqe(0)));
    }
    ASSERT_TRUE(task.finished());
    EXPECT_TRUE(task.status().ok());
    EXPECT_EQ(tag.loan.filled_bytes(), memory.size());
    EXPECT_EQ(tag.arena.overflows(), 0U);
    RecordProperty("arena_bytes", static_cast<int>(tag.arena.used_bytes()));
  }
}

// The same with the frames of real files below, and a durable write.
TEST(Stripe, ALargeRequestOnFourFilesFitsTheArena) {
  const auto spec = parse_spec("stripe(mem:1M, mem:1M, mem:1M, mem:1M)", target_vocabulary());
  ASSERT_TRUE(spec) << spec.error().text;
  auto stack = Stack::open(*spec, false);
  ASSERT_TRUE(stack) << stack.error().text;
  ManualRing ring;
  for (size_t i = 0; i < 4; ++i) ring.set_file(static_cast<int>(i), (*stack)->files()[i]);
  std::vector<std::byte> memory(512 << 10);
  for (const Op op : {Op::write, Op::read}) {
    TestTag tag(ring);
    Request& request = tag.make(op, 4096, memory);
    request.fua = op == Op::write;
    Task task = (*stack)->submit(request);
    ring.perform_all();
    ASSERT_TRUE(task.finished());
    EXPECT_TRUE(task.status().ok());
    EXPECT_EQ(tag.arena.overflows(), 0U);
    RecordProperty(to_string(op), static_cast<int>(tag.arena.used_bytes()));
  }
}

TEST(Stripe, PagesWithoutAnAddressGoOutAsOneFixedVector) {
  ManualRing ring;
  TestTag tag(ring);
  std::vector<std::byte> memory(4 * kChunk);
  auto stripe = open_stripe(make_members({kChunk * 4, kChunk * 4}));
  ASSERT_TRUE(stripe);
  Task task = (*stripe)->submit(tag.make(Op::write, kChunk, memory, 3));
  ring.settle();
  ASSERT_EQ(ring.pending(), 2U);
  for (int i = 0; i < 2; ++i) {
    const io_uring_sqe& sqe = ring.sqe(0);
    EXPECT_EQ(sqe.opcode, abi::kOpWritevFixed);
    EXPECT_EQ(sqe.buf_index, 3);
    const auto* vectors = reinterpret_cast<const iovec*>(sqe.addr);
    ASSERT_EQ(sqe.len, 2U);
    // Begins with chunk 1 of the whole, on member 1, so member 0 begins with the second piece.
    const uint64_t first = sqe.fd == 1 ? 0 : kChunk;
    EXPECT_EQ(reinterpret_cast<uint64_t>(vectors[0].iov_base), first);
    EXPECT_EQ(reinterpret_cast<uint64_t>(vectors[1].iov_base), first + 2 * kChunk);
    ring.complete(0, 2 * kChunk);
  }
  ASSERT_TRUE(task.finished());
  EXPECT_TRUE(task.status().ok());
}

TEST(Stripe, AShortMemberIsContinuedInsideItsPieces) {
  ManualRing ring;
  TestTag tag(ring);
  std::vector<std::byte> memory(4 * kChunk);
  auto stripe = open_stripe(make_members({kChunk * 4, kChunk * 4}));
  ASSERT_TRUE(stripe);
  Task task = (*stripe)->submit(tag.make(Op::read, 0, memory));
  ring.settle();
  ASSERT_EQ(ring.pending(), 2U);
  ring.complete(0, kChunk + 100);
  ASSERT_EQ(ring.pending(), 2U);
  const io_uring_sqe& rest = ring.sqe(pending_on(ring, 0));
  EXPECT_EQ(rest.off, kChunk + 100);
  const auto* vectors = reinterpret_cast<const iovec*>(rest.addr);
  EXPECT_EQ(vectors[0].iov_base, memory.data() + 2 * kChunk + 100);
  EXPECT_EQ(vectors[0].iov_len, kChunk - 100);
  while (ring.pending() != 0) ring.complete(0, full_result(ring.sqe(0)));
  ASSERT_TRUE(task.finished());
  EXPECT_TRUE(task.status().ok());
}

TEST(Stripe, HundredsOfChunksReachTheirFiles) {
  constexpr uint64_t kSmall = 512;
  constexpr uint64_t kBytes = 3 * 3000 * kSmall;
  Target::Children members;
  std::vector<int> files;
  for (int i = 0; i < 3; ++i) {
    files.push_back(memfd_create("member", MFD_CLOEXEC));
    ASSERT_EQ(ftruncate(files.back(), 3000 * kSmall), 0);
    members.push_back(std::make_unique<Member>(files.back(), 3000 * kSmall));
  }
  auto stripe = open_stripe(std::move(members), kSmall);
  ASSERT_TRUE(stripe);
  std::vector<std::byte> written(kBytes - kSmall);
  for (size_t i = 0; i < written.size(); ++i) written[i] = static_cast<std::byte>(i * 31 + i / 509);
  std::vector<std::byte> read(written.size());
  ManualRing ring;
  TestTag tag(ring);
  for (const Op op : {Op::write, Op::read}) {
    Task task = (*stripe)->submit(tag.make(op, kSmall, op == Op::write ? written : read));
    ring.perform_all();
    ASSERT_TRUE(task.finished());
    ASSERT_TRUE(task.status().ok());
  }
  EXPECT_EQ(written, read);
  for (uint64_t offset = kSmall; offset < kBytes; offset += kSmall) {
    const auto [member, place] = place_of(offset, 3, kSmall);
    std::byte byte{};
    ASSERT_EQ(pread(files[static_cast<size_t>(member)], &byte, 1, static_cast<off_t>(place)), 1);
    ASSERT_EQ(byte, written[offset - kSmall]) << offset;
  }
  for (const int file : files) close(file);
}

TEST(Stripe, ADiscardOfTerabytesIsOneRequestForEachMember) {
  constexpr uint64_t kMember = uint64_t{1} << 50;
  ManualRing ring;
  TestTag tag(ring);
  auto stripe = open_stripe(make_members({kMember, kMember, kMember}), 4096);
  ASSERT_TRUE(stripe);
  for (const Op op : {Op::discard, Op::write_zeroes}) {
    Task task = (*stripe)->submit(tag.make(op, 4096 + 512, 3 * kMember - 8192));
    ring.settle();
    ASSERT_EQ(ring.pending(), 3U);
    uint64_t total = 0;
    for (int i = 0; i < 3; ++i) {
      const io_uring_sqe& sqe = ring.sqe(0);
      const uint64_t begin = sqe.fd == 0 ? 4096 : sqe.fd == 1 ? 512 : 0;
      EXPECT_EQ(sqe.off, begin);
      total += sqe.addr;
      ring.complete(0, 0);
    }
    EXPECT_EQ(total, 3 * kMember - 8192);
    ASSERT_TRUE(task.finished());
    EXPECT_TRUE(task.status().ok());
  }
  EXPECT_EQ(tag.arena.overflows(), 0U);
}

TEST(Stripe, TheLastBytesAndNothingBeyond) {
  ManualRing ring;
  TestTag tag(ring);
  std::vector<std::byte> memory(2 * kChunk);
  auto stripe = open_stripe(make_members({kChunk * 2, kChunk * 2, kChunk * 2}));
  ASSERT_TRUE(stripe);
  {
    Task last = (*stripe)->submit(tag.make(Op::write, 4 * kChunk, memory));
    ring.settle();
    ASSERT_EQ(ring.pending(), 2U);
    EXPECT_EQ(ring.sqe(0).fd, 1);
    EXPECT_EQ(ring.sqe(1).fd, 2);
    EXPECT_EQ(ring.sqe(1).off, kChunk);
    while (ring.pending() != 0) ring.complete(0, full_result(ring.sqe(0)));
    EXPECT_TRUE(last.status().ok());
  }
  Task beyond = (*stripe)->submit(tag.make(Op::write, 5 * kChunk, memory));
  ASSERT_TRUE(beyond.finished());
  EXPECT_EQ(beyond.status().error(), EINVAL);
  Task empty = (*stripe)->submit(tag.make(Op::write, 6 * kChunk, std::span<std::byte>()));
  ASSERT_TRUE(empty.finished());
  EXPECT_TRUE(empty.status().ok());
}

TEST(Stripe, MembersEndInAnyOrder) {
  std::vector<std::byte> memory(8 * kChunk);
  for (const size_t count : {2U, 3U, 4U}) {
    Target::Children members = make_members({kChunk * 8, kChunk * 8, kChunk * 8, kChunk * 8});
    members.resize(count);
    auto stripe = open_stripe(std::move(members));
    ASSERT_TRUE(stripe);
    for (const Op op : {Op::read, Op::write}) {
      FanOut(**stripe, count, [&](TestTag& tag) -> Request& {
        return tag.make(op, kChunk, std::span(memory).first(count * 2 * kChunk));
      }).run_all();
    }
    FanOut(**stripe, count, [&](TestTag& tag) -> Request& {
      return tag.make(Op::discard, 512, count * kChunk);
    }).run_all();
    FanOut(**stripe, count, [&](TestTag& tag) -> Request& {
      return tag.make(Op::flush, 0, uint64_t{0});
    }).run_all();
  }
}

TEST(StripeOpen, UsesWholeChunksOfTheSmallestMember) {
  auto stripe = open_stripe(make_members({10 * kChunk, 3 * kChunk + 4096, 7 * kChunk}));
  ASSERT_TRUE(stripe);
  const Geometry& geometry = (*stripe)->geometry();
  EXPECT_EQ(geometry.size_bytes, 9 * kChunk);
  EXPECT_EQ(geometry.io_min_bytes, kChunk);
  EXPECT_EQ(geometry.io_opt_bytes, 3 * kChunk);
  EXPECT_EQ(geometry.physical_block_bytes, 4096U);
  EXPECT_EQ((*open_stripe(make_members({1 << 20}), 1536))->geometry().physical_block_bytes, 512U);
}

TEST(StripeOpen, SaysWhatDoesNotFit) {
  const auto small = open_stripe(make_members({10 * kChunk, kChunk - 512}));
  ASSERT_FALSE(small);
  EXPECT_EQ(small.error().text,
            "stripe: 2 children of 65024 bytes in chunks of 65536 make nothing");
  const auto odd = open_stripe(make_members({kChunk, kChunk}), 1000);
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error().text, "stripe: chunk 1000 is no multiple of the 512-byte blocks in use");
  const auto large = open_stripe(make_members({INT64_MAX, INT64_MAX}));
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().error, EINVAL);
}

}  // namespace
}  // namespace sluice::test
