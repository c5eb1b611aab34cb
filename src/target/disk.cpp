#include "target/disk.hpp"

#include <fmt/format.h>

#include <cstring>

#include "core/events.hpp"
#include "core/log.hpp"
#include "target/target.hpp"

namespace sluice {
namespace {

// A failed flush may have lost acknowledged data. A durable write that was refused or found no
// space has lost nothing.
bool lost_data(const Request& request, Status status) {
  return request.op == Op::flush ? !status.ok() : status.failed();
}

}  // namespace

const Geometry& Disk::geometry() const { return target_.geometry(); }

void Disk::trace(const Request& request) const {
  if (!trace_) [[likely]]
    return;
  log().debug("{}{} offset {} length {}", to_string(request.op), request.fua ? " fua" : "",
              request.offset, request.length);
}

Task Disk::submit(Request& request) {
  request.tracking.door = &target_;  // for the coroutine of submit_durable()
  trace(request);
  const bool durable = request.op == Op::flush || (request.changes_data() && request.fua);
  if ((durable || request.changes_data()) && failed()) return Status::from_errno(EIO);
  if (durable) return submit_durable(request);
  return target_.submit(request);
}

Task Disk::submit_durable(Request& request) {
  Task serving = target_.submit(request);
  const Status status = co_await serving;
  if (lost_data(request, status) && !failed_.exchange(true)) {
    const std::string why =
        fmt::format("{}{}{} failed: {}; refusing writes until the device is opened again", name_,
                    name_.empty() ? "" : ": ", request.op == Op::flush ? "flush" : "durable write",
                    std::strerror(status.error()));
    log().error("{}", why);
    emit({.kind = kStackFailed, .text = why});
  }
  co_return status;
}

}  // namespace sluice
