// The direct pipe and the handshake of its two sides: S18, S27, S28, S30, S32, S37, S40 to S44.
#include "lend/direct_pipe.hpp"

#include "conformance/attempts.hpp"
#include "lend/consumer.hpp"
#include "lend/producer.hpp"

namespace sluice::test {
namespace {

using lend::DirectPipe;

constexpr uint32_t kBytes = 128 * 1024;
constexpr uint32_t kPage = DirectPipe::kPageBytes;

TEST(Rules, S18_S30_SixteenSlotsOfOnePage) {
  OneRequest one(Op::read, kBytes);
  DirectPipe pipe;
  EXPECT_EQ(pipe.put(one.loan().view()), 64U << 10);
  EXPECT_EQ(pipe.slots(), 16U);
  pipe.clear();
  EXPECT_EQ(pipe.put(one.loan().view(512, 100'000)), (64U << 10) - 512) << "no slot is two pages";
  EXPECT_EQ(pipe.slots(), 16U);
  pipe.clear();
  EXPECT_EQ(pipe.put(one.loan().view(kPage - 1, 2)), 2U);
  EXPECT_EQ(pipe.slots(), 2U);
  pipe.clear();
  EXPECT_EQ(pipe.put(one.loan().view(0, 0)), 0U);
  EXPECT_EQ(pipe.slots(), 0U) << "nor one of nothing";
}

TEST(Rules, S18_HoldsItsPagesUntilTheyAreDismissedOrCleared) {
  OneRequest one(Op::read, kBytes);
  DirectPipe pipe;
  pipe.put(one.loan().view());
  EXPECT_EQ(one.loan().references(), 3U);
  pipe.dismiss(pipe.bytes());
  EXPECT_EQ(one.loan().references(), 2U);
  EXPECT_TRUE(pipe.empty());
  pipe.put(one.loan().view());
  pipe.dismiss(1);
  pipe.dismiss(DirectPipe::kBytes);
  EXPECT_TRUE(pipe.empty()) << "no more than there are";
  pipe.put(one.loan().view());
  pipe.dismiss(1);
  pipe.clear();
  EXPECT_EQ(one.loan().references(), 2U);
  EXPECT_TRUE(pipe.empty());
}

TEST(Rules, S32_DismissesExactlyAlsoPartsOfASlot) {
  constexpr uint32_t kBegin = 1024;
  constexpr uint32_t kLength = 3 * kPage;  // in four pages
  OneRequest one(Op::read, kBytes);
  for (uint32_t bytes = 0; bytes <= kLength; bytes += 512) {
    DirectPipe pipe;
    ASSERT_EQ(pipe.put(one.loan().view(kBegin, kLength)), kLength);
    pipe.dismiss(bytes / 2);
    pipe.dismiss(bytes - bytes / 2);
    EXPECT_EQ(pipe.bytes(), kLength - bytes);
    const uint32_t last_page = (kBegin + kLength - 1) / kPage;
    const uint32_t slots = bytes == kLength ? 0 : last_page - (kBegin + bytes) / kPage + 1;
    EXPECT_EQ(pipe.slots(), slots) << bytes;
    if (slots == 0) continue;
    const View rest = pipe.lent_bytes(one.tag.arena);
    EXPECT_EQ(rest.segments().front(), (Segment{kBegin + bytes, kLength - bytes}));
  }
}

TEST(Rules, S27_S40_S41_EachChunkIsConfirmedAnewAndForItsUse) {
  DirectPipe pipe;
  for (const Direction use : {Direction::destination, Direction::source}) {
    pipe.ask(use);
    EXPECT_FALSE(pipe.confirmed());
    pipe.confirm(use);
    EXPECT_TRUE(pipe.confirmed());
    pipe.ask(use);
    EXPECT_FALSE(pipe.confirmed());
    const bool fills = use == Direction::destination;
    pipe.confirm(fills ? Direction::source : Direction::destination);
    EXPECT_FALSE(pipe.confirmed()) << "for something else";
    pipe.confirm(use);
    pipe.clear();
    EXPECT_FALSE(pipe.confirmed());
  }
}

TEST(Rules, S43_ConfirmingAnotherPipeConfirmsNothing) {
  DirectPipe pipe;
  DirectPipe other;
  pipe.ask(Direction::destination);
  other.ask(Direction::destination);
  other.confirm(Direction::destination);
  EXPECT_FALSE(pipe.confirmed());
}

TEST(Rules, S28_S37_AProducerIsNeverTheConsumerAndAFullPipeTakesNothing) {
  OneRequest one(Op::read, kBytes);
  lend::BufferProducer producer(one.provider, one.at());
  DirectPipe pipe;
  ASSERT_TRUE(producer.prepare(kBytes, Direction::destination).ok());
  pipe.ask(Direction::destination);
  const Task first = producer.produce(one.request, pipe, kBytes);
  EXPECT_TRUE(first.status().ok());
  EXPECT_EQ(pipe.bytes(), 64U << 10);
  const Task again = producer.produce(one.request, pipe, kBytes);
  EXPECT_EQ(again.status().error(), EINVAL);
  pipe.ask(Direction::destination);
  const Task full = producer.produce(one.request, pipe, kBytes / 2);
  EXPECT_EQ(full.status().error(), EAGAIN);
  EXPECT_EQ(pipe.bytes(), 64U << 10) << "what is there stays";
  EXPECT_TRUE(one.untouched());

  lend::FileProducer file({}, 0);
  pipe.confirm(Direction::destination);
  const Task neither = file.produce(one.request, pipe, kBytes);
  EXPECT_EQ(neither.status().error(), EINVAL);
}

TEST(Rules, S37_StopsAtTheLengthAskedFor) {
  OneRequest one(Op::read, kBytes);
  lend::BufferProducer producer(one.provider, one.at(1024));
  DirectPipe pipe;
  pipe.ask(Direction::destination);
  const Task produced = producer.produce(one.request, pipe, 3000);
  EXPECT_TRUE(produced.status().ok());
  EXPECT_EQ(pipe.bytes(), 3000U);
  EXPECT_EQ(pipe.lent_bytes(one.tag.arena).segments().front(), (Segment{1024, 3000}));
}

TEST(Rules, S37_P6_E_ALengthThatNoBufferHasIsNotCut) {
  OneRequest one(Op::write, kBytes);
  lend::BufferProducer producer(one.provider, one.at());
  for (const uint64_t more : {uint64_t{kBytes} + 1, (uint64_t{1} << 32) + kPage, UINT64_MAX}) {
    EXPECT_EQ(producer.prepare(more, Direction::source).error(), EFAULT) << more;
  }
  EXPECT_TRUE(producer.prepare(kBytes, Direction::source).ok());
  EXPECT_TRUE(one.untouched());
}

// The flags that were on each piece in the pipe would have been copied with it.
TEST(Rules, S44_ACopyOfWhatIsInThePipeGrantsNothingMore) {
  OneRequest one(Op::write, kBytes);
  const Descriptor file = make_file(kBytes, false);
  DirectPipe pipe;
  pipe.put(one.loan().view());
  lend::Consumption filling(pipe.lent_bytes(one.tag.arena), lend::Read{.file = as_file(file)});
  const Task refused = filling.run(one.request);
  EXPECT_EQ(refused.status().error(), EACCES);
  EXPECT_TRUE(one.untouched());
}

}  // namespace
}  // namespace sluice::test
