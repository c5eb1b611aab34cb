// FanOut: for layers that serve one request with several children at once: runs a request with each
// order in which the children can end, and with errors in every position.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <vector>

#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "target/target.hpp"

namespace sluice::test {

// The result of an SQE that succeeded completely.
inline int32_t full_result(const io_uring_sqe& sqe) {
  switch (sqe.opcode) {
    case IORING_OP_FSYNC:
    case IORING_OP_FALLOCATE:
      return 0;
    case IORING_OP_READV:
    case IORING_OP_WRITEV: {
      const auto* vectors = reinterpret_cast<const iovec*>(sqe.addr);
      size_t bytes = 0;
      for (uint32_t i = 0; i < sqe.len; ++i) bytes += vectors[i].iov_len;
      return static_cast<int32_t>(bytes);
    }
    default:
      return static_cast<int32_t>(sqe.len);
  }
}

// Index of the pending SQE on file `number`; pending() if there is none.
inline size_t pending_on(const ManualRing& ring, int number) {
  size_t index = 0;
  while (index < ring.pending() && ring.sqe(index).fd != number) ++index;
  return index;
}

class FanOut {
 public:
  using MakeRequest = std::function<Request&(TestTag&)>;

  // `target` serves the request with one SQE on each of the files 0 .. count-1.
  FanOut(Target& target, size_t count, MakeRequest make_request)
      : target_(target), count_(count), make_request_(std::move(make_request)) {}

  // Every order of completion, with no error, each single one, and all of them failing.
  void run_all() {
    std::vector<size_t> order(count_);
    std::iota(order.begin(), order.end(), 0U);
    do {
      std::vector<int> errors(count_, 0);
      run(order, errors);
      for (size_t failing = 0; failing < count_; ++failing) {
        errors.assign(count_, 0);
        errors[failing] = EIO;
        run(order, errors);
      }
      for (size_t i = 0; i < count_; ++i) errors[i] = kDifferent[i];
      run(order, errors);
    } while (std::ranges::next_permutation(order).found);
  }

 private:
  static constexpr int kDifferent[] = {EIO, ENXIO, ETIMEDOUT, ENODEV};

  void run(const std::vector<size_t>& order, const std::vector<int>& errors) {
    ManualRing ring;
    TestTag tag(ring);
    Request& request = make_request_(tag);
    int first_error = 0;
    {
      Task task = target_.submit(request);
      ring.settle();
      ASSERT_EQ(ring.pending(), count_);
      for (const size_t number : order) {
        EXPECT_FALSE(task.finished()) << "a parent waits for all its children";
        const size_t index = pending_on(ring, static_cast<int>(number));
        ASSERT_LT(index, ring.pending());
        if (first_error == 0) first_error = errors[number];
        ring.complete(index, errors[number] != 0 ? -errors[number] : full_result(ring.sqe(index)));
      }
      ASSERT_TRUE(task.finished());
      EXPECT_EQ(task.status().error(), first_error);
    }
    const bool had_data = request.has_data();
    if (had_data) EXPECT_EQ(tag.loan.references(), 1U) << "all but the tag's own view are gone";
    tag.finish();
    EXPECT_EQ(tag.returned_count, had_data ? 1 : 0);
    EXPECT_EQ(tag.arena.overflows(), 0U);
  }

  Target& target_;
  const size_t count_;
  const MakeRequest make_request_;
};

}  // namespace sluice::test
