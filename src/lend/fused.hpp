// Fused: IORING_OP_FUSED_CMD (seed 2): one command to a device that gives the buffer of one of its
// requests (the master), and one ordinary operation that uses it (the slave), submitted as one.
//
//   lend::Fused moving({.master = {&a, request.queue, request.tag},
//                       .piece = {.offset = 0, .length = 4096},
//                       .slave = lend::Write{.file = b}});
//   Task running = moving.run(request);
//   const Status status = co_await running;
//
// As posted there is one slave (S64): FusedGroup has several. The buffer goes from the device to
// the master, to the slave, back to the master when that has ended, and to the device just before
// the master ends (S71, S72). Neither needs a special ring or SQE (S62, S63), nor the queue's own
// thread (S75): any ring that knows the buffer.
#pragma once

#include <array>
#include <optional>
#include <span>

#include "lend/consumer.hpp"
#include "lend/provider.hpp"

namespace sluice::lend {

// What is said of a slave in the master's CQE (S74). V3: its result where it has no CQE of its own
// or has failed, otherwise 0. V6: 0.
enum class FusedVersion : uint8_t { v3, v6 };

// Whose buffer.
struct FusedMaster {
  Provider* device = nullptr;
  uint16_t queue = 0;
  uint16_t tag = 0;

  // All of it. EBADF: no device; ENODEV, EINVAL: as Provider::lend() says (S70).
  View buffer() const;
};

struct FusedSqe {
  FusedMaster master = {};
  Segment piece = {};        // which bytes of the buffer the slave uses; may be none (S67)
  Consumer slave = {};       // Read, Write, Send, Recv, SendZc (S66)
  bool skip_master = false;  // no CQE unless it fails (IOSQE_CQE_SKIP_SUCCESS)
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

  // All bytes were moved, or an errno. The master's, with which the slave never begins (S73):
  // those of its buffer(); EOPNOTSUPP: no such slave (S65, S66); EACCES: the wrong direction (S69).
  // The slave's: EFAULT: beyond the buffer (S67); EOPNOTSUPP:
  // the file wants an address and the pages have none (S68); those of the operation. What awaits
  // this is linked to both (S78). It may run again when it has ended.
  Task run(Request& request);
  // The slave is cancelled through its master (S79). On the ring's thread, while it runs.
  void cancel(Ring& ring);

  // In the order in which they were posted: the master's is the last.
  std::span<const Cqe> cqes() const { return {cqes_.data(), cqe_count_}; }
  // The slave's, or the master's where the slave never began; ECANCELED before it has run.
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
