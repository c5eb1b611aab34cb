// BufferCommands: a server that serves each request with a chain of GetBuf, UseBuf and PutBuf, as a
// test plans it:
//
//   auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
//     on.get(0, request);
//     on.use(0, {0, kBytes}, lend::Write{.file = as_file(file)});
//     on.put(0);
//   });
//   ASSERT_EQ(write(0, kBytes), 0);
//   EXPECT_THAT(server.results(), ElementsAre(kBytes, kBytes, 0));
//
// A write is always answered with success, a read with the result of the chain.
#pragma once

#include <gmock/gmock.h>

#include <deque>
#include <functional>
#include <variant>
#include <vector>

#include "conformance/scene.hpp"
#include "lend/chain.hpp"
#include "lend/get_buf.hpp"
#include "ring/ring.hpp"

namespace sluice::test {

inline lend::BufferTable make_table(uint32_t slots) {
  auto table = lend::BufferTable::create(slots);
  EXPECT_TRUE(table) << table.error().text;
  return std::move(*table);
}

class BufferCommands : public Server {
 public:
  using Plan = std::function<void(BufferCommands&, Request&)>;
  using Into = lend::BufferTable::Into;
  using Link = lend::Link;

  static constexpr uint32_t kSlots = 4;

  explicit BufferCommands(Plan plan) : plan_(std::move(plan)) {}

  // For plans: the whole buffer of a request, or a part of it.
  void get(uint32_t slot, const Request& request, Link link = Link::none) {
    get(slot, provider(), lend::Provider::position(request), static_cast<uint32_t>(request.length),
        link);
  }
  void get(uint32_t slot, lend::BufferSource source, lend::Position at, uint32_t length,
           Link link = Link::none, Into into = Into::empty) {
    add<lend::GetBuf>(link, table_, slot, source, at, length, into);
  }
  void use(uint32_t slot, Segment piece, const lend::Consumer& consumer, Link link = Link::none) {
    add<lend::UseBuf>(link, table_, slot, piece, consumer);
  }
  void put(uint32_t slot, Link link = Link::none) { add<lend::PutBuf>(link, table_, slot); }

  // Of the last request: the result of each command, in order; the result of the chain; SQEs that
  // were ready before the first submission, and io_uring_enter calls until the end.
  std::vector<int64_t> results() const {
    std::vector<int64_t> found;
    for (const Command& command : commands_) {
      found.push_back(std::visit([](const auto& each) { return each.result(); }, command));
    }
    return found;
  }
  Status status() const { return status_; }
  uint64_t submitted_at_once() const { return submitted_at_once_; }
  uint64_t enters() const { return enters_; }
  // After the chain: references that it added, and slots that are taken. Clears these slots.
  uint32_t references_left() const { return references_left_; }
  std::vector<uint32_t> slots_left() const { return slots_left_; }

 private:
  using Command = std::variant<lend::GetBuf, lend::UseBuf, lend::PutBuf>;

  template <typename Kind, typename... Arguments>
  void add(Link link, Arguments&&... arguments) {
    Command& command =
        commands_.emplace_back(std::in_place_type<Kind>, std::forward<Arguments>(arguments)...);
    steps_.emplace_back(std::get<Kind>(command), link);
  }

  Task serve(Request& request) override {
    steps_.clear();
    commands_.clear();
    plan_(*this, request);
    const Loan& loan = *request.data.loan();
    const uint32_t references = loan.references();
    const RingCounters& counters = request.ring->counters();
    const uint64_t submitted_before = counters.submitted;
    const uint64_t enters_before = counters.enters;
    {
      lend::Chain chain(steps_);
      Task running = chain.run(request);
      submitted_at_once_ = counters.submitted - submitted_before;
      EXPECT_EQ(counters.enters, enters_before);
      status_ = co_await running;
    }
    enters_ = counters.enters - enters_before;
    references_left_ = loan.references() - references;
    empty_table();
    co_return request.op == Op::write ? kOk : status_;
  }

  void empty_table() {
    slots_left_.clear();
    for (uint32_t slot = 0; slot < kSlots; ++slot) {
      if (table_.remove(slot).ok()) slots_left_.push_back(slot);
    }
  }

  const Plan plan_;
  lend::BufferTable table_ = make_table(kSlots);
  std::deque<Command> commands_;
  std::vector<lend::Step> steps_;
  Status status_;
  uint64_t submitted_at_once_ = 0;
  uint64_t enters_ = 0;
  uint32_t references_left_ = 0;
  std::vector<uint32_t> slots_left_;
};

}  // namespace sluice::test
