// FusedGroup, our generalisation of FUSED_CMD: many consumers of one buffer at once (S64, S76,
// P-7).
#include "lend/fused_group.hpp"

#include <algorithm>

#include "conformance/attempts.hpp"
#include "conformance/sockets.hpp"

namespace sluice::test {
namespace {

using lend::FusedGroup;
using Members = std::vector<FusedGroup::Member>;

constexpr uint32_t kBytes = 128 * 1024;

class Groups : public Attempts {
 public:
  explicit Groups(Members members) : members_(std::move(members)) {}

  const Members& members() const { return members_; }
  int error() const { return error_; }
  uint64_t system_calls() const { return system_calls_; }

 private:
  Task attempt(Request& request) override {
    const uint64_t before = request.ring->counters().enters;
    FusedGroup group({&provider(), request.queue, request.tag}, members_);
    {
      Task running = group.run(request);
      const Status status = co_await running;
      error_ = status.error();
    }
    system_calls_ = request.ring->counters().enters - before;
    co_return kOk;
  }

  Members members_;
  int error_ = 0;
  uint64_t system_calls_ = 0;
};

Members mirror(const Descriptor& left, const Descriptor& right) {
  return {{.piece = {0, kBytes}, .consumer = lend::Write{.file = as_file(left)}},
          {.piece = {0, kBytes}, .consumer = lend::Write{.file = as_file(right)}}};
}

TEST_P(OnEachProvider, S64_P7_AMirrorIsTheFullLengthTwice) {
  const Descriptor left = make_file(0, false);
  const Descriptor right = make_file(0, false);
  auto& server = serve_with<Groups>(mirror(left, right));
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.error(), 0);
  for (const auto& member : server.members()) EXPECT_EQ(member.result, kBytes);
  EXPECT_TRUE(has_pattern(contents(left, kBytes)));
  EXPECT_TRUE(has_pattern(contents(right, kBytes)));
  EXPECT_EQ(server.references_left(), 2U);
  EXPECT_EQ(copied_bytes(), 0U);
}

TEST_P(OnEachProvider, P7_AFileAndASocketAtOnce) {
  const Descriptor file = make_file(0, false);
  const Pair sockets = stream_sockets();
  Members members = mirror(file, file);
  members[1].consumer = lend::Send{.socket = as_file(sockets.near)};
  auto& server = serve_with<Groups>(members);
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.error(), 0);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_TRUE(has_pattern(received(sockets.far, kBytes)));
}

// Chunks of 16 KiB go in turn to two files: one vectored operation for each (S115).
constexpr uint32_t kChunk = 16 * 1024;

std::vector<Segment> chunks_of(uint32_t member) {
  std::vector<Segment> pieces;
  for (uint32_t at = member * kChunk; at < kBytes; at += 2 * kChunk) pieces.push_back({at, kChunk});
  return pieces;
}

TEST_P(OnEachProvider, P7_S115_AStripeIsOneVectoredOperationForEachFile) {
  const Descriptor left = make_file(0, false);
  const Descriptor right = make_file(0, false);
  const auto even = chunks_of(0);
  const auto odd = chunks_of(1);
  Members members = mirror(left, right);
  members[0].consumer = lend::Writev{.file = as_file(left), .pieces = even};
  members[1].consumer = lend::Writev{.file = as_file(right), .pieces = odd};
  auto& server = serve_with<Groups>(members);
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.error(), 0);
  EXPECT_TRUE(are_its_own(server.submissions(), 2));
  for (uint32_t i = 0; i * kChunk < kBytes; ++i) {
    const auto chunk = contents(i % 2 == 0 ? left : right, kChunk, i / 2 * kChunk);
    EXPECT_TRUE(has_pattern(chunk, i * kChunk)) << i;
  }
  EXPECT_EQ(copied_bytes(), 0U);
}

