// splice_direct: S14 to S22, and S36.
#include "lend/splice_direct.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include "conformance/serves_with.hpp"
#include "conformance/sockets.hpp"
#include "conformance/splice_files.hpp"

namespace sluice::test {
namespace {

constexpr uint32_t kBytes = 128 * 1024;
constexpr uint32_t kChunk = lend::DirectPipe::kBytes;

using Splices = ServesWith<lend::SpliceDirect>;

// What a server has for its calls; they come one after the other.
struct Tools {
  lend::DirectPipe pipe;
  std::optional<lend::BufferProducer> from;
};

Splices::Make whole(Tools& tools, const lend::SpliceFile& to, uint64_t offset = 0) {
  return [&tools, to, offset](auto& command, Request& request, lend::Provider& device) {
    tools.from.emplace(device, lend::Provider::position(request));
    command.emplace(tools.pipe, *tools.from, request.length, to, offset);
  };
}

int held_by_kernel(lend::DirectPipe& pipe) {
  int held = -1;
  EXPECT_EQ(ioctl((*pipe.file_pages())->read_end.number(), FIONREAD, &held), 0);
  return held;
}

// ublk refused its pages to a splice that was not direct.
TEST_P(OnEachProvider, S14_S19_S20_S22_MovesAllBytesChunkByChunk) {
  const Descriptor file = make_file(1 << 20, false);
  Tools tools;
  auto& server = serve_with<Splices>(whole(tools, looked_at(file), 8192));
  memory(4 * kBytes, true);
  ASSERT_EQ(write(0, 4 * kBytes), 0);
  EXPECT_EQ(server.result(), 4 * kBytes);
  EXPECT_TRUE(are_its_own(server.submissions(), 4 * kBytes / kChunk)) << server.submissions();
  EXPECT_TRUE(has_pattern(contents(file, 4 * kBytes, 8192)));
  EXPECT_TRUE(tools.pipe.empty());
  EXPECT_EQ(copied_bytes(), 0U);
  EXPECT_EQ(server.references_left(), 2U);
}

TEST_P(OnEachProvider, S16_NoLengthTouchesNothing) {
  const Descriptor file = make_file(kBytes, true);
  Tools tools;
  auto& server = serve_with<Splices>([&](auto& command, Request& request, lend::Provider& device) {
    tools.from.emplace(device, lend::Provider::position(request));
    command.emplace(tools.pipe, *tools.from, 0, looked_at(file), 0);
  });
  memory(kBytes);
  EXPECT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(), 0);
  EXPECT_EQ(server.submissions(), 0U);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
}

TEST_P(OnEachProvider, S17_E_FilesThatCannotBeWrittenSo) {
  const Descriptor file = make_file(kBytes, true);
  const Descriptor to_read = opened_anew(file, O_RDONLY);
  const Descriptor appending = opened_anew(file, O_WRONLY | O_APPEND);
  const Pair sockets = stream_sockets();
  Tools tools;
  auto& server = serve_with<Splices>(Splices::Makers{
      whole(tools, lend::SpliceFile::of(-1)),
      whole(tools, looked_at(to_read)),
      whole(tools, looked_at(appending)),
      whole(tools, looked_at(sockets.near)),
      whole(tools, looked_at(file), UINT64_MAX),
      whole(tools, looked_at(file), INT64_MAX),
  });
  memory(kBytes);
  EXPECT_EQ(write(0, kBytes), 0);
  const std::array expected{-EBADF, -EBADF, -EINVAL, -EINVAL, -EINVAL, -EINVAL};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(server.result(i), expected[i]) << i;
  EXPECT_EQ(server.submissions(), 0U);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_EQ(pending_bytes(sockets.far), 0);
  EXPECT_TRUE(tools.pipe.empty());
}

TEST_P(OnEachProvider, S14_E_NamesOfNothing) {
  const Descriptor file = make_file(kBytes, true);
  Tools tools;
  auto& server = serve_with<Splices>(on_bad_names<lend::SpliceDirect>(
      [&](auto& command, lend::Provider& device, const BadName& bad) {
        tools.from.emplace(device, bad.at);
        command.emplace(tools.pipe, *tools.from, bad.length, looked_at(file), 0);
      }));
  memory(kBytes);
  EXPECT_EQ(write(0, kBytes), 0);
  for (size_t i = 0; i < kBadNameErrors.size(); ++i) {
    const bool no_length = i == 3;
    EXPECT_EQ(server.result(i), no_length ? 0 : -kBadNameErrors[i]) << i;
  }
  EXPECT_EQ(server.submissions(), 0U);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
}

TEST_P(OnEachProvider, S29_E_TheBufferOfAReadIsNoSource) {
  const Descriptor file = make_file(kBytes, true);
  Tools tools;
  auto& server = serve_with<Splices>(whole(tools, looked_at(file)));
  EXPECT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.result(), -EACCES);
  EXPECT_EQ(server.submissions(), 0U);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
}

