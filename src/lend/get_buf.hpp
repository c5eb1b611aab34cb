// GetBuf, UseBuf, PutBuf: the commands of the table of registered buffers (S86-S105):
//
//   lend::GetBuf getting(table, slot, provider, at, length);      puts the buffer into a slot
//   lend::UseBuf writing(table, slot, {0, length}, consumer);     uses it; any number of these
//   lend::PutBuf putting(table, slot);                            returns the buffer
//
// Each command looks up the table when it runs and not before (S99, S119, P-12), so that commands
// can be started one after the other without waiting, in a Chain (src/lend/chain.hpp). A command is
// like an SQE with its result; it may run again, but not concurrently with itself. On the thread of
// the table's ring.
#pragma once

#include <optional>
#include <type_traits>

#include "lend/buffer_table.hpp"
#include "lend/consumer.hpp"
#include "lend/position.hpp"

namespace sluice::lend {

// A device that provides buffers by name (iou_get_buf of S86): a Provider, or a type with the same
// lend(). It may lend less than requested. Borrowed. An empty BufferSource never lends.
class BufferSource {
 public:
  BufferSource() = default;
  template <typename Lends>
    requires(!std::is_same_v<Lends, BufferSource>)
  BufferSource(Lends& provider)  // NOLINT(google-explicit-constructor)
      : provider_(&provider), lend_(&lend_by<Lends>) {}

  // EOPNOTSUPP: it does not lend (S89); or the provider's error.
  View lend(Position at, uint32_t length) const {
    return lend_ != nullptr ? lend_(provider_, at, length) : View::broken(EOPNOTSUPP);
  }

 private:
  template <typename Lends>
  static View lend_by(void* provider, Position at, uint32_t length) {
    return static_cast<Lends*>(provider)->lend(at, length);
  }

  void* provider_ = nullptr;
  View (*lend_)(void*, Position, uint32_t) = nullptr;
};

// Puts the bytes [at.offset, + length) of a request's buffer into a slot. The direction is the
// request's (S93).
class GetBuf {
 public:
  GetBuf(BufferTable& table, uint32_t slot, BufferSource source, Position at, uint32_t length,
         BufferTable::Into into = BufferTable::Into::empty)
      : table_(table), slot_(slot), source_(source), at_(at), length_(length), into_(into) {}

  // Ends immediately. ENODATA: the provider lent less; that part is in the slot and must be put
  // back (S91). After the errors of install() and of the source nothing is installed.
  Task run(Request& request);
  // The bytes provided, or a negative errno; ECANCELED before it has run.
  int64_t result() const { return result_; }

 private:
  BufferTable& table_;
  const uint32_t slot_;
  const BufferSource source_;
  const Position at_;
  const uint32_t length_;
  const BufferTable::Into into_;
  int64_t result_ = -ECANCELED;
};

// Executes a consumer on a piece of the buffer in a slot.
class UseBuf {
 public:
  UseBuf(BufferTable& table, uint32_t slot, Segment piece, const Consumer& consumer)
      : table_(table), slot_(slot), piece_(piece), consumer_(consumer) {}

  // Errors: those of Consumption::run(); EINVAL: no such slot; EFAULT: it is empty or its buffer
  // ends before the piece. Holds the buffer until the consumer has ended, even if it is put
  // meanwhile.
  Task run(Request& request);
  uint64_t moved_bytes() const { return consuming_ ? consuming_->moved_bytes() : 0; }
  // The result a CQE would have; ECANCELED before it has run.
  int64_t result() const { return consuming_ ? consuming_->result() : -ECANCELED; }

 private:
  BufferTable& table_;
  const uint32_t slot_;
  const Segment piece_;
  const Consumer consumer_;
  std::optional<Consumption> consuming_;
};

// Removes the buffer from a slot.
class PutBuf {
 public:
  PutBuf(BufferTable& table, uint32_t slot) : table_(table), slot_(slot) {}

  // Ends immediately, even while the buffer is in use (S119). EINVAL: no such slot, or an empty
  // one.
  Task run(Request& request);
  // 0 or a negative errno; ECANCELED before it has run.
  int64_t result() const { return result_; }

 private:
  BufferTable& table_;
  const uint32_t slot_;
  int64_t result_ = -ECANCELED;
};

}  // namespace sluice::lend
