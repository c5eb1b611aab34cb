// Consumer: an operation on lent bytes (the OP of dev_splice, S57, S61), as a value: read, write,
// receive or send, on a file or socket B, or on another device of Sluice.
//
// Consumption: executes a consumer on a view. All commands in src/lend/ use it.
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

// These fill the lent bytes (of a READ) ...
struct Read {
  File file;
  uint64_t offset = 0;
};
struct Recv {
  File socket;
};
// ... and these drain them (of a WRITE).
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

// Like Read and Write, on these pieces of the lent bytes, in this order. `pieces` must outlive the
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

// Another device of Sluice in this process: any server of Requests (a Stack, a Target). Borrowed.
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

// source: the consumer reads the lent bytes; destination: it fills them.
Direction direction_of(const Consumer& consumer);

// The result a CQE would have: the bytes moved, or a negative errno if none were; 0 at the end of a
// file.
int64_t cqe_result(uint64_t moved_bytes, Status status);

class Consumption {
 public:
  Consumption(View lent, const Consumer& consumer) : lent_(std::move(lent)), consumer_(consumer) {}
  Consumption(const Consumption&) = delete;
  Consumption& operator=(const Consumption&) = delete;

  // Uses the ring and arena of `request`. Success means all bytes were moved. EACCES: wrong
  // direction; ENODATA: the file ends early; EOPNOTSUPP: the file needs an address and the pages
  // have none (S68); and the errors of the view. Drops the view at the end.
  Task run(Request& request);
  // Makes run() end with ECANCELED, unless it ends before. On the ring's thread, while it runs; not
  // if the consumer is a device of Sluice.
  void cancel(Ring& ring);
  // Bytes moved so far, also after a failure. A device of Sluice moves all or none.
  uint64_t moved_bytes() const { return moved_; }
  // ECANCELED until it has ended.
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
