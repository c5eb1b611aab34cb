// Reactor: a thread with a ring that serves queues.
//
// Owned by a front end. It serves any number of queues, of one or several devices, as its Setup
// lists them. The living targets of their stacks are attached to its ring before the queues start,
// and detached after the queues have ended or paused. It ends by itself when all its queues have
// ended. All functions are for the control thread, except those marked "any thread".
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/error.hpp"
#include "reactor/attachment.hpp"
#include "reactor/queue.hpp"
#include "ring/file_slot.hpp"
#include "ring/kernel_ring.hpp"
#include "ring/offload.hpp"

namespace sluice {

// Called when has_ended() or has_paused() has changed, on the reactor's thread. Must not block.
class ReactorListener {
 public:
  virtual void reactor_changed() = 0;

 protected:
  ~ReactorListener() = default;
};

class Reactor final : private QueueListener {
 public:
  // A queue to be made on the reactor's thread, and the resources of the ring that it needs.
  struct QueuePlan {
    uint32_t tags = 0;
    uint32_t slots = 0;  // of the buffer table
    uint32_t waits = 0;  // operations that may last as long as a client likes
    std::function<Result<std::unique_ptr<Queue>>(KernelRing&, QueueListener&)> make;
  };
  struct Setup {
    std::string name{};                   // of the thread, at most 15 characters
    std::vector<int> processors{};        // to run on; empty: any
    std::vector<RegisteredFile> files{};  // descriptor -1: the device passed to begin()
    std::vector<QueuePlan> queues{};
    std::vector<Stack*> stacks{};  // of the queues; started before begin()
    Offload* offload = nullptr;    // for targets with system calls that block; see RingOffload
    bool warm_up = true;           // allocate in advance for operations of the ring; see WarmUp
    uint32_t workers = 0;          // see WarmUp
    bool wide_sqes = false;        // see KernelRing::Options
  };

  Reactor(Setup setup, ReactorListener& listener);
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;
  // Stops the queues and waits for the end of the thread.
  ~Reactor();

  // Starts the thread and makes its ring and queues, or returns the reason why it cannot.
  Result<void> prepare();
  // Attaches the stacks, starts the queues on `device`, and returns once the kernel has accepted
  // their commands. If it refuses one, all queues are stopped. Call once, after prepare().
  // ETIMEDOUT: a target did not end its attach() in time.
  Result<void> begin(int device);
  // See Queue. Neither waits.
  void stop();
  void pause();
  // Attaches the stacks again. On failure the queues stay paused.
  Result<void> resume();
  // Ends the thread at once; operations in flight die with the ring. For a device that no client
  // has seen.
  void abandon();
  void join();

  // --- Any thread.
  bool has_ended() const { return ended_; }
  bool has_paused() const { return is_paused_; }
  QueueReport report() const;
  // ETIMEDOUT: the thread does not answer within two seconds.
  Result<std::vector<InFlight>> in_flight();

 private:
  // A member function for the reactor's thread to run.
  class Order final : public Message {
   public:
    Order(Reactor& reactor, void (Reactor::*order)()) : reactor_(reactor), order_(order) {}
    void run() override;
    bool posted = false;  // under ring_mutex_

   private:
    Reactor& reactor_;
    void (Reactor::*order_)();
  };

  void run();
  Result<void> make_all();
  Result<void> make_ring();
  Result<void> make_queues();
  void close_ring();
  bool post(Order& order);
  Result<void> wait_for(std::future<Result<void>> answer);
  void begin_queues();
  void begin_attached(Result<void> attached);
  Result<void> start_queues();
  void check_begun();
  Result<void> check_taken() const;
  void stop_queues();
  void pause_queues();
  void resume_queues();
  void end_ring();
  std::vector<InFlight> list_in_flight() const;
  void finished() override;
  void paused() override;

  const Setup setup_;
  ReactorListener& listener_;
  InFlightInquiry inquiry_{[this] { return list_in_flight(); }};
  Order begin_order_{*this, &Reactor::begin_queues};
  Order check_order_{*this, &Reactor::check_begun};
  Order stop_order_{*this, &Reactor::stop_queues};
  Order pause_order_{*this, &Reactor::pause_queues};
  Order resume_order_{*this, &Reactor::resume_queues};
  mutable std::mutex ring_mutex_;
  std::unique_ptr<KernelRing> ring_;      // made and ended by its thread; others use ring_mutex_
  uint64_t copied_bytes_ = 0;             // of the ring that has ended
  std::string swap_risk_;                 // of the ring
  std::optional<Attachment> attachment_;  // to the ring
  std::vector<std::unique_ptr<Queue>> queues_;  // complete after prepare()
  size_t live_queues_ = 0;
  size_t paused_queues_ = 0;
  bool begun_ = false;
  bool stopping_ = false;
  int rounds_to_check_ = 0;
  int device_ = -1;
  std::atomic<bool> ended_ = false;
  std::atomic<bool> is_paused_ = false;
  std::atomic<int> thread_id_ = 0;
  std::promise<Result<void>> ready_;
  std::promise<Result<void>> began_;
  std::promise<Result<void>> resumed_;
  std::thread thread_;
};

}  // namespace sluice
