// AutoBuf: a request's buffer in a slot of a table for as long as the request is served, as ublk's
// AUTO_BUF_REG does it (S126): there before its server sees the request, gone when it has ended.
//
//   lend::AutoBuf buffer(table, request.tag, request.data);
//   if (buffer.needs_get_buf()) ...      the slot is taken: lend it by hand or fail the request
//
// Of whoever serves the request, in its frame; on the thread of the table's ring. On ublk the
// driver does the same with the ring's own table (src/frontend/ublk/queue.cpp).
#pragma once

#include "lend/buffer_table.hpp"

namespace sluice::lend {

class AutoBuf {
 public:
  AutoBuf(BufferTable& table, uint32_t slot, const View& data) noexcept
      : table_(table), slot_(slot), status_(table.install(slot, data)), loan_(data.loan()) {}
  AutoBuf(const AutoBuf&) = delete;
  AutoBuf& operator=(const AutoBuf&) = delete;
  // What its server has put into the slot since then stays.
  ~AutoBuf() {
    if (status_.ok() && table_.holder(slot_) == loan_) static_cast<void>(table_.remove(slot_));
  }

  // The flag UBLK_IO_F_NEED_REG_BUF: it could not be installed (P-17); why: as install().
  bool needs_get_buf() const { return !status_.ok(); }
  Status status() const { return status_; }

 private:
  BufferTable& table_;
  const uint32_t slot_;
  const Status status_;
  const Loan* const loan_;
};

}  // namespace sluice::lend