TEST_P(OnEachProvider, S18_S19_AnErrorAfterSomeBytesIsTheirNumberAndThePipeIsEmpty) {
  constexpr uint32_t kRoom = kChunk + 9 * 4096;
  const Descriptor some = make_full_file(kRoom);
  const Descriptor none = make_full_file(0);
  Tools tools;
  auto& server = serve_with<Splices>(
      Splices::Makers{whole(tools, looked_at(some)), whole(tools, looked_at(none))});
  memory(kBytes, true);
  EXPECT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(0), kRoom);
  EXPECT_EQ(server.result(1), -EPERM);
  EXPECT_TRUE(has_pattern(contents(some, kBytes)));
  EXPECT_TRUE(contents(none, kBytes).empty());
  EXPECT_TRUE(tools.pipe.empty());
  EXPECT_EQ(server.references_left(), 2U);
}

// The first series counted what it had lent, failures too: EACCES from then on.
TEST_P(OnEachProvider, S36_NoQuotaAMirrorAndARetryAreLentTheSameBytes) {
  const Descriptor one = make_file(kBytes, false);
  const Descriptor two = make_file(kBytes, false);
  const Descriptor full = make_full_file(0);
  Tools tools;
  auto& server = serve_with<Splices>(Splices::Makers{
      whole(tools, looked_at(full)), whole(tools, looked_at(one)), whole(tools, looked_at(two))});
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(0), -EPERM);
  EXPECT_EQ(server.result(1), kBytes);
  EXPECT_EQ(server.result(2), kBytes);
  EXPECT_TRUE(has_pattern(contents(one, kBytes)));
  EXPECT_TRUE(has_pattern(contents(two, kBytes)));
}

// From file to file; the request only lends its ring.
class FileToFile {
 public:
  FileToFile(const lend::SpliceFile& from, uint64_t from_offset, uint64_t length,
             const lend::SpliceFile& to, uint64_t to_offset, uint32_t flags = 0)
      : from_(from, from_offset, flags),
        splicing_(pipe, from_, length, to, to_offset),
        task_(splicing_.run(one.request)) {
    ring.settle();
  }
  int error() const { return task_.finished() ? task_.status().error() : -1; }
  int64_t result() const { return splicing_.result(); }

  OneRequest one{Op::write, 512};
  ManualRing& ring = one.ring;
  lend::DirectPipe pipe;

 private:
  lend::FileProducer from_;
  lend::SpliceDirect splicing_;
  Task task_;
};

TEST(Rules, S14_S19_FromFileToFile) {
  const Descriptor from = make_file(1 << 20, true);
  const Descriptor to = make_file(0, false);
  FileToFile moving(looked_at(from), 1000, kBytes + 5, looked_at(to), 3);
  moving.ring.perform_all();
  EXPECT_EQ(moving.error(), 0);
  EXPECT_EQ(moving.result(), kBytes + 5);
  EXPECT_TRUE(has_pattern(contents(to, kBytes + 5, 3), 1000));
  EXPECT_TRUE(moving.pipe.empty());
  EXPECT_EQ(held_by_kernel(moving.pipe), 0);
}

