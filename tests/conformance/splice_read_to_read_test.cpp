// splice_read_to_read: S23 to S38, and S42.
#include "lend/splice_direct.hpp"

#include <algorithm>

#include "conformance/serves_with.hpp"
#include "conformance/sockets.hpp"
#include "conformance/splice_files.hpp"

namespace sluice::test {
namespace {

constexpr uint32_t kBytes = 128 * 1024;
constexpr uint32_t kChunk = lend::DirectPipe::kBytes;
constexpr lend::SpliceFile kFile{.file = {.number = 5}, .readable = true, .plain = true};

using Splices = ServesWith<lend::SpliceReadToRead>;

// What a server has for its calls; they come one after the other.
struct Tools {
  lend::DirectPipe pipe;
  std::optional<lend::BufferProducer> into;
};

Splices::Make whole(Tools& tools, const lend::SpliceFile& from, uint64_t offset = 0) {
  return [&tools, from, offset](auto& command, Request& request, lend::Provider& device) {
    tools.into.emplace(device, lend::Provider::position(request));
    command.emplace(tools.pipe, *tools.into, request.length, from, offset);
  };
}

TEST_P(OnEachProvider, S23_S27_S31_FillsAReadChunkByChunk) {
  const Descriptor file = make_file(1 << 20, true);
  Tools tools;
  auto& server = serve_with<Splices>(whole(tools, looked_at(file), 8192));
  const auto back = memory(4 * kBytes);
  ASSERT_EQ(read(0, 4 * kBytes), 0);
  EXPECT_EQ(server.result(), 4 * kBytes);
  EXPECT_TRUE(has_pattern(back, 8192));
  EXPECT_TRUE(tools.pipe.empty());
  EXPECT_EQ(copied_bytes(), 0U);
  EXPECT_EQ(server.references_left(), 2U);
}

TEST_P(OnEachProvider, S24_S25_S26_E_FilesThatCannotBeReadSo) {
  const Descriptor file = make_file(kBytes, true);
  const Descriptor to_write = opened_anew(file, O_WRONLY);
  const Descriptor zero(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  const Pair sockets = stream_sockets();
  ASSERT_EQ(send(sockets.near.number(), "untouched", 9, 0), 9);
  Tools tools;
  auto& server = serve_with<Splices>(Splices::Makers{
      whole(tools, lend::SpliceFile::of(-1)),
      whole(tools, looked_at(to_write)),
      whole(tools, looked_at(zero)),
      whole(tools, looked_at(sockets.far)),
      whole(tools, looked_at(file), UINT64_MAX),
      whole(tools, looked_at(file), INT64_MAX),
  });
  EXPECT_EQ(read(0, kBytes), 0);
  const std::array expected{-EBADF, -EBADF, -EINVAL, -EINVAL, -EINVAL, -EINVAL};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(server.result(i), expected[i]) << i;
  EXPECT_EQ(server.submissions(), 0U);
  EXPECT_EQ(server.filled_bytes(), 0U);
  EXPECT_EQ(pending_bytes(sockets.far), 9);
}

TEST_P(OnEachProvider, S29_E_TheBufferOfAWriteIsNotFilled) {
  const Descriptor file = make_file(kBytes, true);
  Tools tools;
  auto& server = serve_with<Splices>(whole(tools, looked_at(file)));
  const auto mine = memory(kBytes);
  EXPECT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(), -EACCES);
  EXPECT_EQ(server.submissions(), 0U);
  EXPECT_TRUE(std::ranges::all_of(mine, [](std::byte byte) { return byte == std::byte{0xee}; }));
}

TEST_P(OnEachProvider, S37_E_NamesOfNothing) {
  const Descriptor file = make_file(kBytes, true);
  Tools tools;
  auto& server = serve_with<Splices>(on_bad_names<lend::SpliceReadToRead>(
      [&](auto& command, lend::Provider& device, const BadName& bad) {
        tools.into.emplace(device, bad.at);
        command.emplace(tools.pipe, *tools.into, bad.length, looked_at(file), 0);
      }));
  EXPECT_EQ(read(0, kBytes), 0);
  for (size_t i = 0; i < kBadNameErrors.size(); ++i) {
    const bool no_length = i == 3;  // S16
    EXPECT_EQ(server.result(i), no_length ? 0 : -kBadNameErrors[i]) << i;
  }
  EXPECT_EQ(server.submissions(), 0U);
  EXPECT_EQ(server.filled_bytes(), 0U);
}

TEST_P(OnEachProvider, S33_AShortFileIsAShortResultAndItsEndIsZero) {
  const Descriptor file = make_file(kChunk + 1000, true);
  Tools tools;
  auto& server = serve_with<Splices>(
      Splices::Makers{whole(tools, looked_at(file)), whole(tools, looked_at(file), kChunk + 1000)});
  EXPECT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.result(0), kChunk + 1000);
  EXPECT_EQ(server.result(1), 0);
  EXPECT_EQ(server.filled_bytes(), kChunk + 1000);
  EXPECT_TRUE(tools.pipe.empty());
  EXPECT_EQ(server.references_left(), 2U);
}

// Says that all is well, whatever came of it.
class Claims final : public Server {
 public:
  explicit Claims(const lend::SpliceFile& file) : file_(file) {}

 private:
  Task serve(Request& request) override {
    lend::BufferProducer into(provider(), lend::Provider::position(request));
    lend::SpliceReadToRead splicing(pipe_, into, request.length, file_, 0);
    Task running = splicing.run(request);
    (void)co_await running;
    co_return kOk;
  }

