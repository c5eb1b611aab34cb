// Acceptor: accepts the connections of a listening socket and hands them out one by one.
//
//   Acceptor acceptor(ring, listener, 16);
//   auto accepting = acceptor.next();
//   const int32_t socket = co_await accepting;         a descriptor, or a negative errno
//   ...
//   auto stopping = acceptor.stop();
//   co_await stopping;
//
// One submission accepts many connections (multishot, Linux 5.19), or one if the kernel refuses
// that. When `most` connections wait for next(), it stops accepting; a few more may arrive before
// that takes effect. All others wait in the backlog of the socket; none is dropped. An error, such
// as EMFILE, is reported by next() once; the next call tries again.
//
// Used by its ring's thread only. It keeps Ring::run() from ending until it is stopped.
#pragma once

#include <coroutine>
#include <cstdint>
#include <deque>
#include <optional>

#include "core/descriptor.hpp"
#include "core/file.hpp"
#include "ring/completion.hpp"

namespace sluice {

class Ring;

class Acceptor final : private Completion {
 public:
  class Next;
  class Stop;

  // `listener` outlives the Acceptor. `most` is at least 1.
  Acceptor(Ring& ring, File listener, uint32_t most)
      : ring_(ring), listener_(listener), most_(most) {}
  ~Acceptor();

  // One call at a time. The caller owns the descriptor, which is close-on-exec.
  Next next();
  // Ends the accept in flight and closes connections not yet handed out; a waiting next() returns
  // ECANCELED. The Acceptor can be used again afterwards.
  Stop stop();
  // The same, but keeps the connections, for left() or next().
  Stop pause();
  // A connection not yet handed out, if there is one.
  std::optional<Descriptor> left();
  // Makes a waiting next() return ECANCELED. The Acceptor continues.
  void interrupt();

 private:
  void prepare(io_uring_sqe& sqe) override;
  void complete(int32_t result, uint32_t flags) override;
  void take(int32_t result);
  void arm();
  void give();

  Ring& ring_;
  const File listener_;
  const uint32_t most_;
  bool multishot_ = true;
  bool in_flight_ = false;
  bool cancelling_ = false;
  int32_t error_ = 0;  // negative errno, for the next call of next()
  std::deque<Descriptor> accepted_;
  Next* next_ = nullptr;
  Stop* stop_ = nullptr;
};

class [[nodiscard]] Acceptor::Next {
 public:
  bool await_ready();
  void await_suspend(std::coroutine_handle<> coroutine);
  int32_t await_resume() const { return result_; }
  // Makes it return ECANCELED, if it waits. The Acceptor continues.
  void cancel();

 private:
  friend class Acceptor;
  explicit Next(Acceptor& acceptor) : acceptor_(acceptor) {}
  Acceptor& acceptor_;
  int32_t result_ = 0;
  std::coroutine_handle<> coroutine_;
};

class [[nodiscard]] Acceptor::Stop {
 public:
  bool await_ready();
  void await_suspend(std::coroutine_handle<> coroutine);
  void await_resume() const {}

 private:
  friend class Acceptor;
  Stop(Acceptor& acceptor, bool keeps) : acceptor_(acceptor), keeps_(keeps) {}
  Acceptor& acceptor_;
  const bool keeps_;
  std::coroutine_handle<> coroutine_;
};

inline Acceptor::Next Acceptor::next() { return Next(*this); }
inline Acceptor::Stop Acceptor::stop() { return {*this, false}; }
inline Acceptor::Stop Acceptor::pause() { return {*this, true}; }

}  // namespace sluice