TEST(Rules, S19_TheEndOfTheSourceIsNoError) {
  const Descriptor from = make_file(kChunk + 100, true);
  const Descriptor to = make_file(0, false);
  FileToFile some(looked_at(from), 0, kBytes, looked_at(to), 0);
  some.ring.perform_all();
  EXPECT_EQ(some.error(), ENODATA);
  EXPECT_EQ(some.result(), kChunk + 100);
  EXPECT_TRUE(has_pattern(contents(to, kBytes)));
  FileToFile none(looked_at(from), kChunk + 100, kBytes, looked_at(to), 0);
  none.ring.perform_all();
  EXPECT_EQ(none.result(), 0);
}

TEST(Rules, S18_S19_WhatTheSinkDoesNotTakeIsReleased) {
  const Descriptor from = make_file(1 << 20, true);
  const Descriptor to = make_file(0, false);
  FileToFile moving(looked_at(from), 0, kBytes, looked_at(to), 0);
  moving.ring.perform(0);
  moving.ring.perform(0, 5000);
  moving.ring.complete(0, -EINTR);
  ASSERT_EQ(moving.ring.pending(), 1U);
  EXPECT_EQ(moving.ring.sqe(0).off, 5000U);
  moving.ring.complete(0, -EIO);
  EXPECT_EQ(moving.error(), EIO);
  EXPECT_EQ(moving.result(), 5000);
  EXPECT_TRUE(moving.pipe.empty());
  EXPECT_EQ(held_by_kernel(moving.pipe), 0);

  FileToFile failing(looked_at(from), 0, kBytes, looked_at(to), 0);
  failing.ring.complete(0, -EIO);
  EXPECT_EQ(failing.result(), -EIO);
  FileToFile full(looked_at(from), 0, kBytes, looked_at(to), 0);
  full.ring.perform(0);
  full.ring.complete(0, 0);
  EXPECT_EQ(full.result(), -ENOSPC);
  EXPECT_EQ(held_by_kernel(full.pipe), 0);
}

// SPLICE_F_DIRECT and SPLICE_F_READ_TO_READ are operations here, and no flags: READ_TO_READ alone
// was once found out late, or not at all.
TEST(Rules, S15_S23_E_UnknownFlags) {
  const Descriptor from = make_file(kBytes, true);
  const Descriptor to = make_file(0, false);
  for (const uint32_t flags : {0x10U, 0x20U, 0x30U, 0x100U, 0x400U, 1U << 31, 0x1fU}) {
    FileToFile refused(looked_at(from), 0, kBytes, looked_at(to), 0, flags);
    EXPECT_EQ(refused.result(), -EINVAL) << flags;
    EXPECT_TRUE(refused.one.untouched());
  }
}

TEST(Rules, S17_E_SourcesThatCannotBeReadSo) {
  const Descriptor file = make_file(kBytes, true);
  const Descriptor to_write = opened_anew(file, O_WRONLY);
  const Pair sockets = stream_sockets();
  const Descriptor to = make_file(0, false);
  const std::pair<lend::SpliceFile, int> refused[]{{lend::SpliceFile::of(-1), EBADF},
                                                   {looked_at(to_write), EBADF},
                                                   {looked_at(sockets.near), EINVAL}};
  for (const auto& [from, error] : refused) {
    FileToFile moving(from, 0, kBytes, looked_at(to), 0);
    EXPECT_EQ(moving.result(), -error);
    EXPECT_TRUE(moving.one.untouched());
  }
  FileToFile without_offset(looked_at(file), UINT64_MAX, kBytes, looked_at(to), 0);
  EXPECT_EQ(without_offset.result(), -EINVAL);
  EXPECT_TRUE(without_offset.one.untouched());
}

