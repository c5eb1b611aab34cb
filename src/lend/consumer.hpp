// Consumer: what is done with lent bytes (the OP of dev_splice, S57, S61), as a value: read, write,
// receive or send them, on a file or socket B, or on another device of ours.
//
// Consumption: a consumer at work on a view. Everything in src/lend/ ends in one.
//
//   lend::Consumption reading(lent, lend::Read{.file = backing, .offset = 4096});
//   Task running = reading.run(request);
//   const Status status = co_await running;
#pragma once

#include <span>
#include <type_traits>
#include <variant>

#include "core/request.hpp"
#include "core/task.hpp"
#include "ring/operation.hpp"

namespace sluice::lend {

// Fill the lent bytes (a READ's) ...
struct Read {
  File file;
  uint64_t offset = 0;
};
struct Recv {
  File socket;
};
// ... or take them (a WRITE's).
struct Write {
  File file;
  uint64_t offset = 0;
  bool durable = false;  // RWF_DSYNC
};
struct Send {
  File socket;
  int message_flags = 0;
};
struct SendZc {
  File socket;
  int message_flags = 0;
};

// As Read and Write, on these pieces of the lent bytes, in this order. They live as long as the
// consumption.
struct Readv {
  File file;
  uint64_t offset = 0;
  std::span<const Segment> pieces;
};
struct Writev {
  File file;
  uint64_t offset = 0;
  std::span<const Segment> pieces;
  bool durable = false;
};

// Another device of ours, in this process: whoever serves Requests (a Stack, a Target). Borrowed.
class Device {
 public:
  template <typename Server>
    requires(!std::is_same_v<Server, Device>)
  explicit Device(Server& server) : server_(&server), submit_(&submit_to<Server>) {}

  Task submit(Request& request) const { return submit_(server_, request); }

 private:
  template <typename Server>
  static Task submit_to(void* server, Request& request) {
    return static_cast<Server*>(server)->submit(request);
  }

  void* server_;
  Task (*submit_)(void*, Request&);
};

struct ReadDevice {
  Device device;
  uint64_t offset = 0;
};
struct WriteDevice {
  Device device;
  uint64_t offset = 0;
  bool fua = false;
};

using Consumer =
    std::variant<Read, Recv, Write, Send, SendZc, Readv, Writev, ReadDevice, WriteDevice>;

// What a consumer does to the lent bytes: read from them (source), or fill them (destination).
Direction direction_of(const Consumer& consumer);

// What a CQE would say: the bytes moved, or a negative errno if none were; 0 where a file ends.
int64_t cqe_result(uint64_t moved_bytes, Status status);

class Consumption {
 public:
  Consumption(View lent, const Consumer& consumer) : lent_(std::move(lent)), consumer_(consumer) {}
  Consumption(const Consumption&) = delete;
  Consumption& operator=(const Consumption&) = delete;

  // `request` gives ring and arena. All bytes were moved, or an errno: EACCES for the wrong
  // direction, ENODATA when a file ends early, EOPNOTSUPP when the file wants an address and the
  // pages have none (S68), and those of the view. The view is dropped at the end.
  Task run(Request& request);
  // It ends with ECANCELED, unless it is done first. On the ring's thread, while it runs; not where
  // a device of ours is the consumer.
  void cancel(Ring& ring);
  // Bytes moved so far, also when it failed. A device of ours moves all or none.
  uint64_t moved_bytes() const { return moved_; }
  // ECANCELED before it has ended.
  int64_t result() const { return cqe_result(moved_, status_); }

 private:
  Task run_operation(Request& request);
  Task run_device(Request& request, Device device, Op op, uint64_t offset, bool fua);
  Operation operation(Ring& ring);

  View lent_;
  Consumer consumer_;
  Operation* running_ = nullptr;
  uint64_t moved_ = 0;
  Status status_ = Status::from_errno(ECANCELED);
};

}  // namespace sluice::lend
