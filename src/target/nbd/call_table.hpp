// CallTable: the calls that a server has, by their cookies.
//
// Part of a Connection, used by its ring's thread only. A cookie has a number that is used once, so
// that no answer is taken for that of another call. Nothing is allocated after its creation.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "target/nbd/call.hpp"

namespace sluice::nbd::client {

class CallTable {
 public:
  using Clock = std::chrono::steady_clock;

  static constexpr uint32_t kSlots = 1024;
  // Data of reads up to this length is received together with headers, and copied.
  static constexpr uint64_t kCopiedBytes = 16 << 10;

  CallTable();

  bool full() const { return free_.empty(); }
  uint32_t size() const { return kSlots - static_cast<uint32_t>(free_.size()); }
  // Reads whose data is longer than kCopiedBytes.
  uint32_t large_reads() const { return large_reads_; }

  // Gives the call its cookie.
  void add(Call& call);
  void remove(Call& call);
  // Null: no call that waits for an answer has this cookie.
  Call* find(uint64_t cookie) const;
  // With null for free slots.
  std::span<Call* const> slots() const { return {slots_.get(), kSlots}; }

 private:
  static bool is_large_read(const Call& call) {
    return call.header.command == Command::read && call.header.length > kCopiedBytes;
  }

  std::unique_ptr<Call*[]> slots_;
  std::vector<uint32_t> free_;
  uint32_t large_reads_ = 0;
  uint32_t generation_ = 0;
};

}  // namespace sluice::nbd::client
