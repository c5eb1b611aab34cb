// Chain: commands in one submission, in order, as SQEs with and without links (S99, S100, S120):
//
//   lend::GetBuf getting(...);  lend::UseBuf first(...), second(...);  lend::PutBuf putting(...);
//   const std::array<lend::Step, 4> steps{getting, first, second, putting};
//   lend::Chain chain(steps);
//   Task running = chain.run(request);
//   const Status status = co_await running;
//
// Without links all commands start in order, none waits for another, and all their SQEs are one
// submission: several users of a buffer run concurrently (S101, P-7), and a put right after them is
// legal (P-11). Like the kernel's links, a link makes the next command wait for the linked one; a
// command that waits for an I/O this way is a separate submission.
//
// To stop in the middle, use two chains: between them the program may inspect the table, and decide
// (S102, P-13).
#pragma once

#include <span>
#include <type_traits>

#include "core/request.hpp"
#include "core/task.hpp"

namespace sluice::lend {

// How the next command waits for this one.
enum class Link : uint8_t {
  none,  // it does not wait
  soft,  // until this one has moved all its bytes; if it is short or fails, the linked rest is not
         // started
  hard,  // until this one has ended, with any result
};

// Any command that has `Task run(Request&)`. Borrowed.
class Step {
 public:
  template <typename Command>
    requires(!std::is_same_v<Command, Step>)
  Step(Command& command, Link link = Link::none)  // NOLINT(google-explicit-constructor)
      : command_(&command), run_(&run_command<Command>), link_(link) {}

  Task run(Request& request) const { return run_(command_, request); }
  Link link() const { return link_; }

 private:
  template <typename Command>
  static Task run_command(void* command, Request& request) {
    return static_cast<Command*>(command)->run(request);
  }

  void* command_;
  Task (*run_)(void*, Request&);
  Link link_;
};

class Chain {
 public:
  // The steps must outlive the run. The link of the last one has no effect.
  explicit Chain(std::span<const Step> steps) : steps_(steps) {}

  // Ends when all started commands have ended. Returns the first error among them; each command has
  // its own result(), ECANCELED if it was not started.
  Task run(Request& request);

 private:
  size_t end_of_link(size_t first) const;
  Task run_linked(Request& request, std::span<const Step> linked);

  const std::span<const Step> steps_;
};

}  // namespace sluice::lend
