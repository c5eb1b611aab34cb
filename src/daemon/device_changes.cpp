// Device: changes of the stack while it is served.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "core/step.hpp"
#include "daemon/device.hpp"
#include "daemon/device_name.hpp"
#include "spec/shown.hpp"
#include "target/verb.hpp"

namespace sluice {

Result<uint64_t> Device::resize(std::optional<uint64_t> size_bytes) {
  auto resized = stack_->resize(size_bytes);
  if (!resized) return resized;
  step("stack resized");
  DeviceRecord record = this->record();
  record.spec = stack_->spec();
  // The record first, so that no later server opens less than the size that clients know.
  if (auto written = write_record(record); !written) return std::unexpected(written.error());
  step("new size recorded");
  resized = stack_->geometry().data_bytes();
  if (auto told = frontend_->resize(*resized); !told) return std::unexpected(told.error());
  step("new size told");
  record.size_bytes = *resized;
  if (auto written = write_record(record); !written) spdlog::warn("{}", written.error().text);
  const std::scoped_lock guard(mutex_);
  record_ = std::move(record);
  return resized;
}

Result<JsonValue> Device::control(std::string_view path, std::string_view verb,
                                  std::vector<Descriptor> files) {
  const auto nodes = stack_->nodes();
  const auto node = std::ranges::find(nodes, path, &StackNode::path);
  if (node == nodes.end()) {
    return fail(ENOENT, fmt::format("{} has no target {}: 'sluice ctl -n {}' lists its targets",
                                    described(record_), shown(path), id_));
  }
  const auto parsed = parse_verb(verb, node->type);
  if (!parsed) return std::unexpected(parsed.error());
  spdlog::info("device {}: {} at {}", id_, parsed->target, path);
  const auto record = [this](const Spec& spec) { return record_spec(spec); };
  return stack_->control(path, *parsed, {.files = std::move(files), .record = record});
}

// From a verb, whose thread has the device meanwhile.
Result<void> Device::record_spec(const Spec& spec) {
  auto files = stack_->fingerprints();
  if (!files) return std::unexpected(files.error());
  DeviceRecord changed = record();
  changed.spec = spec;
  changed.files = std::move(*files);
  if (auto written = write_record(changed); !written) return written;
  step("new spec recorded");
  const std::scoped_lock guard(mutex_);
  record_ = std::move(changed);
  return {};
}

}  // namespace sluice
