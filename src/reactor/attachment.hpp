// Attachment: attaches the living targets of a reactor's stacks to its ring (target/target.hpp).
//
// Part of a Reactor, used by the ring's thread only. Orders are carried out one after the other. If
// no target is living, each is done at once.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "core/error.hpp"
#include "core/task.hpp"
#include "target/life/life_call.hpp"
#include "target/stack.hpp"

namespace sluice {

class Attachment {
 public:
  using Done = std::function<void(Result<void>)>;

  Attachment(const std::vector<Stack*>& stacks, Ring& ring);
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;

  // Calls `done` when the targets are attached, or with an error, and then none is attached.
  void attach(Done done) { order({.attach = true, .done = std::move(done)}); }
  // Calls `done` when none is attached.
  void detach(Done done) { order({.attach = false, .done = std::move(done)}); }

 private:
  struct Order {
    bool attach;
    Done done;
  };

  void order(Order order);
  Service carry_out();
  Task attach_all(Request& request, LifeCall& call);
  Task detach_first(Request& request, LifeCall& call, size_t count);

  Ring& ring_;
  std::vector<Stack*> stacks_;  // only those with living targets
  bool attached_ = false;
  bool busy_ = false;
  std::deque<Order> orders_;
};

}  // namespace sluice
