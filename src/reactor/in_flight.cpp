#include "reactor/in_flight.hpp"

#include <algorithm>
#include <chrono>

namespace sluice {
namespace {

constexpr std::chrono::seconds kTimeout{2};

}  // namespace

InFlight describe(const Request& request) {
  InFlight found{.op = request.op,
                 .offset = request.offset,
                 .length = request.length,
                 .at = request.tracking.at,
                 .children = {}};
  for (const Request* child = request.tracking.first_child; child != nullptr;
       child = child->tracking.next) {
    found.children.push_back(describe(*child));
  }
  std::ranges::reverse(found.children);  // the list has the newest first
  return found;
}

Result<std::vector<InFlight>> InFlightInquiry::ask(const Post& post) {
  std::unique_lock lock(mutex_);
  found_.reset();
  if (!posted_ && !post(*this)) return std::vector<InFlight>();
  posted_ = true;
  if (!answered_.wait_for(lock, kTimeout, [this] { return found_.has_value(); })) {
    return fail(ETIMEDOUT,
                "the thread of a queue did not report its requests: it is stopped, or blocked in "
                "the kernel");
  }
  return std::move(*found_);
}

void InFlightInquiry::run() {
  std::vector<InFlight> found = look_();
  const std::scoped_lock guard(mutex_);
  posted_ = false;
  found_ = std::move(found);
  answered_.notify_all();
}

}  // namespace sluice
