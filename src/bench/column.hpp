// Column: one way of moving pages of 4 KiB from their lender into /dev/null, in batches of `depth`.
// It is a column of Begunkov's table.
//
// Made, used and destroyed by the measuring thread. Each column has an io_uring of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "core/error.hpp"

namespace sluice::bench {

inline constexpr uint32_t kIoBytes = 4096;

// Totals since the column was made.
struct Counts {
  uint64_t sqes = 0;
  uint64_t cqes = 0;
  uint64_t enters = 0;        // io_uring_enter
  uint64_t other_calls = 0;   // splice
  uint64_t copied_bytes = 0;  // by the server, from memory to memory

  Counts& operator+=(const Counts& other);
  Counts operator-(const Counts& other) const;
};

class Column {
 public:
  Column() = default;
  Column(const Column&) = delete;
  Column& operator=(const Column&) = delete;
  virtual ~Column() = default;

  // Runs one batch of `depth`. False: an operation did not move exactly 4 KiB.
  virtual bool run_batch() = 0;
  virtual Counts counts() const = 0;
};

// The lent pages.
enum class Pages : uint8_t {
  memory,  // of this process
  ublk,    // of requests of a ublk device
};

struct ColumnType {
  std::string_view name;   // in JSON: get_buf_link
  std::string_view title;  // the column heading: GET_BUF, link
  Result<std::unique_ptr<Column>> (*make)(Pages pages, uint32_t depth);
};

// The kernel's interfaces without Sluice.
extern const ColumnType kSpliceTwice;
extern const ColumnType kOpSplice;
extern const ColumnType kBareWrite;  // the limit
// The table of registered buffers (src/lend/get_buf.hpp).
extern const ColumnType kGetBuf;
extern const ColumnType kGetBufLinked;
extern const ColumnType kGetBufNop;
// Requests that arrive lent.
extern const ColumnType kAutoLoan;
extern const ColumnType kCopied;
// Commands of the ublk driver: only with pages of ublk.
extern const ColumnType kRegisterUseRelease;  // linked
extern const ColumnType kRegisterInBatches;   // not linked

}  // namespace sluice::bench
