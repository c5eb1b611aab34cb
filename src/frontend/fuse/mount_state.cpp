#include "frontend/fuse/mount_state.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace sluice::fuse {

using nlohmann::json;

namespace {

json to_json(const timespec& time) { return {time.tv_sec, time.tv_nsec}; }

timespec time_from(const json& value) {
  return {.tv_sec = value.at(0).get<time_t>(), .tv_nsec = value.at(1).get<long>()};
}

json to_json(const OneFile::Attributes& attributes) {
  return {
      {"permissions", attributes.permissions},
      {"uid", attributes.uid},
      {"gid", attributes.gid},
      {"accessed", to_json(attributes.accessed)},
      {"modified", to_json(attributes.modified)},
      {"changed", to_json(attributes.changed)},
  };
}

OneFile::Attributes attributes_from(const json& value) {
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
  return json{
      {"at", state.mount.at},
      {"device", state.mount.device},
      {"directory", state.mount.directory},
      {"made", state.mount.made},
      {"by_helper", state.mount.by_helper},
      {"detached", state.mount.detached},
      {"path", to_string(state.agreement.path)},
      {"max_io_bytes", state.agreement.max_io_bytes},
      {"backing_id", state.backing_id},
      {"queues", state.queues},
      {"depth", state.depth},
      {"attributes", to_json(state.attributes)},
  }
      .dump();
}

Result<MountState> mount_state_from_json(std::string_view text) {
  try {
    const json value = json::parse(text);
    MountState state;
    value.at("at").get_to(state.mount.at);
    value.at("device").get_to(state.mount.device);
    value.at("directory").get_to(state.mount.directory);
    value.at("made").get_to(state.mount.made);
    value.at("by_helper").get_to(state.mount.by_helper);
    value.at("detached").get_to(state.mount.detached);
    const auto path = parse_data_path(value.at("path").get<std::string>());
    if (!path) return fail(EINVAL, "a mount was handed over with an unknown data path");
    state.agreement.path = *path;
    value.at("max_io_bytes").get_to(state.agreement.max_io_bytes);
    value.at("backing_id").get_to(state.backing_id);
    value.at("queues").get_to(state.queues);
    value.at("depth").get_to(state.depth);
    state.attributes = attributes_from(value.at("attributes"));
    return state;
  } catch (const json::exception& error) {
    return fail(EINVAL, fmt::format("what was handed over is no mount: {}", error.what()));
  }
}

}  // namespace sluice::fuse
