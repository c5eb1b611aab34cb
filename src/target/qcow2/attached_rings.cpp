#include "target/qcow2/attached_rings.hpp"

#include <algorithm>

#include "core/request.hpp"

namespace sluice::qcow2 {

struct AttachedRings::Order final : Message, std::enable_shared_from_this<Order> {
  Order(AttachedRings& owner, Ring& on, const std::vector<RegisteredFile>& which)
      : rings(owner), ring(on), files(which) {}

  void run() override {
    const auto self = shared_from_this();
    for (const RegisteredFile& file : files) ring.put_file(file.slot, file.descriptor);
    done.set(ring);
    if (rings.left_.fetch_sub(1) == 1) rings.all_done_.set(ring);
  }

  AttachedRings& rings;
  Ring& ring;
  const std::vector<RegisteredFile> files;
  Event done;
};

void AttachedRings::join(Ring& ring) {
  const std::scoped_lock guard(mutex_);
  rings_.push_back(&ring);
}

Task AttachedRings::leave(Request& request) {
  std::shared_ptr<Order> order;
  {
    const std::scoped_lock guard(mutex_);
    std::erase(rings_, request.ring);
    const auto mine = [&](const auto& each) { return &each->ring == request.ring; };
    const auto found = std::ranges::find_if(orders_, mine);
    if (found != orders_.end()) order = *found;
  }
  if (order != nullptr) {
    Event::Wait done(order->done, *request.ring);
    co_await done;
  }
  co_return kOk;
}

Task AttachedRings::register_files(Request& request, const std::vector<RegisteredFile>& files) {
  {
    const std::scoped_lock guard(mutex_);
    for (Ring* const ring : rings_) {
      orders_.push_back(std::make_shared<Order>(*this, *ring, files));
    }
    if (orders_.empty()) co_return kOk;
    left_ = orders_.size();
    all_done_.reset();
    for (const auto& order : orders_) order->ring.post(*order);  // no ring ends before this does
  }
  {
    Event::Wait done(all_done_, *request.ring);
    co_await done;
  }
  const std::scoped_lock guard(mutex_);
  orders_.clear();
  co_return kOk;
}

Task AttachedRings::forget_files(Request& request, std::vector<RegisteredFile> files) {
  for (RegisteredFile& file : files) file.descriptor = -1;
  Task telling = register_files(request, files);
  co_return co_await telling;
}

}  // namespace sluice::qcow2