TEST(Rules, S17_E_ASourceWithoutSpliceRead) {
  const Descriptor null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const Descriptor to = make_file(kBytes, true);
  FileToFile moving(looked_at(null), 0, kBytes, looked_at(to), 0);
  moving.ring.perform_all();
  EXPECT_EQ(moving.result(), -EINVAL);
  EXPECT_TRUE(has_pattern(contents(to, kBytes)));
}

TEST(Rules, S18_E_WithoutAPipeNothingIsMoved) {
  const Descriptor from = make_file(kBytes, true);
  const Descriptor to = make_file(kBytes, false);
  const lend::SpliceFile source = looked_at(from);
  const lend::SpliceFile sink = looked_at(to);
  OneRequest one(Op::write, 512);
  lend::DirectPipe pipe;
  lend::FileProducer producer(source, 0);
  lend::SpliceDirect splicing(pipe, producer, kBytes, sink, 0);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const Task refused = splicing.run(one.request);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(refused.status().error(), EMFILE);
  EXPECT_EQ(splicing.result(), -EMFILE);
  EXPECT_TRUE(one.untouched());
  EXPECT_TRUE(pipe.empty());
  EXPECT_EQ(contents(to, kBytes), std::vector<std::byte>(kBytes));
  EXPECT_TRUE(pipe.enter()) << "it can be used again";
}

TEST(Rules, S21_NonblockingIsForTheInputOnly) {
  const Descriptor from = make_file(kBytes, true);
  const Descriptor to = make_file(0, false);
  FileToFile moving(looked_at(from), 0, kBytes, looked_at(to), 0, SPLICE_F_NONBLOCK);
  EXPECT_EQ(moving.ring.sqe(0).splice_flags, uint32_t{SPLICE_F_NONBLOCK});
  moving.ring.perform(0);
  EXPECT_EQ(moving.ring.sqe(0).splice_flags, 0U);
  moving.ring.perform_all();
  EXPECT_EQ(moving.result(), kBytes);
}

// FD_IN_FIXED and FIXED_FILE are the ring's to say.
TEST(Rules, S15_S54_BothFilesMayBeRegistered) {
  const Descriptor source = make_file(kBytes, true);
  const Descriptor sink = make_file(0, false);
  lend::SpliceFile from = looked_at(source);
  lend::SpliceFile to = looked_at(sink);
  from.file = {.number = 3, .registered = true};
  to.file = {.number = 4, .registered = true};
  FileToFile moving(from, 0, kBytes, to, 0);
  EXPECT_EQ(moving.ring.sqe(0).splice_fd_in, 3);
  EXPECT_EQ(moving.ring.sqe(0).splice_flags, SPLICE_F_FD_IN_FIXED);
  EXPECT_EQ(moving.ring.sqe(0).flags, 0);
  moving.ring.complete(0, 4096);
  EXPECT_EQ(moving.ring.sqe(0).fd, 4);
  EXPECT_EQ(moving.ring.sqe(0).flags, IOSQE_FIXED_FILE);
  EXPECT_EQ(moving.ring.sqe(0).splice_flags, 0U);
  moving.ring.complete(0, -EIO);
  EXPECT_EQ(moving.result(), -EIO);
}

TEST(Rules, S18_OneCallAtATime) {
  OneRequest one(Op::write, kBytes);
  const Descriptor file = make_file(0, false);
  lend::DirectPipe pipe;
  lend::BufferProducer from(one.provider, one.at());
  lend::SpliceDirect first(pipe, from, kBytes, looked_at(file), 0);
  const Task moving = first.run(one.request);
  lend::BufferProducer again(one.provider, one.at());
  lend::SpliceDirect second(pipe, again, kBytes, looked_at(file), 0);
  const Task refused = second.run(one.request);
  EXPECT_EQ(refused.status().error(), EBUSY);
  one.ring.perform_all();
  EXPECT_EQ(first.result(), kBytes);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
}

}  // namespace
}  // namespace sluice::test
