// Reactor: a thread with a ring that serves queues of a FUSE export.
//
// Started by the export; ends by itself when all of its queues are finished.
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/error.hpp"
#include "frontend/fuse/copy_queue.hpp"
#include "frontend/fuse/splice_queue.hpp"
#include "frontend/fuse/uring_queue.hpp"
#include "ring/kernel_ring.hpp"

namespace sluice::fuse {

class Reactor final : private QueueListener, private Message {
 public:
  struct Setup {
    uint16_t number = 0;
    std::vector<CopyQueue::Setup> copy_queues;
    std::vector<SpliceQueue::Setup> splice_queues;
    std::vector<UringQueue::Setup> uring_queues;
    std::vector<int> files;  // registered with the ring
  };

  Reactor(Setup setup, FileIo& io);
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;
  ~Reactor();

  // Returns once requests are being waited for, or with the reason why not.
  Result<void> start();
  // Takes no more requests; the thread ends when those it has are answered. Any thread.
  void stop();
  void join();

  QueueReport report() const;
  Result<std::vector<InFlight>> in_flight();

 private:
  void serve();
  Result<void> prepare();
  void close_ring();
  std::vector<InFlight> list_in_flight() const;
  void finished() override;
  void run() override;  // what stop() posts

  Setup setup_;
  FileIo& io_;
  InFlightInquiry inquiry_{[this] { return list_in_flight(); }};
  mutable std::mutex ring_mutex_;
  std::unique_ptr<Ring> ring_;  // made and ended by its thread; others look under ring_mutex_
  bool stop_posted_ = false;    // likewise
  uint64_t copied_bytes_ = 0;   // by the ring that has ended
  std::vector<std::unique_ptr<Queue>> queues_;
  uint32_t live_queues_ = 0;
  std::atomic<int> thread_id_ = 0;
  std::promise<Result<void>> ready_;
  std::thread thread_;
};

}  // namespace sluice::fuse
