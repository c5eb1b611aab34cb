// Helpers for the tests of commands on lent buffers: a request on a ring whose completions the test
// makes up, and a server that tries a command and then answers its request, whatever the result.
#pragma once

#include "conformance/scene.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"

namespace sluice::test {

// A request of a provider of its own: queue 0, tag 0.
class OneRequest {
 public:
  OneRequest(Op op, size_t bytes) : memory(patterned(bytes)), request(tag.make(op, 0, memory)) {
    provider.begin(request);
  }
  ~OneRequest() { provider.end(request); }
  lend::Position at(uint32_t offset = 0) const { return provider.position(request, offset); }
  Loan& loan() { return tag.loan; }

  // Nothing was or will be submitted, and no byte was filled or changed.
  testing::AssertionResult untouched() {
    ring.settle();
    if (ring.counters().submitted != 0) return testing::AssertionFailure() << "submitted";
    const bool filled = loan().direction() == Direction::destination && loan().filled_bytes() != 0;
    if (filled) return testing::AssertionFailure() << "filled";
    if (!has_pattern(memory)) return testing::AssertionFailure() << "changed";
    return testing::AssertionSuccess();
  }

  ManualRing ring;
  std::vector<std::byte> memory;
  TestTag tag{ring};
  Request& request;
  lend::Provider provider{1, 4};
};

// Bytes of a read that the attempt has not filled are zeroes.
class Attempts : public Server {
 public:
  uint32_t filled_bytes() const { return filled_bytes_; }        // by the attempt
  uint64_t submissions() const { return submissions_; }          // of the attempt
  uint32_t references_left() const { return references_left_; }  // after its end: 2 are ours

 protected:
  virtual Task attempt(Request& request) = 0;

 private:
  Task serve(Request& request) override {
    const uint64_t before = request.ring->counters().submitted;
    {
      Task attempting = attempt(request);
      (void)co_await attempting;
    }
    const Loan& loan = *request.data.loan();
    submissions_ = request.ring->counters().submitted - before;
    filled_bytes_ = loan.filled_bytes();
    references_left_ = loan.references();
    if (request.op != Op::read || filled_bytes_ == request.length) co_return kOk;
    auto zeroing = request.ring->zero(request.data);
    co_return co_await zeroing;
  }

  uint32_t filled_bytes_ = 0;
  uint64_t submissions_ = 0;
  uint32_t references_left_ = 0;
};

}  // namespace sluice::test
