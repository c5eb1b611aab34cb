// SharedStack: a stack that several stacks of this process use, such as a pool of thin volumes.
//
//   class Volume : public Target {                       is_living()
//     const std::shared_ptr<SharedStack> pool_;          SharedStack::find(name)
//   };
//   attach(), detach():   call the same function of pool_
//   do_submit():          pool_->submit(request)
//
// It is started at once and stopped at its end, when its last user is gone. After a failed flush,
// whichever user sent it, writes of all users are refused. Safe on any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "core/health.hpp"
#include "core/task.hpp"
#include "ring/ring_local.hpp"
#include "target/life/life_call.hpp"
#include "target/stack.hpp"

namespace sluice {

class SharedStack {
 public:
  // Control path. EEXIST: another one has this name; or what Stack::start() reports.
  static Result<std::shared_ptr<SharedStack>> start(std::string name, std::unique_ptr<Stack> stack);
  // Null: there is none of this name.
  static std::shared_ptr<SharedStack> find(std::string_view name);
  SharedStack(const SharedStack&) = delete;
  SharedStack& operator=(const SharedStack&) = delete;
  ~SharedStack();

  // For the functions of a user that have these names. The stack is attached to a ring once,
  // however many users are.
  Task attach(Request& request, LifeCall& call);
  Task detach(Request& request, LifeCall& call);
  // On a ring that is attached.
  Task submit(Request& request) { return stack_->submit(request); }

  // Of the whole stack, for its users'.
  Health health() const;
  const Stack& stack() const { return *stack_; }
  const std::string& name() const { return name_; }

 private:
  struct OnRing;

  SharedStack(std::string name, std::unique_ptr<Stack> stack);
  void put_files(Ring& ring) const;
  void drop_files(Ring& ring) const;

  const std::string name_;
  const std::unique_ptr<Stack> stack_;
  RingLocal<OnRing> on_ring_;
};

}  // namespace sluice
