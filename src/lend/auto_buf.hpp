// AutoBuf: registers a request's buffer in a slot of a table while the request is served, like
// ublk's AUTO_BUF_REG (S126): before the server sees the request, until it has ended.
//
//   lend::AutoBuf buffer(table, request.tag, request.data);
//   if (buffer.needs_get_buf()) ...      the slot is taken: lend the buffer manually, or fail
//
// Lives in the frame of the coroutine that serves the request, on the thread of the table's ring.
// On ublk the driver does the same with the ring's own table (src/frontend/ublk/queue.cpp).
#pragma once

#include "lend/buffer_table.hpp"

namespace sluice::lend {

class AutoBuf {
 public:
  AutoBuf(BufferTable& table, uint32_t slot, const View& data) noexcept
      : table_(table), slot_(slot), status_(table.install(slot, data)), loan_(data.loan()) {}
  AutoBuf(const AutoBuf&) = delete;
  AutoBuf& operator=(const AutoBuf&) = delete;
  // If the server has replaced the buffer in the slot, the new one stays.
  ~AutoBuf() {
    if (status_.ok() && table_.holder(slot_) == loan_) static_cast<void>(table_.remove(slot_));
  }

  // Like the flag UBLK_IO_F_NEED_REG_BUF: install() failed (P-17).
  bool needs_get_buf() const { return !status_.ok(); }
  Status status() const { return status_; }

 private:
  BufferTable& table_;
  const uint32_t slot_;
  const Status status_;
  const Loan* const loan_;
};

}  // namespace sluice::lend
