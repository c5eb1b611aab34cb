#include "lend/provider.hpp"

namespace sluice::lend {
namespace {

// The previous request of this queue and tag is no longer lent.
void put(std::atomic<Loan*>& place, Loan* loan) {
  Loan* const before = place.exchange(loan, std::memory_order_acq_rel);
  if (before != nullptr) before->close();
}

}  // namespace

Provider::Provider(uint16_t queues, uint16_t depth)
    : queues_(queues),
      depth_(depth),
      loans_(std::make_unique<std::atomic<Loan*>[]>(size_t{queues} * depth)) {}

void Provider::begin(const Request& request) noexcept {
  std::atomic<Loan*>* const place = slot(request.queue, request.tag);
  Loan* const loan = request.data.loan();
  if (place == nullptr) return;
  if (loan != nullptr) loan->open();
  put(*place, loan);
}

void Provider::end(const Request& request) noexcept {
  std::atomic<Loan*>* const place = slot(request.queue, request.tag);
  if (place != nullptr) put(*place, nullptr);
}

View Provider::lend(Position at, uint32_t length, Direction use) noexcept {
  View lent = lend(at, length);
  if (!lent.status().ok() || lent.loan()->direction() == use) return lent;
  return View::broken(EACCES);
}

View Provider::lend(Position at, uint32_t length) noexcept {
  if (gone_.load(std::memory_order_relaxed)) return View::broken(ENODEV);
  Loan* const loan = find(at.queue, at.tag);
  if (loan == nullptr || length == 0) return View::broken(EINVAL);
  return loan->view(at.offset, length);
}

View Provider::lend_whole(uint16_t queue, uint16_t tag) noexcept {
  if (gone_.load(std::memory_order_relaxed)) return View::broken(ENODEV);
  Loan* const loan = find(queue, tag);
  View whole = loan != nullptr ? loan->view() : View::broken(EINVAL);
  return whole.status().ok() && whole.length() == 0 ? View::broken(EINVAL) : whole;
}

Loan* Provider::find(uint16_t queue, uint16_t tag) noexcept {
  std::atomic<Loan*>* const place = slot(queue, tag);
  return place != nullptr ? place->load(std::memory_order_acquire) : nullptr;
}

std::atomic<Loan*>* Provider::slot(uint16_t queue, uint16_t tag) noexcept {
  if (queue >= queues_ || tag >= depth_) return nullptr;
  return &loans_[size_t{queue} * depth_ + tag];
}

}  // namespace sluice::lend
