// BufferMode: how the bytes of a ublk request reach the server. Selected once per device, only
// here; targets do not depend on it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "core/geometry.hpp"

namespace sluice::ublk {

// The preferred one first.
enum class BufferMode : uint8_t {
  auto_register,  // the driver puts the request's pages into the ring's buffer table (AUTO_BUF_REG)
  register_buf,   // the server requests this for each request (REGISTER_IO_BUF)
  user_copy,      // pread and pwrite of /dev/ublkcN between the pages and the server's buffer
  get_data,       // the driver copies, for writes on request (NEED_GET_DATA)
  copy,           // the driver copies into and out of the server's buffer
};

struct ModeChoice {
  BufferMode mode = BufferMode::copy;
  uint64_t flags = 0;  // device features that the mode needs
  std::string reason;  // why a better one is not possible; empty: this is the best
};

struct ModeOptions {
  std::optional<BufferMode> named;  // --mode NAME
  bool zero_copy_required = false;  // -z
  bool unprivileged = false;
  uint32_t slots_per_ring = 0;  // the most tags of one ring
};

// The kernel's errors for modes that were tried.
using ModeRefusals = std::map<BufferMode, std::string>;

bool is_zero_copy(BufferMode mode);
// auto, register, user_copy, get_data, copy.
std::string_view to_string(BufferMode mode);
std::optional<BufferMode> parse_mode(std::string_view name);
// All names, the preferred one first.
std::span<const std::string_view> mode_names();

// The best mode that the driver's `features` and the stack allow and that was not refused, or the
// named one. EOPNOTSUPP, with the reason: the options cannot be satisfied.
Result<ModeChoice> choose_mode(const ModeOptions& options, uint64_t features,
                               const Geometry& geometry, const ModeRefusals& refusals = {});

}  // namespace sluice::ublk
