// The work of a queue before and after a request whose bytes the driver has not made reachable: it
// registers the pages, or copies the bytes.
#include <cstring>

#include "core/log.hpp"
#include "core/private_loan.hpp"
#include "frontend/ublk/abi.hpp"
#include "frontend/ublk/queue_tag.hpp"

namespace sluice::ublk {

// Makes the request's bytes reachable: by registering its pages (also if the automatic registration
// found no room, P-17), or by copying the bytes that are to be written.
Task Queue::prepare_by_hand(Request& request, Tag& tag) {
  if (setup_.mode == BufferMode::user_copy) {
    Task copying = copy_in(request, tag);
    co_return co_await copying;
  }
  if (setup_.mode == BufferMode::register_buf) {
    auto slot_wait = ring_.acquire_slot();
    tag.slot = co_await slot_wait;
  }
  auto registering = command(abi::kRegisterIoBuf, tag, static_cast<uint64_t>(tag.slot));
  const int32_t result = co_await registering;
  tag.registered = result >= 0;
  if (tag.registered || !setup_.user_copy) co_return Status::from_result(result);
  Task copying = copy_in(request, tag);
  co_return co_await copying;
}

Task Queue::copy_in(Request& request, Tag& tag) {
  auto pages_wait = pool_->take(ring_.ready(), request.length);
  tag.copy = co_await pages_wait;
  if (request.op == Op::read) co_return kOk;
  PrivateLoan loan(Direction::destination, bytes_of(tag));
  auto copying = ring_.read(setup_.char_device, position(tag), loan.view());
  co_return co_await copying;
}

Task Queue::copy_out(Request& request, Tag& tag, Status status) {
  if (request.op == Op::write || !status.ok()) co_return status;
  PrivateLoan loan(Direction::source, bytes_of(tag));
  auto copying = ring_.write(setup_.char_device, position(tag), loan.view());
  co_return co_await copying;
}

// Copies the bytes that were read, and unregisters the pages. Returns the status of the request, or
// the error of copying.
Task Queue::finish_by_hand(Request& request, Tag& tag, Status status) {
  if (tag.copy) {
    Task copying = copy_out(request, tag, status);
    status = co_await copying;
    tag.copy.drop();
  }
  if (tag.registered) {
    auto unregistering = command(abi::kUnregisterIoBuf, tag, static_cast<uint64_t>(tag.slot));
    const int32_t result = co_await unregistering;
    if (result < 0) {
      log().error("the driver did not unregister a request's buffer: {}", std::strerror(-result));
    }
    tag.registered = false;
  }
  if (setup_.mode == BufferMode::register_buf) {
    ring_.release_slot(tag.slot);
    tag.slot = Loan::kNoSlot;
  }
  co_return status;
}

}  // namespace sluice::ublk
