// BufferMode: how the bytes of a ublk request reach the server. Chosen once per device, here and
// nowhere else; targets never know.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "core/geometry.hpp"

namespace sluice::ublk {

// In the order of merit.
enum class BufferMode : uint8_t {
  auto_register,  // the driver puts the request's pages into the ring's buffer table (AUTO_BUF_REG)
  register_buf,   // we ask it to, request by request (REGISTER_IO_BUF)
  user_copy,      // pread and pwrite of /dev/ublkcN between the pages and our buffer
  get_data,       // the driver copies, for writes when we ask for the data (NEED_GET_DATA)
  copy,           // the driver copies into and out of our buffer
};

struct ModeChoice {
  BufferMode mode = BufferMode::copy;
  uint64_t flags = 0;  // device features that the mode needs
  std::string reason;  // why no better one; empty when it is the best there is
};

struct ModeWish {
  std::optional<BufferMode> named;  // --mode NAME
  bool zero_copy_required = false;  // -z
  bool unprivileged = false;
  uint32_t slots_per_ring = 0;  // most tags that one ring serves
};

bool is_zero_copy(BufferMode mode);
// auto, register, user_copy, get_data, copy.
std::string_view to_string(BufferMode mode);
std::optional<BufferMode> parse_mode(std::string_view name);
// All names, in the order of merit.
std::span<const std::string_view> mode_names();

// The best mode that the driver's `features` and the stack allow, or the one that was asked for.
// EOPNOTSUPP with the reason when what was asked for cannot be had.
Result<ModeChoice> choose_mode(const ModeWish& wish, uint64_t features, const Geometry& geometry);

}  // namespace sluice::ublk
