// The examples of docs/LENDING.md: what stands there between ```cpp and ``` stands here, line for
// line (tests/conformance/report.py --check), and is run on every provider.
#include <array>

#include "conformance/scene.hpp"
#include "sluice/lend.hpp"
#include "target/registry.hpp"

namespace sluice::test {
namespace {

constexpr uint32_t kBytes = 128 * 1024;

// What all of them have: the file that requests are served from, at the same offset.
class Example : public Server {
 public:
  explicit Example(const Descriptor& opened) : file(as_file(opened)) {}

 protected:
  const File file;
};

class WithDevSplice : public Example {
  using Example::Example;

  Task serve(Request& request) override {
    const auto length = static_cast<uint32_t>(request.length);
    const lend::Position at = lend::Provider::position(request);
    const lend::Consumer op = request.op == Op::read
                                  ? lend::Consumer(lend::Read{file, request.offset})
                                  : lend::Consumer(lend::Write{file, request.offset});
    lend::DevSplice splicing(provider(), at.pack(), length, op);
    Task running = splicing.run(request);
    co_return co_await running;
  }
};

class WithAnotherDevice : public Server {
 public:
  explicit WithAnotherDevice(Stack& other) : stack(other) {}

 private:
  Task serve(Request& request) override {
    const auto length = static_cast<uint32_t>(request.length);
    const lend::Position at = lend::Provider::position(request);
    const lend::Device other(stack);
    const lend::Consumer op = request.op == Op::read
                                  ? lend::Consumer(lend::ReadDevice{other, request.offset})
                                  : lend::Consumer(lend::WriteDevice{other, request.offset});
    lend::DevSplice splicing(provider(), at.pack(), length, op);
    Task running = splicing.run(request);
    co_return co_await running;
  }

  Stack& stack;
};

class WithSplice : public Example {
 public:
  explicit WithSplice(const Descriptor& opened)
      : Example(opened),
        splice_file(lend::SpliceFile::of(opened.number())),
        pipe(std::move(*lend::UserPipe::make())) {}

 private:
  Task serve(Request& request) override {
    const auto length = static_cast<uint32_t>(request.length);
    const lend::Position at = lend::Provider::position(request);
    lend::SpliceWrite writing(pipe, provider(), at, length, splice_file, request.offset);
    Task running = writing.run(request);
    co_return co_await running;
  }

  const lend::SpliceFile splice_file;
  lend::UserPipe pipe;
};

class WithDirectSplice : public Example {
 public:
  explicit WithDirectSplice(const Descriptor& opened)
      : Example(opened), splice_file(lend::SpliceFile::of(opened.number())) {}

 private:
  Task serve(Request& request) override {
    return request.op == Op::read ? fill(request) : store(request);
  }
  Task store(Request& request) {
    lend::BufferProducer from(provider(), lend::Provider::position(request));
    lend::SpliceDirect splicing(direct_pipe, from, request.length, splice_file, request.offset);
    Task running = splicing.run(request);
    co_return co_await running;
  }
  Task fill(Request& request) {
    lend::BufferProducer into(provider(), lend::Provider::position(request));
    lend::SpliceReadToRead splicing(direct_pipe, into, request.length, splice_file, request.offset);
    Task running = splicing.run(request);
    co_return co_await running;
  }

  const lend::SpliceFile splice_file;
  lend::DirectPipe direct_pipe;
};

class WithSpliceBuf : public Example {
  using Example::Example;

  Task serve(Request& request) override {
    return request.op == Op::read ? fill(request) : store(request);
  }
  Task store(Request& request) {
    lend::WriteSpliceBuf writing({.file = file,
                                  .offset = request.offset,
                                  .length = static_cast<uint32_t>(request.length),
                                  .device = &provider(),
                                  .position = lend::Provider::position(request).pack()});
    Task running = writing.run(request);
    co_return co_await running;
  }
  Task fill(Request& request) {
    lend::ReadSpliceBuf reading({.file = file,
                                 .offset = request.offset,
                                 .length = static_cast<uint32_t>(request.length),
                                 .device = &provider(),
                                 .position = lend::Provider::position(request).pack()});
    Task running = reading.run(request);
    co_return co_await running;
  }
};

class WithFused : public Example {
  using Example::Example;

  Task serve(Request& request) override {
    const auto length = static_cast<uint32_t>(request.length);
    const lend::Consumer slave = request.op == Op::read
                                     ? lend::Consumer(lend::Read{file, request.offset})
                                     : lend::Consumer(lend::Write{file, request.offset});
    lend::Fused moving({.master = {&provider(), request.queue, request.tag},
                        .piece = {.offset = 0, .length = length},
                        .slave = slave});
    Task running = moving.run(request);
    co_return co_await running;
  }
};

class WithFusedGroup : public Example {
 public:
  WithFusedGroup(const Descriptor& opened, const Descriptor& other)
      : Example(opened), mirror_file(as_file(other)) {}

 private:
  Task serve(Request& request) override {
    const auto length = static_cast<uint32_t>(request.length);
    std::array<lend::FusedGroup::Member, 2> mirror{
        {{.piece = {0, length}, .consumer = lend::Write{file, request.offset}},
         {.piece = {0, length}, .consumer = lend::Write{mirror_file, request.offset}}}};
    lend::FusedGroup moving({&provider(), request.queue, request.tag}, mirror);
    Task running = moving.run(request);
    co_return co_await running;
  }