TEST_P(OnEachProvider, P7_AReadIsPutTogetherFromTwoFiles) {
  const Descriptor file = make_file(kBytes, true);
  const auto even = chunks_of(0);
  const auto odd = chunks_of(1);
  // The file's first half goes to the even chunks, its second half to the odd ones.
  Members members(2, {.piece = {0, kBytes}});
  members[0].consumer = lend::Readv{.file = as_file(file), .pieces = even};
  members[1].consumer = lend::Readv{.file = as_file(file), .offset = kBytes / 2, .pieces = odd};
  auto& server = serve_with<Groups>(members);
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.error(), 0);
  for (uint32_t i = 0; i * kChunk < kBytes; ++i) {
    const uint32_t from = i / 2 * kChunk + (i % 2) * kBytes / 2;
    EXPECT_TRUE(has_pattern(back.subspan(size_t{i} * kChunk, kChunk), from)) << i;
  }
}

TEST_P(OnEachProvider, S115_AShortPartIsAnErrorOfTheWhole) {
  const Descriptor file = make_file(kBytes / 2 + 100, true);
  Members members(2, {.piece = {0, kBytes / 2}});
  members[0].consumer = lend::Read{.file = as_file(file)};
  members[1].piece.offset = kBytes / 2;
  members[1].consumer = lend::Read{.file = as_file(file), .offset = kBytes / 2};
  auto& server = serve_with<Groups>(members);
  memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.error(), ENODATA);
  EXPECT_EQ(server.members()[0].result, kBytes / 2);
  EXPECT_EQ(server.members()[1].result, 100);
  EXPECT_EQ(server.filled_bytes(), kBytes / 2 + 100);
}

TEST_P(OnEachProvider, P7_OneThatFailsDoesNotDisturbTheOther) {
  const Descriptor readable(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const Descriptor file = make_file(0, false);
  auto& server = serve_with<Groups>(mirror(readable, file));
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.error(), EBADF);
  EXPECT_EQ(server.members()[0].result, -EBADF);
  EXPECT_EQ(server.members()[1].result, kBytes);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_EQ(server.references_left(), 2U);
}

TEST_P(OnEachWithoutPipes, P7_P11_AllOfThemAreOneSystemCall) {
  const Descriptor null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  Members members(4, {.piece = {0, kBytes}, .consumer = lend::Write{.file = as_file(null)}});
  auto& server = serve_with<Groups>(members);
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.error(), 0);
  EXPECT_EQ(server.submissions(), 4U);
  EXPECT_EQ(server.system_calls(), 1U);
}

TEST_P(OnEachProvider, S67_S69_OneThatIsRefusedKeepsAllFromBeginning) {
  const Descriptor file = make_file(kBytes, true);
  Members members(2, {.piece = {0, kBytes}, .consumer = lend::Read{.file = as_file(file)}});
  members[1].piece = {kBytes - 1, 2};
  auto& server = serve_with<Groups>(members);
  memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.error(), EFAULT);
  EXPECT_EQ(server.filled_bytes(), 0U);
  EXPECT_EQ(server.submissions(), 0U);
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);  // what it may not do comes before where it would be
  EXPECT_EQ(server.error(), EACCES);
  for (const auto& member : server.members()) EXPECT_EQ(member.result, -EACCES);
}

TEST(Rules, P2_P7_TheBufferIsBackWithTheLastOfThemInAnyOrder) {
  std::vector<size_t> order{0, 1, 2};
  do {
    OneRequest one(Op::write, 4096);
    TestTag runner(one.ring);
    Members members(3, {.piece = {0, 4096}, .consumer = lend::Write{.file = {.number = 5}}});
    FusedGroup group({&one.provider, 0, 0}, members);
    const Task task = group.run(runner.make(Op::flush, 0, 0));
    one.ring.settle();
    one.provider.end(one.request);
    one.tag.finish();
    std::vector<size_t> pending{0, 1, 2};
    for (const size_t next : order) {
      EXPECT_EQ(one.tag.returned_count, 0);
      const auto at = std::find(pending.begin(), pending.end(), next);
      one.ring.complete(static_cast<size_t>(at - pending.begin()), 4096);
      pending.erase(at);
    }
    EXPECT_TRUE(task.status().ok());
    EXPECT_EQ(one.tag.returned_count, 1);
  } while (std::next_permutation(order.begin(), order.end()));
}

}  // namespace
}  // namespace sluice::test
