// Loans whose memory is in several places: every operation, every boundary.
#include <gtest/gtest.h>

#include <random>

#include "core/task.hpp"
#include "ring/abi.hpp"
#include "ring/linked_command.hpp"
#include "support/manual_ring.hpp"
#include "unit/ring/bytes.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"
#include "unit/ring/started.hpp"

namespace sluice::test {
namespace {

// Memory in pieces of the given lengths, in no order, with gaps; lent under the order of the list.
class Scattered final : private Lender {
 public:
  Scattered(Direction direction, const std::vector<uint32_t>& lengths) {
    size_t end = 0;
    for (const uint32_t length : lengths) {
      end += length + 16;
      vectors_.push_back({nullptr, length});
    }
    memory_ = repeated(end, 0xee);
    std::byte* place = memory_.data() + end;
    for (iovec& vector : vectors_) vector.iov_base = place -= vector.iov_len + 16;
    const View first = loan.lend_scattered(*this, direction, vectors_);
    loan.open();
  }
  ~Scattered() { loan.close(); }

  const std::vector<iovec>& vectors() const { return vectors_; }
  uint64_t address(size_t vector) const {
    return reinterpret_cast<uint64_t>(vectors_.at(vector).iov_base);
  }
  void set(const Bytes& content) {
    size_t done = 0;
    for (const iovec& vector : vectors_) {
      std::copy_n(content.begin() + static_cast<ptrdiff_t>(done), vector.iov_len,
                  static_cast<std::byte*>(vector.iov_base));
      done += vector.iov_len;
    }
  }
  Bytes content() const {
    Bytes bytes;
    for (const iovec& vector : vectors_) {
      const auto* const begin = static_cast<const std::byte*>(vector.iov_base);
      bytes.insert(bytes.end(), begin, begin + vector.iov_len);
    }
    return bytes;
  }
  // True if the gaps between the pieces have not changed.
  bool gaps_are_whole() const {
    return std::ranges::all_of(vectors_, [](const iovec& vector) {
      const auto* const end = static_cast<const std::byte*>(vector.iov_base) + vector.iov_len;
      return all_are({end, 16}, 0xee);
    });
  }

  Loan loan;

 private:
  void returned(Loan&) noexcept override {}

  std::vector<iovec> vectors_;
  Bytes memory_;
};

class ScatteredMemoryTest : public testing::Test {
 protected:
  ManualRing ring_;
  Arena arena_;
  Scattered destination_{Direction::destination, {1000, 24, 3000, 72}};
  Scattered source_{Direction::source, {1000, 24, 3000, 72}};
  Bytes content_ = pattern(4096, 1);
};

TEST_F(ScatteredMemoryTest, HasALengthAndIsAddressable) {
  EXPECT_EQ(source_.loan.length(), 4096U);
  EXPECT_TRUE(source_.loan.addressable());
  EXPECT_EQ(source_.loan.address(), nullptr);
}

TEST_F(ScatteredMemoryTest, AllOfItIsOneReadIntoTheLendersVectors) {
  Started reading(ring_, destination_.loan.view(), read_from(kManualFile, 8192));
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 1U);
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_READV);
  EXPECT_EQ(ring_.sqe(0).addr, reinterpret_cast<uint64_t>(destination_.vectors().data()));
  EXPECT_EQ(ring_.sqe(0).len, 4U);
  EXPECT_EQ(ring_.sqe(0).off, 8192U);
  ring_.complete(0, 4096);
  EXPECT_EQ(reading.error(), 0);
  EXPECT_EQ(destination_.loan.filled_bytes(), 4096U);
}

TEST_F(ScatteredMemoryTest, AShortReadGoesOnWhereItStopped) {
  Started reading(ring_, destination_.loan.view(), read_from(kManualFile, 0));
  ring_.settle();
  ring_.complete(0, 1010);
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_READ) << "the rest of the second piece";
  EXPECT_EQ(ring_.sqe(0).addr, destination_.address(1) + 10);
  EXPECT_EQ(ring_.sqe(0).len, 14U);
  EXPECT_EQ(ring_.sqe(0).off, 1010U);
  ring_.complete(0, 14);
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_READV);
  EXPECT_EQ(ring_.sqe(0).addr, reinterpret_cast<uint64_t>(&destination_.vectors()[2]));
  EXPECT_EQ(ring_.sqe(0).len, 2U);
  ring_.complete(0, 3000);
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_READ);
  EXPECT_EQ(destination_.loan.filled_bytes(), 4024U);
  ring_.complete(0, 0);
  EXPECT_EQ(reading.error(), ENODATA);
  EXPECT_TRUE(destination_.loan.filled({0, 4024}));
}

