// Which front end serves a device, and how each one is made from what the user asked for or from
// what a record says. The only place that knows them all.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "daemon/state.hpp"
#include "frontend/frontend.hpp"
#include "frontend/fuse/data_path.hpp"
#include "frontend/ublk/device.hpp"
#include "target/stack.hpp"

namespace sluice {

enum class FrontendKind : uint8_t {
  ublk,  // /dev/ublkbN, by the kernel's ublk driver
  loop,  // /dev/loopN, on a file that FUSE serves
  fuse,  // that file itself
};

// ublk, loop, fuse.
std::string_view to_string(FrontendKind kind);
std::optional<FrontendKind> parse_frontend(std::string_view name);
std::span<const std::string_view> frontend_names();

struct FrontendOptions {
  std::optional<FrontendKind> kind;  // none: see choose_frontend()
  ublk::DeviceOptions device;        // id, queues, depth and size of requests are for all kinds
  std::string at;                    // fuse: where the file is to appear
  std::optional<fuse::DataPath> path;
  bool allow_other = false;    // fuse: let other users have the file
  bool buffered_loop = false;  // loop: through the page cache
};

struct FrontendChoice {
  FrontendKind kind = FrontendKind::ublk;
  std::string reason;  // of a choice that the user has not made
};

// The one that was asked for; or ublk, if this machine has it or can load it, else loop. ENODEV:
// it has neither, and what would help.
Result<FrontendChoice> choose_frontend(const FrontendOptions& options);

// Its kernel side exists, but nothing is served yet. options.device.id is its id.
Result<std::unique_ptr<Frontend>> make_frontend(Stack& stack, const FrontendOptions& options);

// Takes over what `record` describes, whose server has died or has let go of it, with what it has
// handed over. EINVAL where that cannot be.
Result<std::unique_ptr<Frontend>> take_over_frontend(Stack& stack, const DeviceRecord& record,
                                                     Handover handover);

// Whether the kernel still has something of a device whose server has died: a device of the ublk
// driver, or a mount.
bool has_remains(const DeviceRecord& record);
// Takes away what a dead server of a device that the ublk driver does not know has left mounted.
Result<void> clear_remains(const DeviceRecord& record);

}  // namespace sluice
