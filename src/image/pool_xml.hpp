// Reads the XML that `sluice thin dump` and thin_dump print.
//
// Takes no more memory than a tag has, and each part as it comes. Only elements and attributes of
// such text are understood; whatever else is there is refused, with its line.
#pragma once

#include <cstdint>
#include <istream>

#include "core/error.hpp"
#include "persistent/devices.hpp"

namespace sluice::image {

struct PoolXmlFacts {
  uint32_t time = 0;
  uint64_t transaction_id = 0;
  uint32_t flags = 0;
  uint32_t data_block_sectors = 0;
  uint64_t data_blocks = 0;
};

// An Error ends the reading.
class PoolXmlTaker {
 public:
  virtual ~PoolXmlTaker() = default;

  // First, and once.
  virtual Result<void> pool(const PoolXmlFacts& facts) = 0;
  virtual Result<void> device(uint64_t id, const persistent::DeviceDetails& details) = 0;
  // Of the last device; the range does not end beyond UINT64_MAX.
  virtual Result<void> run(const persistent::MappedRun& run) = 0;
};

// EINVAL: malformed or incomplete; EIO: it cannot be read to its end.
Result<void> read_pool_xml(std::istream& text, PoolXmlTaker& taker);

}  // namespace sluice::image
