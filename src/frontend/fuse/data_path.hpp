// DataPath: how the bytes of a FUSE request reach the server. Chosen once per export, when the
// kernel has said what it can do; targets never know.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace sluice::fuse {

// In the order of merit.
enum class DataPath : uint8_t {
  passthrough,  // the kernel reads and writes the backing file itself; the server sees the rest
  uring_zc,     // the kernel lends its pages through the ring's buffer table, requests as `uring`
  uring,        // the kernel copies to and from our buffers, requests come through the ring
  copy,         // the kernel copies, requests come through read and write of /dev/fuse
  splice,       // as copy, but large requests stay in pipes between /dev/fuse and files
};

struct PathChoice {
  DataPath path = DataPath::copy;
  std::string reason;  // why no better one; empty when it is the best there is
};

// What matters for the choice besides the kernel's word.
struct PathFacts {
  uint64_t kernel_flags = 0;       // of INIT
  std::string bars_passthrough{};  // why the stack or the user rules it out, or nothing
  std::string bars_zero_copy{};    // likewise
};

std::string_view to_string(DataPath path);
// Whether requests come through the kernel's queues for io_uring.
bool is_over_uring(DataPath path);
std::optional<DataPath> parse_data_path(std::string_view name);
// All names, in the order of merit.
std::span<const std::string_view> data_path_names();

// The best one, or the one that was asked for. EOPNOTSUPP with the reason when it cannot be had.
Result<PathChoice> choose_path(std::optional<DataPath> wish, const PathFacts& facts);

}  // namespace sluice::fuse
