// The handover of an export between processes.
#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "frontend/fuse/export.hpp"
#include "frontend/fuse/mount_state.hpp"

namespace sluice::fuse {

// --- The old server.

Result<void> FuseExport::check_handover() const {
  if (!is_over_uring(choice_.path)) return {};
  return fail(EOPNOTSUPP,
              "an export over io_uring cannot be handed over: its queues belong to "
              "the rings of this process (use data path copy or passthrough)");
}

std::string FuseExport::handover_state() {
  const auto& place = mount_.place();
  return to_json(
      MountState{.file_system = mount_.file_system(),
                 .detached = !place,
                 .at = place ? place->path() : std::string(),
                 .directory = place && place->is_directory(),
                 .made = place && place->made(),
                 .inode = place ? place->inode() : 0,
                 .by_helper = mount_.by_helper(),
                 .agreement = {.path = choice_.path, .max_io_bytes = options_.max_io_bytes},
                 .backing_id = backing_id_,
                 .queues = options_.queues,
                 .depth = options_.depth,
                 .reserve_bytes = options_.reserve_bytes,
                 .size_bytes = file_.size_bytes(),
                 .attributes = file_.attributes()});
}

Result<void> FuseExport::pause() {
  for (const auto& reactor : reactors_.list()) reactor->pause();
  return {};
}

Result<Handover> FuseExport::let_go() {
  if (const auto disarmed = keeper_->ask({{"do", "disarm"}}); !disarmed) {
    return std::unexpected(disarmed.error());
  }
  Handover handover{.state = handover_state(), .descriptors = {}};
  std::vector<int> numbers = {mount_.fuse_device()};
  if (mount_.place()) numbers.push_back(mount_.place()->directory());
  for (const int number : numbers) {
    handover.descriptors.emplace_back(fcntl(number, F_DUPFD_CLOEXEC, 0));
    if (handover.descriptors.back().valid()) continue;
    return fail(errno, fmt::format("cannot duplicate a descriptor: {}", std::strerror(errno)));
  }
  return handover;
}

Result<void> FuseExport::resume() {
  settle();
  for (const auto& reactor : reactors_.list()) {
    if (auto resumed = reactor->resume(); !resumed) return resumed;
  }
  return {};
}

Result<void> FuseExport::take(Handover handover) {
  const auto state = mount_state_from_json(handover.state);
  if (!state) return std::unexpected(state.error());
  if (handover.descriptors.size() != (mount_.place() ? 2 : 1)) {
    return fail(EINVAL, "a mount was handed over without its descriptors");
  }
  mount_.take_over(std::move(handover.descriptors[0]));
  if (mount_.place()) mount_.place()->take_over(std::move(handover.descriptors[1]));
  file_.restore(state->attributes);
  if (state->size_bytes) file_.resize(*state->size_bytes);
  return {};
}

// --- The new server.

Result<std::unique_ptr<FuseExport>> FuseExport::adopt(Stack& stack, const std::string& text) {
  auto state = mount_state_from_json(text);
  if (!state) return std::unexpected(state.error());
  std::optional<Place> place;
  if (!state->detached) {
    place = Place::adopt(Descriptor(), state->at, state->directory, state->made, state->inode);
  }
  ExportOptions options{.place = {},
                        .queues = state->queues,
                        .depth = state->depth,
                        .max_io_bytes = state->agreement.max_io_bytes,
                        .reserve_bytes = state->reserve_bytes,
                        .path = state->agreement.path};
  std::unique_ptr<FuseExport> made(
      new FuseExport(stack, std::move(options),
                     MountPoint::adopt(state->file_system, std::move(place), state->by_helper)));
  made->handed_over_ = true;
  made->choice_ = {.path = state->agreement.path, .reason = "as it was handed over"};
  made->backing_id_ = state->backing_id;
  if (made->choice_.path != DataPath::passthrough) {
    made->file_.use_direct_io();
    return made;
  }
  const auto file = stack.root().bare_file();
  if (!file) {
    return fail(EINVAL, "it is served by passthrough, and the stack is not a single bare file");
  }
  made->file_.use_passthrough(made->backing_id_, file->descriptor);
  return made;
}

}  // namespace sluice::fuse
