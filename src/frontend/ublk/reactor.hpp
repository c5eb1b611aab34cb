// Reactor: a thread with a ring that serves queues of a ublk device.
//
// Started by the device; ends by itself when the driver has taken back every tag of its queues, or
// after drain().
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "core/error.hpp"
#include "frontend/ublk/queue.hpp"

namespace sluice::ublk {

class Reactor final : private QueueListener {
 public:
  struct Setup {
    std::vector<Queue::Setup> queues;  // descriptors are mapped by the reactor
    std::vector<int> processors;       // to run on; empty: any
    std::vector<int> files;            // registered with the ring
    int char_fd = -1;
  };

  Reactor(Setup setup, Stack& stack);
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;
  ~Reactor();

  void start();
  // Returns once every tag has been fetched, or with the reason why not.
  Result<void> wait_until_ready();
  void join();
  // The device is quiesced: the thread ends when all its requests are answered, and leaves the tags
  // to the next server. Any thread.
  void drain();
  // Ends the thread though the driver still holds tags: the device never went live.
  void abandon();

  int thread_id() const { return thread_id_.load(std::memory_order_relaxed); }
  // After start().
  std::span<const std::unique_ptr<Queue>> queues() const { return queues_; }
  uint64_t copied_bytes() const;
  Result<std::vector<InFlight>> in_flight();

 private:
  void run();
  void close_ring();
  void finish_requests();
  std::vector<InFlight> list_in_flight() const;
  Service rest(bool& rested);
  Result<void> prepare();
  Result<const abi::IoDescriptor*> map_descriptors(const Queue::Setup& queue);
  void finished() override;

  // Sent by drain().
  class DrainMessage final : public Message {
   public:
    explicit DrainMessage(Reactor& reactor) : reactor_(reactor) {}
    void run() override;

   private:
    Reactor& reactor_;
  };

  Setup setup_;
  Stack& stack_;
  DrainMessage drain_message_{*this};
  std::atomic<bool> drain_asked_ = false;
  InFlightInquiry inquiry_{[this] { return list_in_flight(); }};
  bool draining_ = false;
  mutable std::mutex ring_mutex_;
  std::unique_ptr<Ring> ring_;  // made and ended by its thread; others look under ring_mutex_
  uint64_t copied_bytes_ = 0;   // by the ring that has ended
  std::vector<std::unique_ptr<Queue>> queues_;
  std::vector<std::span<std::byte>> mappings_;
  uint32_t live_queues_ = 0;
  std::atomic<int> thread_id_ = 0;
  std::promise<Result<void>> ready_;
  std::thread thread_;
};

}  // namespace sluice::ublk
