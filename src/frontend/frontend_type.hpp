// FrontendType: one kind of front end, as the rest of the program knows it: its name, its options,
// and functions that make it, take it over, and remove its remains.
//
// Each folder of a front end defines one constant; registry.cpp lists all of them. Nothing else
// knows a front end by name. The functions are for the control path.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "frontend/frontend.hpp"
#include "frontend/frontend_options.hpp"
#include "frontend/named_values.hpp"
#include "target/stack.hpp"

namespace sluice {

// An option of `add` that not every front end has. It asks for a front end that has it.
struct FrontendOption {
  // addresses: may be repeated; its value has each on a line. listeners: likewise, where clients
  // connect; FrontendOptions may have sockets in its place.
  enum class Kind : uint8_t { flag, on_off, path, text, addresses, listeners };

  std::string_view name = {};
  Kind kind = Kind::flag;
  char letter = 0;              // of the short form; 0: none
  std::string_view value = {};  // as the help shows it; empty: a flag
  std::string_view help = {};
  std::string_view mode = {};      // the mode that this option selects, if any
  std::string_view required = {};  // why the option must be given; empty: it need not
  bool off_asks_nothing = false;   // the value 0 asks for no front end
};

// A value that a front end keeps in the record of its device, beside the common fields.
struct FrontendTrace {
  std::string_view name;
  OptionKind kind = OptionKind::text;  // flag, count or text
};

// The part of a device's record that its front end uses.
struct FrontendRecord {
  uint32_t id = kAnyId;
  std::string path{};  // that the user opens
  std::string at{};    // see FrontendPlan
  std::string mode{};
  std::optional<uint32_t> reserve_bytes{};
  std::string user{};  // see FrontendOptions
  NamedValues traces{};
};

// A front end that is about to be made. Before that, a record is written that lists its traces.
class FrontendPlan {
 public:
  FrontendPlan() = default;
  FrontendPlan(const FrontendPlan&) = delete;
  FrontendPlan& operator=(const FrontendPlan&) = delete;
  virtual ~FrontendPlan() = default;

  // The place that the user chose; empty: there is no choice.
  virtual std::string at() const { return {}; }
  virtual NamedValues traces() const { return {}; }
  // Makes the front end with its kernel side; does not serve yet. EEXIST, only with KernelNumbers:
  // the number is taken, and another may be tried. After any other failure the plan is unusable.
  virtual Result<std::unique_ptr<Frontend>> make(uint32_t id) = 0;
};

// The devices of a driver whose device numbers are ours, whatever program serves them.
struct KernelNumbers {
  std::vector<uint32_t> (*all)();    // of all existing devices, ascending
  bool (*has)(uint32_t id);          // without asking the driver
  std::string (*path)(uint32_t id);  // of the device
};

struct FrontendType {
  std::string_view name = {};
  std::string_view described = {};  // in the message that it is unusable; empty: its name
  std::span<const FrontendOption> options = {};
  std::span<const std::string_view> (*modes)() = nullptr;  // the preferred one first
  std::span<const FrontendTrace> traces = {};
  uint32_t max_io_bytes = kIoBytesMax;  // of a request
  bool is_block_device = true;          // its path; otherwise a file
  bool serves_many = false;             // also several disks of one stack, see Stack::disks()
  bool serves_bytes = false;            // its clients address bytes: OpenContext::to_the_byte()
  bool needs_no_rights = false;         // once it is prepared; see FrontendOptions::user
  const KernelNumbers* numbers = nullptr;

  // Checks that the options are compatible, and sets the common options that its own options ask
  // for. EINVAL.
  Result<void> (*check_options)(FrontendOptions& options) = nullptr;
  // Checks that this machine can use it, for a user who has not chosen. Loads drivers. Null: it is
  // used only if the user chooses it.
  Result<void> (*check_usable)() = nullptr;

  // The options must be for this type. Options and stack outlive the plan.
  Result<std::unique_ptr<FrontendPlan>> (*plan)(Stack& stack,
                                                const FrontendOptions& options) = nullptr;
  // Takes over a device whose server has died. Null: devices do not outlive their server.
  Result<std::unique_ptr<Frontend>> (*recover)(Stack& stack,
                                               const FrontendRecord& record) = nullptr;
  // Takes over a device from a living server, with its Frontend::handover_state().
  Result<std::unique_ptr<Frontend>> (*adopt)(Stack& stack, const FrontendRecord& record,
                                             const std::string& state) = nullptr;
  // Translates what a server of the first release lets go of (docs/formats/handover.md). Null: the
  // record is enough for adopt().
  Result<Handover> (*from_version_0)(Handover handover) = nullptr;

  // True if the kernel still has remains of a device whose server has died.
  bool (*has_remains)(const FrontendRecord& record) = nullptr;
  // Removes them. EBUSY: in use, unless `even_if_used`.
  Result<void> (*clear_remains)(const FrontendRecord& record, bool even_if_used) = nullptr;

  bool outlives_server() const { return recover != nullptr; }
  // `wanted`, limited to the largest request of this front end.
  uint32_t io_bytes(uint32_t wanted) const { return wanted < max_io_bytes ? wanted : max_io_bytes; }
};

}  // namespace sluice
