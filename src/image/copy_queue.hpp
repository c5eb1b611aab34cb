// CopyQueue: the coroutines of a Copy on one reactor, each with a buffer.
//
// Made and used on the reactor's thread. It ends when the copy has nothing more to do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "image/copy.hpp"
#include "reactor/queue.hpp"
#include "reactor/tag.hpp"
#include "ring/ring.hpp"

namespace sluice::image {

class CopyQueue final : public sluice::Queue {
 public:
  static constexpr int kSlot = 0;  // of the ring's buffer table

  struct Setup {
    uint16_t number = 0;
    uint16_t tags = 0;
    std::span<std::byte> memory{};  // a buffer of the same size for each tag
    bool registered = false;        // the memory is in kSlot
  };

  CopyQueue(const Setup& setup, Ring& ring, Copy& copy, QueueListener& listener);

  // From any thread: begins to work. Not earlier, so that it cannot end before it has begun.
  void go() { ring_.post(go_); }

  Result<void> start(int device) override;
  void stop() override;
  // A copy is not paused.
  void pause() override {}
  void resume() override {}
  void list_in_flight(std::vector<InFlight>& found) const override;

 private:
  struct Worker final : Tag {
    std::span<std::byte> memory;
  };
  class Go final : public Message {
   public:
    explicit Go(CopyQueue& queue) : queue_(queue) {}
    void run() override { queue_.begin(); }

   private:
    CopyQueue& queue_;
  };

  void begin();
  Service work(Worker& worker);
  Task look(Request& request);
  Task copy_data(Request& request, Worker& worker, const CopyPiece& piece);
  Task copy_run(Request& request, Worker& worker, std::span<std::byte> bytes, bool zero);
  Task clear(Request& request, const CopyPiece& piece);
  Task transfer(Request& request, Worker& worker, Stack& stack, std::span<std::byte> bytes);
  uint64_t whole_blocks(uint64_t offset, uint64_t length) const;

  const Setup setup_;
  Ring& ring_;
  Copy& copy_;
  std::unique_ptr<Worker[]> workers_;
  Go go_{*this};
  uint16_t working_ = 0;
};

}  // namespace sluice::image
