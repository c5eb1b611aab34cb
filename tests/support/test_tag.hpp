// TestTag: a front end's state per request (an arena, a loan, the request), for tests that call
// targets directly. It counts the returns of its loan.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <vector>

#include "core/task.hpp"
#include "ring/ring.hpp"

namespace sluice::test {

class TestTag final : private Lender {
 public:
  explicit TestTag(Ring& ring) : ring_(ring) {}
  ~TestTag() { finish(); }

  // A request whose data is `memory`, lent as mapped memory, or as slot `slot` of the buffer table.
  Request& make(Op op, uint64_t offset, std::span<std::byte> memory, int slot = Loan::kNoSlot) {
    finish();
    const Direction direction = op == Op::read ? Direction::destination : Direction::source;
    if (slot == Loan::kNoSlot) {
      request.data = loan.lend_mapped(*this, direction, memory);
    } else {
      // Bytes are copied through the lender's file, if it has one: here the memory itself.
      request.data =
          loan.lend_registered(*this, direction, static_cast<uint32_t>(memory.size()), slot,
                               own_memory, reinterpret_cast<uint64_t>(memory.data()));
    }
    return fill(op, offset, memory.size());
  }

  // A request whose data is lent in pipes. nullopt if this process may not make such pipes.
  Request* make_piped(Op op, uint64_t offset, std::span<const std::byte> memory) {
    finish();
    PipePool& pipes = ring_.pipes();
    if (!pipes.is_open() && !pipes.open(kPipedBytesMax)) return nullptr;
    auto made = pipes.make();
    if (!made) return nullptr;
    pipe_ = std::move(*made);
    const auto length = static_cast<uint32_t>(memory.size());
    if (op == Op::read) {
      request.data = loan.lend_piped(*this, Direction::destination, length);
    } else {
      EXPECT_EQ(write(pipe_.write_end.number(), memory.data(), length), length);
      request.data = loan.lend_piped(*this, Direction::source, length, &pipe_);
    }
    return &fill(op, offset, memory.size());
  }
  static constexpr uint32_t kPipedBytesMax = 512 << 10;

  // The data of a piped read. Ends the loan.
  void collect(std::span<std::byte> memory) {
    request.data.drop();
    EXPECT_TRUE(ring_.pipes().collect(loan, pipe_).ok());
    for (size_t done = 0; done < memory.size();) {
      const ssize_t got = read(pipe_.read_end.number(), memory.data() + done, memory.size() - done);
      ASSERT_GT(got, 0);
      done += static_cast<size_t>(got);
    }
  }

  // A request without data: flush, discard, write zeroes.
  Request& make(Op op, uint64_t offset, uint64_t length) {
    finish();
    return fill(op, offset, length);
  }

  // Ends the loan as a front end does when the request is served and its Task is destroyed.
  void finish() {
    request.data.drop();
    if (loan.fills().pipes() != nullptr) ring_.pipes().discard(loan);
    arena.reset();
  }

  Arena arena;
  Loan loan;
  Request request;
  int returned_count = 0;
  File own_memory;  // /proc/self/mem, for lenders of slots that offer access to their bytes

 private:
  void returned(Loan&) noexcept override { ++returned_count; }

  Request& fill(Op op, uint64_t offset, uint64_t length) {
    View data = std::move(request.data);
    request = {};
    request.op = op;
    request.offset = offset;
    request.length = length;
    request.data = std::move(data);
    request.ring = &ring_;
    request.arena = &arena;
    request.ready = &ring_.ready();
    return request;
  }

  Ring& ring_;
  Pipe pipe_;
};

}  // namespace sluice::test
