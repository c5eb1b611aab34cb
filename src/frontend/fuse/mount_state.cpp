#include "frontend/fuse/mount_state.hpp"

#include <fmt/format.h>

#include "frontend/handover.hpp"
#include "spec/json_value.hpp"

namespace sluice::fuse {

namespace {

JsonValue to_json(const timespec& time) { return JsonValue::array({time.tv_sec, time.tv_nsec}); }

timespec time_from(const JsonValue& value) {
  return {.tv_sec = value.at(0).get<int64_t>(), .tv_nsec = value.at(1).get<int64_t>()};
}

JsonValue to_json(const OneFile::Attributes& attributes) {
  return {
      {"permissions", attributes.permissions},
      {"uid", attributes.uid},
      {"gid", attributes.gid},
      {"accessed", to_json(attributes.accessed)},
      {"modified", to_json(attributes.modified)},
      {"changed", to_json(attributes.changed)},
  };
}

OneFile::Attributes attributes_from(const JsonValue& value) {
  return {
      .permissions = value.at("permissions").get<mode_t>(),
      .uid = value.at("uid").get<uid_t>(),
      .gid = value.at("gid").get<gid_t>(),
      .accessed = time_from(value.at("accessed")),
      .modified = time_from(value.at("modified")),
      .changed = time_from(value.at("changed")),
  };
}

}  // namespace

std::string to_json(const MountState& state) {
  JsonValue value = {
      {"file_system", state.file_system},
      {"detached", state.detached},
      {"at", bytes_json(state.at)},
      {"directory", state.directory},
      {"made", state.made},
      {"inode", state.inode},
      {"by_helper", state.by_helper},
      {"path", to_string(state.agreement.path)},
      {"max_io_bytes", state.agreement.max_io_bytes},
      {"backing_id", state.backing_id},
      {"queues", state.queues},
      {"depth", state.depth},
  };
  if (state.size_bytes) value.set("size_bytes", *state.size_bytes);
  value.set("attributes", to_json(state.attributes));
  if (state.reserve_bytes) value.set("reserve_bytes", *state.reserve_bytes);
  note_handover_version(value);
  return to_text(value);
}

Result<MountState> mount_state_from_json(std::string_view text) {
  try {
    const JsonValue value = parse_json_tree(text, kMessageNestingMax).value_or(JsonValue());
    if (auto version = handover_version_of(value); !version) {
      return std::unexpected(version.error());
    }
    MountState state;
    state.file_system = value.at("file_system").get<std::string>();
    state.detached = value.at("detached").get<bool>();
    const auto at = bytes_of(value.at("at"));
    if (!at) throw JsonMismatch();
    state.at = *at;
    state.directory = value.at("directory").get<bool>();
    state.made = value.at("made").get<bool>();
    state.inode = value.at("inode").get<uint64_t>();
    state.by_helper = value.at("by_helper").get<bool>();
    const auto path = parse_data_path(value.at("path").get<std::string>());
    if (!path) return fail(EINVAL, "a mount was handed over with an unknown data path");
    state.agreement.path = *path;
    state.agreement.max_io_bytes = value.at("max_io_bytes").get<uint32_t>();
    state.backing_id = value.at("backing_id").get<int32_t>();
    state.queues = value.at("queues").get<uint16_t>();
    state.depth = value.at("depth").get<uint16_t>();
    if (const JsonValue* const bytes = value.find("size_bytes")) {
      state.size_bytes = bytes->get<uint64_t>();
    }
    if (const JsonValue* const bytes = value.find("reserve_bytes")) {
      state.reserve_bytes = bytes->get<uint32_t>();
    }
    state.attributes = attributes_from(value.at("attributes"));
    return state;
  } catch (const JsonMismatch&) {
    return fail(EINVAL, "the handover describes no mount known to this version");
  }
}

}  // namespace sluice::fuse
