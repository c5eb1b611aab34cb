// In the steady state no splice allocates (P-20), for any number of chunks: the arena memory of a
// chunk is released before the next.
#include <gtest/gtest.h>

#include "lend/splice_direct.hpp"
#include "lend/splice_write.hpp"
#include "support/test_tag.hpp"
#include "unit/core/allocations.hpp"
#include "unit/ring/bytes.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

constexpr uint32_t kBytes = 512 * 1024;

class SpliceSteadyState : public OnKernelRing {
 protected:
  void SetUp() override {
    OnKernelRing::SetUp();
    if (!IsSkipped()) tag_.emplace(ring());
  }
  void TearDown() override {
    if (tag_) EXPECT_EQ(tag_->arena.overflows(), 0U);
  }

  // Runs the command for many requests, and counts the allocations of the later ones.
  template <typename Make>
  uint64_t allocated(Op op, Make make) {
    uint64_t before = 0;
    for (int round = 0; round < 20; ++round) {
      if (round == 3) before = allocations();
      Request& request = tag_->make(op, 0, memory_);
      provider_.begin(request);
      auto command = make();
      {
        const Task task = command.run(request);
        while (!task.finished()) ring().run_once(true);
      }
      EXPECT_EQ(command.result(), kBytes);
      provider_.end(request);
    }
    return allocations() - before;
  }

  Bytes memory_ = pattern(kBytes, 1);
  Descriptor file_ = temporary_file(pattern(kBytes, 2));
  lend::SpliceFile looked_at_ = lend::SpliceFile::of(file_.number());
  lend::Provider provider_{1, 1};
  lend::DirectPipe pipe_;
  std::optional<TestTag> tag_;  // last: its request has a view of the rest
};

TEST_F(SpliceSteadyState, PlainSpliceAllocatesNothing) {
  auto pipe = lend::UserPipe::make();
  ASSERT_TRUE(pipe);
  EXPECT_EQ(
      allocated(Op::write,
                [&] { return lend::SpliceWrite(*pipe, provider_, {}, kBytes, looked_at_, 0); }),
      0U);
  EXPECT_EQ(content_of(file_, kBytes), memory_);
}

TEST_F(SpliceSteadyState, NeitherDoesDirectSplice) {
  std::optional<lend::BufferProducer> from;
  EXPECT_EQ(allocated(Op::write,
                      [&] {
                        from.emplace(provider_, lend::Position{});
                        return lend::SpliceDirect(pipe_, *from, kBytes, looked_at_, 0);
                      }),
            0U);
  EXPECT_EQ(content_of(file_, kBytes), memory_);
}

TEST_F(SpliceSteadyState, NorReadToRead) {
  std::optional<lend::BufferProducer> into;
  EXPECT_EQ(allocated(Op::read,
                      [&] {
                        into.emplace(provider_, lend::Position{});
                        return lend::SpliceReadToRead(pipe_, *into, kBytes, looked_at_, 0);
                      }),
            0U);
  EXPECT_EQ(memory_, pattern(kBytes, 2));
}

TEST_F(SpliceSteadyState, NorFromFileToFile) {
  const Descriptor to = temporary_file();
  const lend::SpliceFile sink = lend::SpliceFile::of(to.number());
  std::optional<lend::FileProducer> from;
  EXPECT_EQ(allocated(Op::write,
                      [&] {
                        from.emplace(looked_at_, 0);
                        return lend::SpliceDirect(pipe_, *from, kBytes, sink, 0);
                      }),
            0U);
  EXPECT_EQ(content_of(to, kBytes), pattern(kBytes, 2));
}

}  // namespace
}  // namespace sluice::test
