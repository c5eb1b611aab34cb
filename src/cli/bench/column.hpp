// Column: one way of getting 4 KiB from whoever holds them into /dev/null, as a column of
// Begunkov's table: `depth` of them at a time, again and again.
//
// Made, used and ended by the thread that measures; each has an I/O ring of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "core/error.hpp"

namespace sluice::cli::bench {

inline constexpr uint32_t kIoBytes = 4096;

// What has been done so far.
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

  // One batch of `depth`. False: one of them moved something else than 4 KiB.
  virtual bool run_batch() = 0;
  virtual Counts counts() const = 0;
};

// What is lent.
enum class Pages : uint8_t {
  memory,  // of this process
  ublk,    // of requests of a ublk device
};

struct ColumnType {
  std::string_view name;   // for programs: get_buf_link
  std::string_view title;  // above its column: GET_BUF, link
  Result<std::unique_ptr<Column>> (*make)(Pages pages, uint32_t depth);
};

// What the kernel has without us.
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
// By commands of the ublk driver: only with its pages.
extern const ColumnType kRegisterUseRelease;  // linked
extern const ColumnType kRegisterInBatches;   // and not

}  // namespace sluice::cli::bench
