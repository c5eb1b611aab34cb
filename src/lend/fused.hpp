// Fused: IORING_OP_FUSED_CMD of the mails: one command to a device that provides the buffer of one
// of its requests (the master), and one ordinary operation that uses the buffer (the slave),
// submitted together.
//
//   lend::Fused moving({.master = {&a, request.queue, request.tag},
//                       .piece = {.offset = 0, .length = 4096},
//                       .slave = lend::Write{.file = b}});
//   Task running = moving.run(request);
//   const Status status = co_await running;
//
// As in the mails there is one slave (S64); FusedGroup has several. The buffer passes from the
// device to the master, to the slave, back to the master when the slave has ended, and to the
// device just before the master ends (S71, S72). Neither master nor slave needs a special ring or
// SQE (S62, S63), nor the queue's own thread (S75): any ring that can address the buffer works.
#pragma once

#include <array>
#include <optional>
#include <span>

#include "lend/consumer.hpp"
#include "lend/provider.hpp"

namespace sluice::lend {

// The slave's result in the master's CQE (S74). V3: the result if the slave has no CQE of its own
// or has failed, otherwise 0. V6: 0.
enum class FusedVersion : uint8_t { v3, v6 };

// The request that provides the buffer.
struct FusedMaster {
  Provider* device = nullptr;
  uint16_t queue = 0;
  uint16_t tag = 0;

  // The whole buffer. EBADF: no device; ENODEV, EINVAL: see Provider::lend() (S70).
  View buffer() const;
};

struct FusedSqe {
  FusedMaster master = {};
  Segment piece = {};        // the part of the buffer that the slave uses; may be empty (S67)
  Consumer slave = {};       // Read, Write, Send, Recv, SendZc (S66)
  bool skip_master = false;  // post a CQE only on failure (IOSQE_CQE_SKIP_SUCCESS)
  bool skip_slave = false;
  FusedVersion version = FusedVersion::v3;
};

class Fused {
 public:
  struct Cqe {
    enum class Of : uint8_t { slave, master };
    Of of;
    int64_t result;  // bytes, or a negative errno

    friend bool operator==(const Cqe&, const Cqe&) = default;
  };

  explicit Fused(const FusedSqe& sqe) : sqe_(sqe) {}
  Fused(const Fused&) = delete;
  Fused& operator=(const Fused&) = delete;

  // Success means all bytes were moved. Errors of the master, after which the slave never starts
  // (S73): those of its buffer(); EOPNOTSUPP: no such slave (S65, S66); EACCES: wrong direction
  // (S69). Errors of the slave: EFAULT: outside the buffer (S67); EOPNOTSUPP: the file needs an
  // address and the pages have none (S68); those of the operation. A coroutine that awaits this is
  // linked to both (S78). It may run again after it has ended.
  Task run(Request& request);
  // Cancels the slave through its master (S79). On the ring's thread, while it runs.
  void cancel(Ring& ring);

  // In the order of posting: the master's is the last.
  std::span<const Cqe> cqes() const { return {cqes_.data(), cqe_count_}; }
  // The slave's result, or the master's if the slave never started; ECANCELED before it has run.
  int64_t result() const { return result_; }

 private:
  Status accept(const View& buffer) const;
  void post(Cqe::Of of, int64_t result);

  const FusedSqe sqe_;
  std::optional<Consumption> slave_;
  int64_t result_ = -ECANCELED;
  std::array<Cqe, 2> cqes_{};
  size_t cqe_count_ = 0;
};

}  // namespace sluice::lend
