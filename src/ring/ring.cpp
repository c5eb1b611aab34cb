#include "ring/ring.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include "ring/follower.hpp"

namespace sluice {
namespace {

// Result of a cancellation: of no interest, the cancelled operation reports for itself.
class CancelResult final : public Completion {
 public:
  explicit CancelResult(Completion& target) : target_(&target) {}
  void prepare(io_uring_sqe& sqe) override { io_uring_prep_cancel(&sqe, target_, 0); }
  void complete(int32_t, uint32_t) override { delete this; }

 private:
  Completion* target_;
};

}  // namespace

void Ring::run() {
  while (!abandoned_.load(std::memory_order_acquire)) {
    // Asked before the messages are looked at: what was posted before stop() is seen, and runs.
    const bool stopping = stopping_.load(std::memory_order_acquire);
    if (stopping && idle()) return;
    run_once(true);
  }
}

bool Ring::idle() const {
  return ready_.empty() && waiting_head_ == nullptr && in_flight_ == standing_ &&
         messages_.load(std::memory_order_acquire) == nullptr;
}

void Ring::run_once(bool wait) {
  submit_waiting();
  const bool may_sleep =
      wait && ready_.empty() && messages_.load(std::memory_order_acquire) == nullptr;
  enter(may_sleep);
  collect();
  run_messages();
  ready_.run();
}

void Ring::stop() {
  stopping_.store(true, std::memory_order_release);
  wake();
}

void Ring::abandon() {
  abandoned_.store(true, std::memory_order_release);
  wake();
}

void Ring::post(Message& message) {
  Message* newest = messages_.load(std::memory_order_relaxed);
  do {
    message.next_message_ = newest;
  } while (!messages_.compare_exchange_weak(newest, &message, std::memory_order_acq_rel));
  if (newest == nullptr) wake();
}

void Ring::submit(Completion& completion) {
  if (waiting_head_ == nullptr && try_submit(completion)) return;
  completion.next_waiting_ = nullptr;
  if (waiting_head_ == nullptr) {
    waiting_head_ = &completion;
  } else {
    waiting_tail_->next_waiting_ = &completion;
  }
  waiting_tail_ = &completion;
}

void Ring::cancel(Completion& completion) {
  completion.cancelled_ = true;
  submit(*new CancelResult(completion));
}

bool Ring::try_submit(Completion& completion) {
  if (in_flight_ >= cq_entries_) return false;
  io_uring_sqe* const sqe = next_sqe();
  if (sqe == nullptr) return false;
  fill_sqe(*sqe, completion);
  ++in_flight_;
  return true;
}

io_uring_sqe& Ring::fill_sqe(io_uring_sqe& sqe, Completion& completion) {
  completion.prepare(sqe);
  sqe.user_data = reinterpret_cast<uint64_t>(&completion);
  ++counters_.submitted;
  return sqe;
}

bool Ring::has_room(uint32_t sqes) const {
  return waiting_head_ == nullptr && in_flight_ + sqes <= cq_entries_ && free_sqes() >= sqes;
}

bool Ring::submit_linked(Completion& leader, Follower& follower, int32_t leader_result) {
  if (!abilities_.links || !has_room(2)) return false;
  fill_sqe(*next_sqe(), leader).flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
  fill_sqe(*next_sqe(), follower);
  follower.link_to(leader, leader_result);
  ++in_flight_;
  return true;
}

void Ring::submit_waiting() {
  while (waiting_head_ != nullptr) {
    Completion* const completion = waiting_head_;
    if (!try_submit(*completion)) {
      if (in_flight_ >= cq_entries_) return;
      enter(false);  // the submission queue is full: hand it over and go on
      if (!try_submit(*completion)) return;
    }
    waiting_head_ = completion->next_waiting_;
  }
}

void Ring::collect() {
  std::array<Cqe, 64> batch;
  uint32_t count = 0;
  while ((count = reap(batch)) != 0) {
    counters_.completed += count;
    for (const Cqe& cqe : std::span(batch).first(count)) {
      if ((cqe.flags & IORING_CQE_F_MORE) == 0) --in_flight_;
      reinterpret_cast<Completion*>(cqe.user_data)->complete(cqe.result, cqe.flags);
    }
  }
}

void Ring::run_messages() {
  if (messages_.load(std::memory_order_relaxed) == nullptr) return;
  Message* message = messages_.exchange(nullptr, std::memory_order_acq_rel);
  Message* oldest = nullptr;  // the list is newest first: turn it round
  while (message != nullptr) {
    Message* const next = std::exchange(message->next_message_, oldest);
    oldest = std::exchange(message, next);
  }
  while (oldest != nullptr) {
    Message* const next = oldest->next_message_;  // run() may post it again, or free it
    oldest->run();
    oldest = next;
  }
}

void Ring::set_limits(uint32_t cq_entries, uint32_t slots) {
  cq_entries_ = cq_entries;
  free_slots_.resize(slots);
  for (uint32_t i = 0; i < slots; ++i) free_slots_[i] = static_cast<int>(slots - 1 - i);
}

Ring::SlotWait Ring::acquire_slot() { return SlotWait(*this); }

void Ring::release_slot(int slot) {
  SlotWait* const waiter = slot_waiters_head_;
  if (waiter == nullptr) {
    free_slots_.push_back(slot);
    return;
  }
  slot_waiters_head_ = waiter->next_;
  waiter->slot_ = slot;
  ready_.push(waiter->coroutine_);
}

bool Ring::SlotWait::await_ready() {
  if (ring_.free_slots_.empty()) return false;
  slot_ = ring_.free_slots_.back();
  ring_.free_slots_.pop_back();
  return true;
}

void Ring::SlotWait::await_suspend(std::coroutine_handle<> coroutine) {
  coroutine_ = coroutine;
  if (ring_.slot_waiters_head_ == nullptr) {
    ring_.slot_waiters_head_ = this;
  } else {
    ring_.slot_waiters_tail_->next_ = this;
  }
  ring_.slot_waiters_tail_ = this;
}

}  // namespace sluice
