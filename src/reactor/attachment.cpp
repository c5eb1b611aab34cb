#include "reactor/attachment.hpp"

#include <utility>

namespace sluice {

Attachment::Attachment(const std::vector<Stack*>& stacks, Ring& ring) : ring_(ring) {
  for (Stack* const stack : stacks) {
    if (!stack->life().empty()) stacks_.push_back(stack);
  }
}

void Attachment::order(Order order) {
  if (stacks_.empty()) return order.done({});
  orders_.push_back(std::move(order));
  if (!busy_) carry_out();
}

Service Attachment::carry_out() {
  busy_ = true;
  const auto life = std::make_unique<LifeRequest>(ring_);
  while (!orders_.empty()) {
    const Order order = std::move(orders_.front());
    orders_.pop_front();
    Result<void> result;
    if (order.attach != attached_) {
      LifeCall call{.deadline = LifeCall::Clock::now() + StackLife::kTimeout};
      Task work = order.attach ? attach_all(life->request, call)
                               : detach_first(life->request, call, stacks_.size());
      const Status status = co_await work;
      if (status.ok()) {
        attached_ = order.attach;
      } else {
        result = fail(status.error(), call.why);
      }
    }
    life->arena.reset();
    order.done(std::move(result));
  }
  busy_ = false;
}

Task Attachment::attach_all(Request& request, LifeCall& call) {
  for (size_t i = 0; i < stacks_.size(); ++i) {
    Task attaching = stacks_[i]->life().attach(request, call);
    const Status status = co_await attaching;
    if (status.ok()) continue;
    std::string why = std::move(call.why);
    Task undoing = detach_first(request, call, i);
    [[maybe_unused]] const Status undone = co_await undoing;
    call.why = std::move(why);
    co_return status;
  }
  co_return kOk;
}

Task Attachment::detach_first(Request& request, LifeCall& call, size_t count) {
  while (count != 0) {
    Task detaching = stacks_[--count]->life().detach(request, call);
    [[maybe_unused]] const Status detached = co_await detaching;  // it logs its errors
  }
  co_return kOk;
}

}  // namespace sluice
