// AnswerBox: the queue of answers for the control socket's thread.
//
// Shared by the socket and all pending answers; after the socket's end, answers are discarded. Safe
// on any thread.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "core/descriptor.hpp"
#include "daemon/control_answer.hpp"

namespace sluice {

class AnswerBox : public std::enable_shared_from_this<AnswerBox> {
 public:
  struct Arrived {
    SharedStage request;  // the request that it answers
    Result<ControlReply> reply;
  };

  AnswerBox();

  // The errno if creation failed.
  int fault() const { return fault_; }
  // An eventfd: readable when answers are queued, or after ring().
  int bell() const { return bell_.number(); }
  void ring();

  ControlAnswer promise(const SharedStage& request);
  // --- For the socket's thread.
  std::vector<Arrived> take();
  void close();

 private:
  void put(Arrived answer);

  Descriptor bell_;
  int fault_ = 0;
  std::mutex mutex_;  // guards all below
  std::vector<Arrived> arrived_;
  bool closed_ = false;
};

}  // namespace sluice
