// Queue: serves the I/O of a program in this process, on one ring: the front end that needs neither
// a kernel driver nor privilege.
//
// One immortal coroutine per tag: take an Io, lend its memory, submit to the stack, wait until the
// loan is back, report. An Io that comes while no tag is free waits. After stop() the queue ends
// when no Io is left; none may be submitted later.
#pragma once

#include <cstdint>
#include <memory>

#include "frontend/direct/io.hpp"
#include "reactor/queue.hpp"
#include "ring/ring.hpp"
#include "target/stack.hpp"

namespace sluice::direct {

class Queue final : public sluice::Queue {
 public:
  struct Setup {
    uint16_t id = 0;
    uint16_t depth = 0;  // tags
  };

  Queue(const Setup& setup, Ring& ring, Stack& stack, QueueListener& listener);
  ~Queue() override;

  Result<void> start(int device) override;
  void stop() override;
  // No effect: clients pause by themselves.
  void pause() override {}
  void resume() override {}
  void list_in_flight(std::vector<InFlight>& found) const override;

  // On the ring's thread.
  void submit(Io& io);
  // From any thread.
  void post(Io& io);

 private:
  friend class Io;
  struct Tag;
  struct NextIo;

  Service serve(Tag& tag);
  void lend(Tag& tag);

  const Setup setup_;
  Ring& ring_;
  Stack& stack_;
  std::unique_ptr<Tag[]> tags_;
  Tag* free_ = nullptr;
  Fifo<Io> waiting_;
  uint64_t submitted_ = 0;  // and not ended
  bool stopping_ = false;
};

}  // namespace sluice::direct