TEST_F(ScatteredMemoryTest, APartWithinOnePieceIsAPlainRead) {
  const Started reading(ring_, destination_.loan.view(1024 + 100, 512), read_from(kManualFile, 0));
  ring_.settle();
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_READ);
  EXPECT_EQ(ring_.sqe(0).addr, destination_.address(2) + 100);
  EXPECT_EQ(ring_.sqe(0).len, 512U);
  ring_.complete(0, 512);
  EXPECT_EQ(reading.error(), 0);
}

TEST_F(ScatteredMemoryTest, PiecesOfAViewOnItAreOneOperation) {
  const std::array<Segment, 2> pieces{{{900, 200}, {4000, 96}}};
  const View view = source_.loan.view().select(pieces, arena_);
  const Started writing(ring_, view, write_to(kManualFile, 0));
  ring_.settle();
  ASSERT_EQ(ring_.sqe(0).opcode, IORING_OP_WRITEV);
  ASSERT_EQ(ring_.sqe(0).len, 5U);
  const auto* const vectors = reinterpret_cast<const iovec*>(ring_.sqe(0).addr);
  std::vector<size_t> lengths;
  for (size_t i = 0; i < 5; ++i) lengths.push_back(vectors[i].iov_len);
  EXPECT_EQ(lengths, (std::vector<size_t>{100, 24, 76, 24, 72}));
  EXPECT_EQ(reinterpret_cast<uint64_t>(vectors[0].iov_base), source_.address(0) + 900);
  ring_.complete(0, 296);
  EXPECT_EQ(writing.error(), 0);
}

TEST_F(ScatteredMemoryTest, SocketsTakeOnePieceAfterTheOther) {
  const Started sending(ring_, source_.loan.view(), send_to(kManualFile));
  ring_.settle();
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_SEND);
    EXPECT_EQ(ring_.sqe(0).addr, source_.address(i));
    EXPECT_EQ(ring_.sqe(0).len, source_.vectors()[i].iov_len);
    ring_.complete(0, static_cast<int32_t>(ring_.sqe(0).len));
  }
  EXPECT_EQ(sending.error(), 0);
}

TEST_F(ScatteredMemoryTest, IsCopiedInAndOut) {
  const Started in(ring_, destination_.loan.view(), copy_in_from(content_));
  EXPECT_EQ(in.error(), 0);
  EXPECT_EQ(destination_.content(), content_);
  EXPECT_TRUE(destination_.loan.filled({0, 4096}));
  EXPECT_TRUE(destination_.gaps_are_whole());
  source_.set(content_);
  Bytes out(500);
  const Started copying(ring_, source_.loan.view(990, 500), copy_out_to(out));
  EXPECT_EQ(copying.error(), 0);
  EXPECT_EQ(out, part(content_, 990, 500));
}

TEST_F(ScatteredMemoryTest, APartOfItIsZeroed) {
  destination_.set(content_);
  const Started zeroing(ring_, destination_.loan.view(1000, 100), zero_it());
  EXPECT_EQ(zeroing.error(), 0);
  std::fill_n(content_.begin() + 1000, 100, std::byte{0});
  EXPECT_EQ(destination_.content(), content_);
  EXPECT_EQ(destination_.loan.filled_bytes(), 100U);
}

struct Linking {
  Task read(Request& request, LinkedCommand& command) {
    auto reading = request.ring->read(kManualFile, 0, request.data);
    reading.then(&command);
    co_return co_await reading;
  }
};

