// Chain: commands in one submission, in order, as SQEs with and without links (S99, S100, S120):
//
//   lend::GetBuf getting(...);  lend::UseBuf first(...), second(...);  lend::PutBuf putting(...);
//   const std::array<lend::Step, 4> steps{getting, first, second, putting};
//   lend::Chain chain(steps);
//   Task running = chain.run(request);
//   const Status status = co_await running;
//
// Without links all are begun in order, none waits for another, and what they have for the kernel
// is one submission: several users of a buffer work at once (S101, P-7), and a put right behind
// them is legal (P-11). A link makes the next command wait for this one, in the manner of the
// kernel's links; a command that so waits for an I/O is a submission of its own.
//
// A chain is stopped in the middle by being two: between them the program may look at what is in
// the table, and decide (S102, P-13).
#pragma once

#include <span>
#include <type_traits>

#include "core/request.hpp"
#include "core/task.hpp"

namespace sluice::lend {

// How the command behind one waits for it.
enum class Link : uint8_t {
  none,  // not at all
  soft,  // until it has moved all its bytes; where it is short or fails the linked rest is not
         // begun
  hard,  // until it has ended, however
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
  // The steps live as long as the chain runs. The link of the last one links nothing.
  explicit Chain(std::span<const Step> steps) : steps_(steps) {}

  // Ends when all have ended that were begun. The first error of any of them; what each has done is
  // its own result(), ECANCELED where it was not begun.
  Task run(Request& request);

 private:
  size_t end_of_link(size_t first) const;
  Task run_linked(Request& request, std::span<const Step> linked);

  const std::span<const Step> steps_;
};

}  // namespace sluice::lend
