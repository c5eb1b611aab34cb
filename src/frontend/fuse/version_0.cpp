#include "frontend/fuse/version_0.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>

#include "core/mount_namespace.hpp"
#include "core/mounts.hpp"
#include "frontend/fuse/mounts.hpp"
#include "spec/json_value.hpp"
#include "spec/shown.hpp"

namespace sluice::fuse {
namespace {

// Its path now: a directory above it may have been renamed.
std::string mount_point_of(const std::string& device, const std::string& before) {
  for (const Mount& mount : read_mounts()) {
    const bool is_of_first_release = mount.type == kMountType && mount.source == kSourceOfVersion0;
    const auto number = fmt::format("{}:{}", major(mount.device), minor(mount.device));
    if (is_of_first_release && number == device) return mount.point;
  }
  return before;
}

// Its path in that mount namespace, and the directory that contains it.
Result<Descriptor> find_mount(const std::string& device, std::string& at,
                              const MountNamespace& view) {
  Descriptor directory;
  int error = 0;
  const auto went = view.run([&] {
    at = mount_point_of(device, at);
    const std::string parent = std::filesystem::path(at).parent_path();
    directory = Descriptor(open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    error = errno;
  });
  if (!went) return std::unexpected(went.error());
  if (directory.valid()) return directory;
  return fail(error,
              fmt::format("cannot open the directory of {}: {}", shown(at), std::strerror(error)));
}

// MAJOR:MINOR of its file system; empty: this kernel does not show it.
std::string device_of_connection(const Descriptor& fuse_device) {
  constexpr std::string_view kKey = "fuse_connection:";
  std::ifstream info(fmt::format("/proc/self/fdinfo/{}", fuse_device.number()));
  for (std::string line; std::getline(info, line);) {
    const size_t number = line.find_first_of("0123456789");
    if (line.starts_with(kKey) && number != std::string::npos) return "0:" + line.substr(number);
  }
  return {};
}

}  // namespace

// The inode of a file that the server created below the mount stays unknown. The first release did
// not know the file system of a detached file.
Result<Handover> from_version_0(Handover old) {
  try {
    JsonValue state = parse_json_tree(old.state, kMessageNestingMax).value_or(JsonValue());
    auto device = state.at("device").get<std::string>();
    auto at = state.at("at").get<std::string>();
    const bool detached = state.at("detached").get<bool>();
    if (old.descriptors.size() != (detached ? 1 : 3) || device.empty() != detached) {
      return fail(EINVAL, "a mount was handed over without its descriptors");
    }
    Handover handover;
    handover.descriptors.push_back(std::move(old.descriptors[0]));
    if (detached) {
      device = device_of_connection(handover.descriptors[0]);
    } else {
      const auto view =
          MountNamespace::from(std::move(old.descriptors[1]), std::move(old.descriptors[2]));
      auto directory = find_mount(device, at, view);
      if (!directory) return std::unexpected(directory.error());
      handover.descriptors.push_back(std::move(*directory));
    }
    state.erase("device");
    state.set("file_system",
              device.empty() ? std::string() : fmt::format("{} {}", device, kSourceOfVersion0));
    state.set("at", bytes_json(at));
    state.set("inode", 0);
    note_handover_version(state);
    handover.state = to_text(state);
    return handover;
  } catch (const JsonMismatch&) {
    return fail(EINVAL, "the handover describes no mount of the first release");
  }
}

}  // namespace sluice::fuse
