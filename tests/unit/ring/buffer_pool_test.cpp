// BufferPool: which requests get a buffer and which wait, and that all operations accept a buffer.
#include "ring/buffer_pool.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <vector>

#include "ring/pooled_buffer.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "unit/core/allocations.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

constexpr size_t kBytes = 8192;

// Holds a buffer for as long as an operation on file `number` takes; `below` takes one meanwhile.
struct Layer {
  std::unique_ptr<BufferReserve> reserve;
  Layer* below = nullptr;

  Task hold(Request& request, int number) {
    auto wait = reserve->take();
    const PooledBuffer buffer = co_await wait;
    EXPECT_TRUE(buffer);
    if (below != nullptr) {
      auto task = below->hold(request, number);
      co_return co_await task;
    }
    auto working = request.ring->sync({.number = number}, true);
    co_return co_await working;
  }
};

class BufferPoolTest : public testing::Test {
 protected:
  void make(uint32_t buffers) {
    auto made = BufferPool::create(ring_, kBytes, buffers);
    ASSERT_TRUE(made) << made.error().text;
    pool_ = std::move(*made);
  }
  Layer layer(uint32_t reserved, Layer* below = nullptr) {
    auto made = pool_->reserve(reserved);
    EXPECT_TRUE(made);
    return {std::move(*made), below};
  }
  void start(Layer& layer) {
    const int number = static_cast<int>(tasks_.size());
    tags_.push_back(std::make_unique<TestTag>(ring_));
    Request& request = tags_.back()->make(Op::flush, 0, uint64_t{0});
    tasks_.push_back(std::make_unique<Task>(layer.hold(request, number)));
    ring_.settle();
  }
  void end(int number) {
    for (size_t i = 0; i < ring_.pending(); ++i) {
      if (ring_.sqe(i).fd != number) continue;
      ring_.complete(i, 0);
      EXPECT_TRUE(tasks_[static_cast<size_t>(number)]->finished());
      return;
    }
    FAIL() << number << " holds no buffer";
  }
  std::vector<int> holders() const {
    std::vector<int> numbers;
    for (size_t i = 0; i < ring_.pending(); ++i) numbers.push_back(ring_.sqe(i).fd);
    return numbers;
  }

  ManualRing ring_;
  std::unique_ptr<BufferPool> pool_;
  std::vector<std::unique_ptr<TestTag>> tags_;
  std::vector<std::unique_ptr<Task>> tasks_;
};

using Numbers = std::vector<int>;

TEST_F(BufferPoolTest, WhoeverFindsNoneWaitsInLine) {
  make(2);
  Layer only = layer(0);
  for (int i = 0; i < 4; ++i) start(only);
  EXPECT_EQ(holders(), (Numbers{0, 1}));
  end(1);
  EXPECT_EQ(holders(), (Numbers{0, 2}));
  end(2);
  end(0);
  end(3);
  EXPECT_EQ(pool_->free_buffers(), 2U);
}

TEST_F(BufferPoolTest, AReserveIsThereWhateverTheOthersHold) {
  make(3);
  Layer greedy = layer(0);
  Layer careful = layer(1);
  for (int i = 0; i < 3; ++i) start(greedy);
  EXPECT_EQ(holders(), (Numbers{0, 1}));
  start(careful);
  EXPECT_EQ(holders(), (Numbers{0, 1, 3}));
  start(careful);
  end(3);  // 2 came before 4, but this buffer is reserved
  EXPECT_EQ(holders(), (Numbers{0, 1, 4}));
  end(0);
  EXPECT_EQ(holders(), (Numbers{1, 4, 2}));
  for (int number : {4, 2, 1}) end(number);
}

TEST_F(BufferPoolTest, BeyondItsReserveATargetSharesWhatIsLeft) {
  make(4);
  Layer one = layer(1);
  Layer other = layer(1);
  for (int i = 0; i < 5; ++i) start(one);
  EXPECT_EQ(holders(), (Numbers{0, 1, 2}));
  start(other);
  EXPECT_EQ(holders(), (Numbers{0, 1, 2, 5}));
  end(5);
  EXPECT_EQ(holders(), (Numbers{0, 1, 2})) << "the other's own stays free";
  end(0);
  EXPECT_EQ(holders(), (Numbers{1, 2, 3}));
  for (int number : {1, 2, 3}) end(number);
  end(4);
}

TEST_F(BufferPoolTest, ALayerWaitsForTheLayersBelowAlone) {
  make(3);
  Layer bottom = layer(1);
  Layer middle = layer(1, &bottom);
  Layer top = layer(1, &middle);
  for (int i = 0; i < 10; ++i) start(i % 2 == 0 ? top : middle);
  for (int left = 10; left != 0; --left) {
    ASSERT_FALSE(ring_.pending() == 0) << left << " wait for ever";
    end(ring_.sqe(0).fd);
  }
  EXPECT_EQ(pool_->free_buffers(), 3U);
}

