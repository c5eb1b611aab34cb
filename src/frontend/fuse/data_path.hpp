// DataPath: how the bytes of a FUSE request reach the server. Selected once per export, when the
// kernel's features are known; targets do not depend on it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace sluice::fuse {

// The preferred one first.
enum class DataPath : uint8_t {
  passthrough,  // the kernel reads and writes the backing file itself; the server sees the rest
  uring_zc,     // the kernel lends its pages through the ring's buffer table, requests as `uring`
  uring,        // the kernel copies to and from our buffers, requests come through the ring
  copy,         // the kernel copies, requests come through read and write of /dev/fuse
  splice,       // as copy, but large requests stay in pipes between /dev/fuse and files
};

struct PathChoice {
  DataPath path = DataPath::copy;
  std::string reason;  // why a better one is not possible; empty: this is the best
};

// The inputs of the choice.
struct PathFacts {
  uint64_t kernel_flags = 0;       // from INIT
  std::string bars_passthrough{};  // why the stack or the options exclude it, or empty
  std::string bars_zero_copy{};    // likewise
  std::string bars_uring{};        // why the kernel refused it
};

std::string_view to_string(DataPath path);
// True if requests arrive through the kernel's io_uring queues.
bool is_over_uring(DataPath path);
std::optional<DataPath> parse_data_path(std::string_view name);
// All names, the preferred one first.
std::span<const std::string_view> data_path_names();

// The best possible path, or the named one. EOPNOTSUPP, with the reason: the named one is not
// possible.
Result<PathChoice> choose_path(std::optional<DataPath> named, const PathFacts& facts);

}  // namespace sluice::fuse
