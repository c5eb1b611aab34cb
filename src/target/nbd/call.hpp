// Call: one request to a server, until its answer is complete.
//
//   Call call;
//   call.header = {...}; call.data = request.data;
//   connection.submit(call);
//   Call::Answer answer(call);
//   const Status status = co_await answer;
//
// Lives in the coroutine frame of the request. The connection's ring alone uses it until it is
// answered; a coroutine of another ring waits for it by an ExternalCompletion instead of an Answer.
#pragma once

#include <array>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>

#include "core/fifo.hpp"
#include "core/fill_map.hpp"
#include "core/loan.hpp"
#include "core/status.hpp"
#include "nbd/request.hpp"
#include "ring/completion.hpp"
#include "ring/external_completion.hpp"

namespace sluice {
class Extents;
}

namespace sluice::nbd::client {

class Connection;

class Call final : public FifoLink<Call>, public Message {
 public:
  class Answer;

  // --- Set by the caller.
  RequestHeader header{};
  View data{};                            // read and write: exactly the range
  Extents* extents = nullptr;             // block status: empty
  ExternalCompletion* foreign = nullptr;  // the caller is on another ring
  Connection* connection = nullptr;       // for run(), which submits it there

  bool changes_data() const {
    return header.command == Command::write || header.command == Command::write_zeroes ||
           header.command == Command::trim;
  }

 private:
  friend class CallTable;
  friend class Connection;

  static constexpr uint32_t kNoSlot = UINT32_MAX;

  void run() override;
  // False: a part of the range was covered before, or it comes in too many pieces.
  bool cover(uint64_t offset, uint64_t length);
  bool is_covered() const;
  void begin_again();

  uint32_t slot_ = kNoSlot;
  std::array<std::byte, kExtendedRequestBytes> wire_{};
  std::chrono::steady_clock::time_point sent_at_{};
  std::chrono::steady_clock::time_point first_sent_at_{};  // on any connection
  bool sending_ = false;   // the kernel may still read wire_ and data
  bool answered_ = false;  // to be finished when it is sent, and all data is copied
  uint32_t copies_ = 0;    // of data, under way
  int error_ = 0;          // of a chunk
  bool has_extents_ = false;
  uint64_t covered_ = 0;  // bytes from the beginning of the range ...
  FillMap map_;           // ... and where chunks came in another order: all of them
  bool in_order_ = true;
  uint32_t pieces_ = 0;  // out of order

  bool ended_ = false;
  Status status_;
  std::coroutine_handle<> coroutine_;
};

class [[nodiscard]] Call::Answer {
 public:
  explicit Answer(Call& call) : call_(call) {}
  bool await_ready() const { return call_.ended_; }
  void await_suspend(std::coroutine_handle<> coroutine) { call_.coroutine_ = coroutine; }
  Status await_resume() const { return call_.status_; }

 private:
  Call& call_;
};

}  // namespace sluice::nbd::client
