// Started: one operation in flight, awaited by a separate target.
//
//   Started reading(ring, lent.loan.view(), [](Request& request) {
//     return request.ring->read(file, 0, request.data);
//   });
//   ring.complete(0, 4096);
//   EXPECT_EQ(reading.error(), 0);
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <utility>

#include "core/task.hpp"
#include "ring/ring.hpp"

namespace sluice::test {

class Started final {
 public:
  // A plain function; this object awaits its result.
  using Make = std::function<Operation(Request&)>;

  Started(Ring& ring, View data, Make make)
      : ring_(ring), make_(std::move(make)), task_(start(std::move(data))) {}
  // An operation without data.
  Started(Ring& ring, Make make) : Started(ring, View(), std::move(make)) {}

  bool finished() const { return task_.finished(); }
  // The errno with which it ended, 0 for success; -1 while it has not ended.
  int error() const { return task_.finished() ? task_.status().error() : -1; }
  // Once it has ended.
  uint32_t moved_bytes() const { return moved_bytes_; }
  // Asks the ring to cancel it, while it is in flight.
  void cancel() { ring_.cancel(*operation_); }
  // The request drops its data, as it does after being served.
  void drop_data() { request_.data.drop(); }

  Arena& arena() { return arena_; }

 private:
  Task start(View data) {
    request_.ring = &ring_;
    request_.arena = &arena_;
    request_.ready = &ring_.ready();
    request_.data = std::move(data);
    return run(request_);
  }

  Task run(Request& request) {
    auto operation = make_(request);
    operation_ = &operation;
    const Status status = co_await operation;
    operation_ = nullptr;
    moved_bytes_ = operation.moved_bytes();
    co_return status;
  }

  Ring& ring_;
  Make make_;
  Arena arena_;
  Request request_;
  Operation* operation_ = nullptr;
  uint32_t moved_bytes_ = 0;
  Task task_;  // last: its coroutine uses the rest
};

// Makers of the operations that most tests need, on the request's whole data. They are not
// coroutines.
inline Started::Make read_from(File file, uint64_t offset) {
  return [=](Request& request) { return request.ring->read(file, offset, request.data); };
}
inline Started::Make write_to(File file, uint64_t offset, bool durable = false) {
  return [=](Request& request) { return request.ring->write(file, offset, request.data, durable); };
}
// The operation has the request's only view.
inline Started::Make pass_on_to(File file, uint64_t offset = 0) {
  return
      [=](Request& request) { return request.ring->write(file, offset, std::move(request.data)); };
}
inline Started::Make send_to(File socket) {
  return [=](Request& request) { return request.ring->send(socket, request.data); };
}
inline Started::Make send_zc_to(File socket) {
  return [=](Request& request) { return request.ring->send_zc(socket, request.data); };
}
inline Started::Make recv_from(File socket) {
  return [=](Request& request) { return request.ring->recv(socket, request.data); };
}
inline Started::Make copy_in_from(std::span<const std::byte> memory) {
  return [=](Request& request) { return request.ring->copy_in(request.data, memory); };
}
inline Started::Make copy_out_to(std::span<std::byte> memory) {
  return [=](Request& request) { return request.ring->copy_out(request.data, memory); };
}
inline Started::Make zero_it() {
  return [](Request& request) { return request.ring->zero(request.data); };
}

}  // namespace sluice::test