TEST_F(BufferPoolTest, ATargetThatGoesLeavesItsReserveToThoseWhoWait) {
  make(2);
  Layer staying = layer(0);
  {
    Layer going = layer(1);
    start(staying);
    start(staying);
    EXPECT_EQ(holders(), Numbers{0});
  }
  ring_.settle();
  EXPECT_EQ(holders(), (Numbers{0, 1}));
  end(0);
  end(1);
}

TEST_F(BufferPoolTest, MoreThanItHasCannotBeReserved) {
  make(4);
  const Layer some = layer(3);
  const auto refused = pool_->reserve(2);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().error, ENOSPC);
  EXPECT_TRUE(pool_->reserve(1));
}

TEST_F(BufferPoolTest, NobodyWaitsForEver) {
  std::mt19937 random(4711);
  for (int round = 0; round < 50; ++round) {
    make(4);
    Layer bottom = layer(1);
    Layer middle = layer(1, &bottom);
    Layer top = layer(random() % 2, &middle);
    const std::array<Layer*, 3> layers{&bottom, &middle, &top};
    int left = 0;
    for (int i = 0; i < 100; ++i) {
      if (random() % 3 != 0) {
        start(*layers[random() % 3]);
        ++left;
      } else if (ring_.pending() != 0) {
        end(ring_.sqe(random() % ring_.pending()).fd);
        --left;
      }
    }
    for (; left != 0; --left) {
      ASSERT_NE(ring_.pending(), 0U);
      end(ring_.sqe(random() % ring_.pending()).fd);
    }
    EXPECT_EQ(pool_->free_buffers(), 4U);
    tasks_.clear();
  }
}

// Reads into a buffer in two parts, then writes it out.
struct Copier {
  std::unique_ptr<BufferReserve> reserve;

  Task copy(Request& request, File from, File to) {
    auto wait = reserve->take();
    PooledBuffer buffer = co_await wait;
    {
      const View view = buffer.lend(Direction::destination, kBytes);
      auto reading = request.ring->read(from, 0, view);
      const Status status = co_await reading;
      if (!status.ok()) co_return status;
    }
    auto writing = request.ring->write(to, 0, buffer.lend(Direction::source, kBytes));
    const Status status = co_await writing;
    co_return status;
  }
};

TEST_F(BufferPoolTest, NothingIsAllocated) {
  make(2);
  Copier copier{std::move(*pool_->reserve(1))};
  TestTag tag(ring_);
  uint64_t before = 0;
  for (int round = 0; round < 20; ++round) {
    if (round == 3) before = allocations();
    const Task task =
        copier.copy(tag.make(Op::flush, 0, uint64_t{0}), {.number = 5}, {.number = 6});
    ring_.settle();
    ring_.complete(0, 1000);
    ring_.complete(0, kBytes - 1000);
    ring_.complete(0, kBytes);
    ASSERT_TRUE(task.finished());
  }
  EXPECT_EQ(allocations(), before);
}

// --- On a kernel's ring.

class BufferPoolOnKernelRing : public OnKernelRing {
 protected:
  void copy(bool register_it) {
    auto made = BufferPool::create(ring(), kBytes, 4);
    ASSERT_TRUE(made) << made.error().text;
    BufferPool& pool = **made;
    if (register_it) {
      const auto registered = pool.register_with(ring());
      if (!registered && registered.error().error == ENOMEM) GTEST_SKIP() << "ulimit -l";
      ASSERT_TRUE(registered) << registered.error().text;
      EXPECT_EQ(ring().free_slots(), kSlots - 1);
    }
    const Bytes content = pattern(kBytes, 3);
    Descriptor from;
    Descriptor to;
    try {
      from = temporary_file(content, O_DIRECT);
      to = temporary_file({}, O_DIRECT);
    } catch (const std::exception&) {
      from = temporary_file(content);
      to = temporary_file();
    }
    Copier copier{std::move(*pool.reserve(1))};
    TestTag tag(ring());
    const Task task = copier.copy(tag.make(Op::flush, 0, uint64_t{0}), file_of(from), file_of(to));
    while (!task.finished()) ring().run_once(true);
    EXPECT_TRUE(task.status().ok()) << task.status().error();
    Buffer aligned(kBytes);
    ASSERT_EQ(pread(to.number(), aligned.bytes().data(), kBytes, 0), ssize_t{kBytes});
    EXPECT_TRUE(std::ranges::equal(aligned.bytes(), content));
  }
};

TEST_F(BufferPoolOnKernelRing, ItsBuffersAreFitForDirectIo) { copy(false); }

TEST_F(BufferPoolOnKernelRing, RegisteredBuffersAreReadAndWrittenInPlace) {
  copy(true);
  EXPECT_EQ(ring().free_slots(), kSlots) << "the slot is back";
}

TEST_F(BufferPoolOnKernelRing, ARingWithoutAFreeSlotIsRefused) {
  open({.entries = 8});
  auto pool = BufferPool::create(ring(), kBytes, 1);
  ASSERT_TRUE(pool);
  const auto refused = (*pool)->register_with(ring());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().error, ENOSPC);
}

}  // namespace
}  // namespace sluice::test
