// Reactor: a thread with a ring that serves queues of a ublk device.
//
// Started by the device; ends by itself when the driver has taken back every tag of its queues.
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

  // Returns once every tag has been fetched, or with the reason why not.
  Result<void> start();
  void join();
  // Ends the thread though the driver still holds tags: the device never went live.
  void abandon();

  int thread_id() const { return thread_id_.load(std::memory_order_relaxed); }
  // After start().
  std::span<const std::unique_ptr<Queue>> queues() const { return queues_; }
  uint64_t copied_bytes() const;

 private:
  void run();
  void close_ring();
  Result<void> prepare();
  Result<const abi::IoDescriptor*> map_descriptors(const Queue::Setup& queue);
  void finished() override;

  Setup setup_;
  Stack& stack_;
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