// Otherwise the linked command would run after the first of several operations.
TEST_F(ScatteredMemoryTest, NothingIsLinkedToAnOperationOnIt) {
  LinkedCommand command;
  command.offer({});
  Request request;
  request.ring = &ring_;
  request.arena = &arena_;
  request.ready = &ring_.ready();
  request.data = destination_.loan.view();
  const Task reading = Linking().read(request, command);
  ring_.settle();
  EXPECT_FALSE(command.linked());
  EXPECT_EQ(ring_.sqe(0).flags & IOSQE_IO_LINK, 0);
  ring_.complete(0, 4096);
  ASSERT_TRUE(reading.finished());
  EXPECT_TRUE(reading.status().ok());
}

TEST_F(ScatteredMemoryTest, MorePiecesThanTheKernelTakesAreSeveralOperations) {
  Scattered many(Direction::source, std::vector<uint32_t>(2500, 8));
  const Started writing(ring_, many.loan.view(), write_to(kManualFile, 0));
  ring_.settle();
  EXPECT_EQ(ring_.sqe(0).len, abi::kMaxVectors);
  ring_.complete(0, 1024 * 8);
  EXPECT_EQ(ring_.sqe(0).len, abi::kMaxVectors);
  ring_.complete(0, 1024 * 8);
  EXPECT_EQ(ring_.sqe(0).len, 2500U - 2048);
  ring_.complete(0, (2500 - 2048) * 8);
  EXPECT_EQ(writing.error(), 0);
}

// Pieces of all lengths, including 0; views that begin and end anywhere; short transfers.
TEST_F(ScatteredMemoryTest, EveryByteGoesToItsPlace) {
  std::mt19937 random(4711);
  const Bytes content = pattern(20000, 2);
  const Descriptor file = temporary_file(content);
  for (int round = 0; round < 300; ++round) {
    std::vector<uint32_t> lengths(1 + random() % 12);
    for (uint32_t& length : lengths) length = random() % 4 == 0 ? 0 : random() % 1500;
    lengths.push_back(1);
    Scattered memory(Direction::destination, lengths);
    const uint32_t total = memory.loan.length();
    Bytes expected = memory.content();
    Arena arena;
    View view = memory.loan.view();
    std::vector<Segment> pieces(1 + random() % 3);
    for (Segment& piece : pieces) {
      piece.offset = random() % total;
      piece.length = 1 + random() % (total - piece.offset);
    }
    view = view.select(pieces, arena);
    size_t from = 0;
    for (const Segment& piece : pieces) {
      std::copy_n(content.begin() + static_cast<ptrdiff_t>(from), piece.length,
                  expected.begin() + piece.offset);
      from += piece.length;
    }
    const Started reading(ring_, std::move(view), read_from(file_of(file), 0));
    ring_.settle();
    while (ring_.pending() != 0) ring_.perform(0, 1 + random() % 2000);
    ASSERT_EQ(reading.error(), 0) << round;
    ASSERT_EQ(memory.content(), expected) << round;
    ASSERT_TRUE(memory.gaps_are_whole()) << round;
    for (const Segment& piece : pieces) EXPECT_TRUE(memory.loan.filled(piece));
  }
}

using ScatteredOnKernelRing = OnKernelRing;

TEST_F(ScatteredOnKernelRing, IsWrittenReadSentAndReceived) {
  const std::vector<uint32_t> lengths{4096, 100, 60000, 1340};
  const Bytes content = pattern(65536, 1);
  Scattered source(Direction::source, lengths);
  Scattered first(Direction::destination, {60000, 5536});
  Scattered second(Direction::destination, {1, 65534, 1});
  source.set(content);
  const Descriptor file = temporary_file();
  const Pair pair = stream_sockets();
  const Started writing(ring(), source.loan.view(), write_to(file_of(file), 0));
  EXPECT_EQ(finish(writing), 0);
  const Started reading(ring(), first.loan.view(), read_from(file_of(file), 0));
  EXPECT_EQ(finish(reading), 0);
  EXPECT_EQ(first.content(), content);
  const Started sending(ring(), source.loan.view(), send_to(file_of(pair.near)));
  const Started receiving(ring(), second.loan.view(), recv_from(file_of(pair.far)));
  EXPECT_EQ(finish(sending), 0);
  EXPECT_EQ(finish(receiving), 0);
  EXPECT_EQ(second.content(), content);
}

}  // namespace
}  // namespace sluice::test
