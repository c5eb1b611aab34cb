// kLoopFrontend: /dev/loopN, on a file that FUSE serves.
#include <fmt/format.h>

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <optional>

#include "frontend/fuse/connection.hpp"
#include "frontend/fuse/traces.hpp"
#include "frontend/fuse/version_0.hpp"
#include "frontend/load_module.hpp"
#include "frontend/loop/loop_device.hpp"
#include "frontend/types.hpp"
#include "spec/json_value.hpp"

namespace sluice {
namespace loop {
namespace {

constexpr FrontendOption kOptions[] = {
    {.name = "loop_direct_io",
     .kind = FrontendOption::Kind::on_off,
     .value = "0|1",
     .help = "with loop: bypass the page cache of its file (default 1)"},
};

constexpr FrontendTrace kTraces[] = {
    {.name = fuse::kFileSystem, .kind = OptionKind::text},
    {.name = kSequence, .kind = OptionKind::count},
};

Result<void> load_and_check() {
  for (const char* const name : {"fuse", "loop"}) load_module(name);
  return check_usable();
}

class Plan final : public FrontendPlan {
 public:
  Plan(Stack& stack, const FrontendOptions& options) : stack_(stack), options_(options) {}

  Result<std::unique_ptr<Frontend>> make(uint32_t /*id*/) override {
    return LoopDevice::make(stack_, {.file = fuse::export_options(options_),
                                     .direct_io = options_.own.flag("loop_direct_io", true)});
  }

 private:
  Stack& stack_;
  const FrontendOptions& options_;
};

Result<std::unique_ptr<FrontendPlan>> plan(Stack& stack, const FrontendOptions& options) {
  return std::make_unique<Plan>(stack, options);
}

Result<std::unique_ptr<Frontend>> adopt(Stack& stack, const FrontendRecord& /*record*/,
                                        const std::string& state) {
  return LoopDevice::adopt(stack, state);
}

// An attribute of a loop device; nullopt: there is no such device, or no such attribute.
std::optional<uint64_t> attribute(const std::string& path, const char* name) {
  std::ifstream file(fmt::format("/sys/block/{}/{}", path.substr(path.rfind('/') + 1), name));
  uint64_t value = 0;
  return file >> value ? std::optional(value) : std::nullopt;
}

// The passed descriptor of the device is not needed: the keeper opens the device by its path, and
// until the old server has ended that has it open as well.
Result<Handover> from_version_0(Handover handover) {
  try {
    const JsonValue old = parse_json_tree(handover.state, kMessageNestingMax).value_or(JsonValue());
    const auto path = old.at("path").get<std::string>();
    handover.state = old.at("file").get<std::string>();
    if (!handover.descriptors.empty()) handover.descriptors.pop_back();
    auto file = fuse::from_version_0(std::move(handover));
    if (!file) return file;
    JsonValue state = {{"path", path},
                       {"sequence", attribute(path, "diskseq").value_or(0)},
                       {"direct_io", attribute(path, "loop/dio").value_or(1) != 0},
                       {"file", file->state}};
    note_handover_version(state);
    file->state = to_text(state);
    return file;
  } catch (const JsonMismatch&) {
    return fail(EINVAL, "the handover describes no loop device");
  }
}

// True if the loop driver still has the recorded device, not a later one of the same number.
bool has_remains(const FrontendRecord& record) {
  const auto sequence = attribute(record.path, "diskseq");
  return sequence && *sequence == record.traces.number(kSequence);
}

// A loop device ends at its last close. If a process that hangs keeps its file alive, the device
// does not answer until the connection is aborted.
Result<void> clear_remains(const FrontendRecord& record, bool /*even_if_used*/) {
  if (has_remains(record)) {
    fuse::Connection::open(record.traces.text(fuse::kFileSystem)).abort();
  }
  return {};
}

}  // namespace
}  // namespace loop

constinit const FrontendType kLoopFrontend = {.name = "loop",
                                              .described = "a loop device over FUSE",
                                              .options = loop::kOptions,
                                              .modes = fuse::data_path_names,
                                              .traces = loop::kTraces,
                                              .max_io_bytes = fuse::kMaxIoBytes,
                                              .check_usable = loop::load_and_check,
                                              .plan = loop::plan,
                                              .adopt = loop::adopt,
                                              .from_version_0 = loop::from_version_0,
                                              .has_remains = loop::has_remains,
                                              .clear_remains = loop::clear_remains};

}  // namespace sluice