  const File mirror_file;
};

class WithGetBuf : public Example {
 public:
  explicit WithGetBuf(const Descriptor& opened)
      : Example(opened), table(std::move(*lend::BufferTable::create(64))) {}

 private:
  Task serve(Request& request) override {
    const uint32_t slot = request.tag;
    const uint32_t half = static_cast<uint32_t>(request.length) / 2;
    lend::GetBuf getting(table, slot, provider(), lend::Provider::position(request), 2 * half);
    lend::UseBuf first(table, slot, {0, half}, lend::Write{file, request.offset});
    lend::UseBuf second(table, slot, {half, half}, lend::Write{file, request.offset + half});
    lend::PutBuf putting(table, slot);
    const std::array<lend::Step, 4> steps{getting, first, second, putting};
    lend::Chain chain(steps);
    Task running = chain.run(request);
    co_return co_await running;
  }

  lend::BufferTable table;
};

class WithAutoBuf : public Example {
 public:
  explicit WithAutoBuf(const Descriptor& opened)
      : Example(opened), table(std::move(*lend::BufferTable::create(64))) {}

 private:
  Task serve(Request& request) override {
    const uint32_t slot = request.tag;
    const auto length = static_cast<uint32_t>(request.length);
    const lend::AutoBuf buffer(table, slot, request.data);
    if (buffer.needs_get_buf()) co_return buffer.status();
    lend::UseBuf writing(table, slot, {0, length}, lend::Write{file, request.offset});
    Task running = writing.run(request);
    co_return co_await running;
  }

  lend::BufferTable table;
};

class ExamplesOnEachProvider : public OnEachProvider {
 protected:
  void expect_writes(const Descriptor& file) {
    memory(kBytes, true);
    ASSERT_EQ(write(8192, kBytes), 0);
    EXPECT_TRUE(has_pattern(contents(file, kBytes, 8192)));
    EXPECT_EQ(copied_bytes(), 0U);
  }
  void expect_reads() {
    const auto back = memory(kBytes);
    ASSERT_EQ(read(8192, kBytes), 0);
    EXPECT_TRUE(has_pattern(back, 8192));
    EXPECT_EQ(copied_bytes(), 0U);
  }

  const Descriptor empty_ = make_file(1 << 20, false);
  const Descriptor full_ = make_file(1 << 20, true);
};

TEST_P(ExamplesOnEachProvider, S57_ReadWithDevSplice) {
  serve_with<WithDevSplice>(full_);
  expect_reads();
}

TEST_P(ExamplesOnEachProvider, S57_WriteWithDevSplice) {
  serve_with<WithDevSplice>(empty_);
  expect_writes(empty_);
}

TEST_P(ExamplesOnEachProvider, S57_WriteAndReadWithAnotherDevice) {
  const auto other = Stack::open(*parse_spec("mem(1M)", target_vocabulary()), false);
  ASSERT_TRUE(other) << other.error().text;
  serve_with<WithAnotherDevice>(**other);
  memory(kBytes, true);
  ASSERT_EQ(write(8192, kBytes), 0);
  const auto back = memory(kBytes);
  ASSERT_EQ(read(8192, kBytes), 0);
  EXPECT_TRUE(has_pattern(back));
}

TEST_P(ExamplesOnEachProvider, S8_WriteWithSplice) {
  serve_with<WithSplice>(empty_);
  if (kind() == Kind::ublk || kind() == Kind::ublk_by_hand) {
    memory(kBytes, true);
    EXPECT_NE(write(8192, kBytes), 0) << "pages of ublk cannot be spliced any more";
    return;
  }
  expect_writes(empty_);
}

TEST_P(ExamplesOnEachProvider, S14_WriteWithDirectSplice) {
  serve_with<WithDirectSplice>(empty_);
  expect_writes(empty_);
}

TEST_P(ExamplesOnEachProvider, S23_ReadWithDirectSplice) {
  serve_with<WithDirectSplice>(full_);
  expect_reads();
}

TEST_P(ExamplesOnEachProvider, S46_WriteWithSpliceBuf) {
  serve_with<WithSpliceBuf>(empty_);
  expect_writes(empty_);
}

TEST_P(ExamplesOnEachProvider, S46_ReadWithSpliceBuf) {
  serve_with<WithSpliceBuf>(full_);
  expect_reads();
}

TEST_P(ExamplesOnEachProvider, S62_WriteWithFused) {
  serve_with<WithFused>(empty_);
  expect_writes(empty_);
}

TEST_P(ExamplesOnEachProvider, S62_ReadWithFused) {
  serve_with<WithFused>(full_);
  expect_reads();
}

TEST_P(ExamplesOnEachProvider, S64_MirrorWithFusedGroup) {
  const Descriptor other = make_file(1 << 20, false);
  serve_with<WithFusedGroup>(empty_, other);
  expect_writes(empty_);
  EXPECT_TRUE(has_pattern(contents(other, kBytes, 8192)));
}

TEST_P(ExamplesOnEachProvider, S86_WriteWithGetBuf) {
  serve_with<WithGetBuf>(empty_);
  expect_writes(empty_);
}

TEST_P(ExamplesOnEachProvider, S126_WriteWithAutoBuf) {
  serve_with<WithAutoBuf>(empty_);
  expect_writes(empty_);
}

INSTANTIATE_TEST_SUITE_P(Providers, ExamplesOnEachProvider, testing::ValuesIn(kinds_here()),
                         [](const testing::TestParamInfo<Kind>& kind) {
                           return to_string(kind.param);
                         });

}  // namespace
}  // namespace sluice::test