  const lend::SpliceFile file_;
  lend::DirectPipe pipe_;
};

// As posted, the program would have seen what was in the pages before.
TEST_P(OnEachProvider, S33_P8_AnUnreadTailIsNotClaimedAsFilled) {
  const Descriptor file = make_file(kChunk + 1000, true);
  serve_with<Claims>(looked_at(file));
  memory(kBytes);
  EXPECT_EQ(read(0, kBytes), EIO);
}

TEST_P(OnEachProvider, S36_NoQuotaARetryIsLentTheSameBytes) {
  const Descriptor shorter = make_file(1000, true);
  const Descriptor file = make_file(kBytes, true);
  Tools tools;
  auto& server = serve_with<Splices>(
      Splices::Makers{whole(tools, looked_at(shorter)), whole(tools, looked_at(file))});
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.result(0), 1000);
  EXPECT_EQ(server.result(1), kBytes);
  EXPECT_TRUE(has_pattern(back));
}

// One call on pages of a request whose I/O the test completes.
class OneCall {
 public:
  explicit OneCall(lend::Producer& into, OneRequest& one)
      : splicing_(pipe, into, kBytes, kFile, 4096), task_(splicing_.run(one.request)) {
    one.ring.settle();
  }
  bool finished() const { return task_.finished(); }
  int64_t result() const { return splicing_.result(); }

  lend::DirectPipe pipe;

 private:
  lend::SpliceReadToRead splicing_;
  Task task_;
};

TEST(Rules, S30_S31_S38_ProducesAndConsumesInTurnAtMost64KiB) {
  OneRequest one(Op::read, kBytes);
  lend::BufferProducer into(one.provider, one.at());
  OneCall call(into, one);
  ASSERT_EQ(one.ring.pending(), 1U);
  EXPECT_EQ(one.ring.sqe(0).off, 4096U);
  EXPECT_EQ(one.ring.sqe(0).len, kChunk);
  EXPECT_EQ(call.pipe.slots(), 16U);
  one.ring.complete(0, kChunk);
  ASSERT_EQ(one.ring.pending(), 1U);
  EXPECT_EQ(one.ring.sqe(0).off, 4096U + kChunk);
  one.ring.complete(0, kChunk);
  EXPECT_EQ(call.result(), kBytes);
  EXPECT_EQ(one.loan().filled_bytes(), kBytes);
}

TEST(Rules, S19_S34_AnErrorCountsOnlyIfNothingWasFilled) {
  OneRequest one(Op::read, kBytes);
  lend::BufferProducer first(one.provider, one.at());
  OneCall failed(first, one);
  one.ring.complete(0, -EIO);
  EXPECT_EQ(failed.result(), -EIO);
  EXPECT_TRUE(failed.pipe.empty());
  lend::BufferProducer second(one.provider, one.at());
  OneCall partly(second, one);
  one.ring.complete(0, kChunk);
  one.ring.complete(0, 100);
  one.ring.complete(0, -EIO);
  EXPECT_EQ(partly.result(), kChunk + 100);
  EXPECT_TRUE(partly.pipe.empty());
  EXPECT_EQ(one.loan().filled_bytes(), kChunk + 100);
  EXPECT_EQ(one.loan().references(), 2U);
}

// It became EAGAIN once, which has callers try for ever what cannot work.
TEST(Rules, S34_AFaultDoesNotSayTryAgain) {
  OneRequest one(Op::read, kBytes);
  lend::BufferProducer into(one.provider, one.at());
  OneCall failed(into, one);
  one.ring.complete(0, -EFAULT);
  EXPECT_EQ(failed.result(), -EFAULT);
}

// Confirms only its first `times` chunks.
class Forgetful final : public lend::Producer {
 public:
  Forgetful(OneRequest& one, int times) : one_(one), times_(times) {}

  Status prepare(uint64_t, Direction) override { return kOk; }
  Task produce(Request&, lend::DirectPipe& pipe, uint32_t length) override {
    pipe.put(one_.loan().view(0, length));
    if (times_-- > 0) pipe.confirm(pipe.use());
    return kOk;
  }

 private:
  OneRequest& one_;
  int times_;
};

TEST(Rules, S27_S42_E_AChunkThatIsNotConfirmedIsNotFilled) {
  OneRequest one(Op::read, kBytes);
  Forgetful never(one, 0);
  const OneCall refused(never, one);
  EXPECT_EQ(refused.result(), -EACCES);
  EXPECT_TRUE(refused.pipe.empty());
  EXPECT_TRUE(one.untouched());

  Forgetful once(one, 1);
  const OneCall late(once, one);
  one.ring.complete(0, kChunk);
  EXPECT_TRUE(late.finished());
  EXPECT_EQ(late.result(), -EACCES) << "and nothing counts as moved";
  EXPECT_EQ(one.ring.pending(), 0U);
  EXPECT_EQ(one.loan().references(), 2U);
}

TEST(Rules, S27_E_TheFileThatProducesIsNotFilled) {
  OneRequest one(Op::read, kBytes);
  const Descriptor file = make_file(kBytes, true);
  lend::FileProducer from(looked_at(file), 0);
  const OneCall refused(from, one);
  one.ring.perform_all();
  EXPECT_EQ(refused.result(), -EACCES);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_EQ(one.loan().filled_bytes(), 0U);
}

// One way out left it set once.
TEST(Rules, S35_NothingStaysConfirmedWhateverTheEnd) {
  OneRequest one(Op::read, kBytes);
  for (const int32_t result : {0, 100, -EIO, -ENOMEM}) {
    lend::BufferProducer into(one.provider, one.at());
    const OneCall call(into, one);
    EXPECT_TRUE(call.pipe.confirmed());
    one.ring.complete(0, result);
    if (!call.finished()) one.ring.complete(0, 0);
    EXPECT_TRUE(call.finished());
    EXPECT_FALSE(call.pipe.confirmed()) << result;
  }
}

}  // namespace
}  // namespace sluice::test
