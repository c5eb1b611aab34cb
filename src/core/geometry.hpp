// Geometry: what a target offers and demands. Fixed when the target is opened, but for its size,
// which may grow; a parent computes its own from its children's, the front end hands the root's to
// the client.
#pragma once

#include <atomic>
#include <cstdint>

namespace sluice {

// A size that may grow while other threads read it (Target::resize): an integer in all but that.
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
  SizeBytes size_bytes = 0;

  uint32_t logical_block_bytes = 512;    // offset and length of every request are multiples of it
  uint32_t physical_block_bytes = 4096;  // what is written without reading first
  uint32_t io_min_bytes = 0;             // preferred smallest request; 0: no preference
  uint32_t io_opt_bytes = 0;             // preferred request; 0: no preference

  // What a lent buffer must look like (P-21): zero copy shows the client's memory to the backing.
  uint32_t memory_alignment_bytes = 1;  // of addresses and lengths of its segments
  uint32_t max_segments = 0;            // 0: no limit
  uint32_t max_segment_bytes = 0;       // 0: no limit

  uint32_t max_io_bytes = 0;               // the door splits longer reads and writes; 0: no limit
  uint64_t max_discard_bytes = 0;          // likewise for discard and write zeroes; 0: no limit
  uint32_t discard_granularity_bytes = 0;  // 0: one logical block

  bool can_discard = false;
  bool can_write_zeroes = false;  // natively; otherwise the door writes zeroes
  bool can_fua = false;           // natively; otherwise the door flushes
  bool volatile_cache = false;    // a flush is needed before data is durable
  bool read_only = false;
  bool rotational = false;
  bool needs_bytes = false;  // must see the data: the front end picks an addressable mode
};

// What holds for requests that go to either of two children.
Geometry combine(const Geometry& one, const Geometry& other);

}  // namespace sluice
