// Geometry: a target's size, limits and abilities. Fixed when the target is opened, except the
// size, which may grow. A parent computes its geometry from those of its children; the front end
// passes the root's geometry to the client.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace sluice {

// An integer size that may grow while other threads read it (Target::resize).
class SizeBytes {
 public:
  SizeBytes(uint64_t bytes = 0) : bytes_(bytes) {}  // NOLINT(google-explicit-constructor)
  SizeBytes(const SizeBytes& other) : bytes_(uint64_t{other}) {}
  SizeBytes& operator=(const SizeBytes& other) { return *this = uint64_t{other}; }
  SizeBytes& operator=(uint64_t bytes) {
    bytes_.store(bytes, std::memory_order_relaxed);
    return *this;
  }
  operator uint64_t() const {  // NOLINT(google-explicit-constructor)
    return bytes_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<uint64_t> bytes_;
};

struct Geometry {
  SizeBytes size_bytes = 0;  // whole blocks
  // With the bytes behind the last whole block, for a front end whose clients address bytes
  // (OpenContext::to_the_byte()). If it is not 0, requests may end at any byte up to data_bytes().
  SizeBytes exact_bytes = 0;

  // All that there is. It only grows, also while a resize changes one size after the other.
  uint64_t data_bytes() const { return std::max<uint64_t>(size_bytes, exact_bytes); }

  uint32_t logical_block_bytes = 512;    // of offset and length of every request
  uint32_t physical_block_bytes = 4096;  // written without a read-modify-write cycle
  uint32_t io_min_bytes = 0;             // preferred smallest request; 0: no preference
  uint32_t io_opt_bytes = 0;             // preferred request; 0: no preference

  // Requirements on lent buffers (P-21): with zero copy the client's memory goes to the backing.
  uint32_t memory_alignment_bytes = 1;  // of addresses and lengths of its segments
  uint32_t max_segments = 0;            // 0: no limit
  uint32_t max_segment_bytes = 0;       // 0: no limit

  uint32_t max_io_bytes = 0;               // Target::submit() splits longer I/O; 0: no limit
  uint64_t max_discard_bytes = 0;          // likewise for discard and write zeroes; 0: no limit
  uint32_t discard_granularity_bytes = 0;  // 0: one logical block

  bool can_discard = false;
  bool can_write_zeroes = false;  // natively; otherwise Target::submit() writes zeroes
  bool can_prefetch = false;      // has a use for it; otherwise Target::submit() ignores it
  bool can_fua = false;           // natively; otherwise Target::submit() flushes
  bool volatile_cache = false;    // a flush is needed before data is durable
  bool read_only = false;
  bool rotational = false;
  bool needs_bytes = false;  // reads the data itself: the front end selects an addressable mode
  bool needs_stable_pages = false;  // uses the data of a write twice: it must not change meanwhile
};

// The geometry that holds for requests to either of two children.
Geometry combine(const Geometry& one, const Geometry& other);

}  // namespace sluice
