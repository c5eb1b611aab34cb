// QueueListener: who is told that a queue of a front end has come to its end: its reactor.
#pragma once

namespace sluice {

class QueueListener {
 public:
  // On the queue's thread, once.
  virtual void finished() = 0;

 protected:
  ~QueueListener() = default;
};

}  // namespace sluice
