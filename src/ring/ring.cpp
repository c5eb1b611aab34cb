#include "ring/ring.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include "ring/linked_command.hpp"

namespace sluice {
namespace {

// The result of a cancellation is ignored: the cancelled operation has its own CQE.
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
    // Read before the messages: messages posted before stop() still run.
    const bool stopping = stopping_.load(std::memory_order_acquire);
    if (stopping && idle()) return;
    run_once(true);
  }
}

bool Ring::idle() const {
  return ready_.empty() && first_.empty() && waiting_.empty() && in_flight_ == standing_ &&
         external_ == 0 && messages_.load(std::memory_order_acquire) == nullptr;
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
  if (waiting_.empty() && try_submit(completion)) return;
  waiting_.push(completion);
}

void Ring::submit_first(Completion& completion) {
  if (first_.empty() && submit_now(completion)) return;
  first_.push(completion);
}

// A cancellation in the ordinary queue could wait for the very operation that it is to end.
void Ring::cancel(Completion& completion) {
  if (!cancel_waiting(completion)) submit_first(*new CancelResult(completion));
}

bool Ring::cancel_waiting(Completion& completion) {
  completion.cancelled_ = true;
  if (!waiting_.remove(completion)) return false;
  completion.complete(-ECANCELED, 0);
  return true;
}

bool Ring::try_submit(Completion& completion) {
  if (in_flight_ >= cq_entries_) return false;
  io_uring_sqe* const sqe = next_sqe();
  if (sqe == nullptr) return false;
  fill_sqe(*sqe, completion);
  ++in_flight_;
  return true;
}

// The kernel keeps completions for which its queue has no room (IORING_FEAT_NODROP).
bool Ring::submit_now(Completion& completion) {
  io_uring_sqe* sqe = next_sqe();
  if (sqe == nullptr) {
    enter(false);  // the submission queue is full: hand it over and continue
    sqe = next_sqe();
  }
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
  return waiting_.empty() && in_flight_ + sqes <= cq_entries_ && free_sqes() >= sqes;
}

bool Ring::submit_linked(Completion& leader, LinkedCommand& linked_command, int32_t leader_result) {
  if (!abilities_.links || !has_room(2)) return false;
  fill_sqe(*next_sqe(), leader).flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
  fill_sqe(*next_sqe(), linked_command);
  linked_command.link_to(leader, leader_result);
  ++in_flight_;
  return true;
}

void Ring::submit_waiting() {
  for (; !first_.empty(); first_.pop()) {
    if (!submit_now(*first_.front())) return;
  }
  for (; !waiting_.empty(); waiting_.pop()) {
    if (in_flight_ >= cq_entries_ || !submit_now(*waiting_.front())) return;
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
  Message* oldest = nullptr;  // the list is newest first: reverse it
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

SlotWait Ring::acquire_slot() { return SlotWait(*this); }

void Ring::release_slot(int slot) {
  SlotWait* const waiter = slot_waiters_.pop();
  if (waiter == nullptr) {
    free_slots_.push_back(slot);
    return;
  }
  waiter->slot_ = slot;
  ready_.push(waiter->coroutine_);
}

bool SlotWait::await_ready() {
  if (ring_.free_slots_.empty()) return false;
  slot_ = ring_.free_slots_.back();
  ring_.free_slots_.pop_back();
  return true;
}

void SlotWait::await_suspend(std::coroutine_handle<> coroutine) {
  coroutine_ = coroutine;
  ring_.slot_waiters_.push(*this);
}

}  // namespace sluice
