#include "frontend/loop/loop_device.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <charconv>

#include "core/log.hpp"
#include "core/step.hpp"
#include "frontend/fuse/traces.hpp"
#include "frontend/loop/attachment.hpp"
#include "spec/json_value.hpp"

namespace sluice::loop {
namespace {

constexpr std::string_view kPrefix = "/dev/loop";

// -1: any.
int number_of(const std::string& path) {
  int number = -1;
  if (path.starts_with(kPrefix)) {
    std::from_chars(path.data() + kPrefix.size(), path.data() + path.size(), number);
  }
  return number;
}

// The content of handover_state().
struct State {
  std::string path;
  uint64_t sequence = 0;
  bool direct_io = true;
  std::string file;  // the state of the file
};

Result<State> read_state(const std::string& text) {
  try {
    const JsonValue state = parse_json_tree(text, kMessageNestingMax).value_or(JsonValue());
    if (const auto version = handover_version_of(state); !version) {
      return std::unexpected(version.error());
    }
    return State{.path = state.value("path", std::string()),
                 .sequence = state.value("sequence", uint64_t{0}),
                 .direct_io = state.value("direct_io", true),
                 .file = state.at("file").get<std::string>()};
  } catch (const JsonMismatch&) {
    return fail(EINVAL, "the handover describes no loop device");
  }
}

}  // namespace

Result<void> check_usable() {
  if (auto control = open_loop_control(); !control) return std::unexpected(control.error());
  if (geteuid() != 0)
    return fail(
        EACCES,
        "a loop device on FUSE needs root: use '--frontend fuse --at PATH', which does not");
  return {};
}

Result<std::unique_ptr<LoopDevice>> LoopDevice::make(Stack& stack, LoopOptions options) {
  if (auto usable = check_usable(); !usable) return std::unexpected(usable.error());
  options.file.loop_direct_io = options.direct_io;
  auto file = fuse::FuseExport::make_detached(stack, std::move(options.file));
  if (!file) return std::unexpected(file.error());
  return std::unique_ptr<LoopDevice>(new LoopDevice(stack, options.direct_io, std::move(*file)));
}

Result<std::unique_ptr<LoopDevice>> LoopDevice::adopt(Stack& stack, const std::string& text) {
  const auto state = read_state(text);
  if (!state) return std::unexpected(state.error());
  auto file = fuse::FuseExport::adopt(stack, state->file);
  if (!file) return std::unexpected(file.error());
  std::unique_ptr<LoopDevice> made(new LoopDevice(stack, state->direct_io, std::move(*file)));
  made->path_ = state->path;
  made->sequence_ = state->sequence;
  return made;
}

LoopDevice::~LoopDevice() = default;

Result<void> LoopDevice::prepare(FrontendListener& listener, Keeper& keeper) {
  listener_ = &listener;
  keeper_ = &keeper;
  if (auto prepared = file_->prepare(listener, keeper); !prepared || path_.empty()) return prepared;
  const auto adopted = keeper.ask({{"do", "adopt"}, {"path", path_}, {"sequence", sequence_}});
  if (!adopted) return std::unexpected(adopted.error());
  return {};
}

Result<void> LoopDevice::serve() {
  if (auto served = file_->serve(); !served || !path_.empty()) return served;
  return attach();
}

Result<void> LoopDevice::attach() {
  const Descriptor mount = file_->take_mount();
  const std::array<int, 1> descriptors = {mount.number()};
  const auto attached = keeper_->ask({{"do", "attach"},
                                      {"block_bytes", stack_.geometry().logical_block_bytes},
                                      {"read_only", stack_.geometry().read_only},
                                      {"direct_io", direct_io_},
                                      {"loop", number_of(path_)}},
                                     descriptors);
  step("attached");
  if (!attached) return std::unexpected(attached.error());
  path_ = attached->at("path").get<std::string>();
  sequence_ = attached->at("sequence").get<uint64_t>();
  return {};
}

Result<void> LoopDevice::change_keeper(Keeper& keeper) {
  keeper_ = &keeper;
  if (detached_) return file_->change_keeper(keeper);
  const auto adopted = keeper.ask({{"do", "adopt"}, {"path", path_}, {"sequence", sequence_}});
  if (adopted) return file_->change_keeper(keeper);
  return make_again();
}

Result<void> LoopDevice::make_again() {
  auto file =
      fuse::FuseExport::make_detached(stack_, {.place = {},
                                               .queues = file_->options().queues,
                                               .depth = file_->options().depth,
                                               .max_io_bytes = file_->options().max_io_bytes,
                                               .reserve_bytes = file_->options().reserve_bytes,
                                               .path = file_->options().path,
                                               .loop_direct_io = direct_io_});
  if (!file) return std::unexpected(file.error());
  if (auto prepared = (*file)->prepare(*listener_, *keeper_); !prepared) return prepared;
  if (auto served = (*file)->serve(); !served) return served;
  file_->leave();  // the rest ends by itself
  {
    const std::scoped_lock guard(mutex_);
    file_ = std::move(*file);
  }
  return attach();
}

std::shared_ptr<fuse::FuseExport> LoopDevice::file() const {
  const std::scoped_lock guard(mutex_);
  return file_;
}

// Writes back the page cache of the device while the file still answers. After the last close the
// kernel detaches the device and releases the file.
Result<void> LoopDevice::stop(bool even_if_used) {
  if (!even_if_used) {
    const auto unused = keeper_->ask({{"do", "check_unused"}});
    if (!unused) return std::unexpected(unused.error());
    for (const JsonValue& each : unused->at("unseen").items) {
      log().warn("{}: cannot see whether it is used by {}, which does not answer", path_,
                 each.get<std::string>());
    }
  }
  const auto progress = [this] { return file_->progress(); };
  if (const auto synced = keeper_->ask_patiently({{"do", "sync"}}, progress); !synced) {
    log().error("{}", synced.error().text);
    if (synced.error().error == ETIMEDOUT) file_->abort();
  }
  step("written back");
  detached_ = true;
  if (const auto detached = keeper_->ask_patiently({{"do", "detach"}}, progress); !detached) {
    log().error("{}", detached.error().text);
    file_->abort();
  }
  step("detached");
  return file_->stop(even_if_used);
}

// The keeper has the device open. If the next keeper does not open it, too, it ends with its last
// user.
std::string LoopDevice::handover_state() {
  JsonValue state = {{"path", path_},
                     {"sequence", sequence_},
                     {"direct_io", direct_io_},
                     {"file", file_->handover_state()}};
  note_handover_version(state);
  return to_text(state);
}

Result<Handover> LoopDevice::let_go() {
  auto handover = file_->let_go();
  if (handover) handover->state = handover_state();
  return handover;
}

Result<void> LoopDevice::take(Handover handover) {
  auto state = read_state(handover.state);
  if (!state) return std::unexpected(state.error());
  handover.state = std::move(state->file);
  return file_->take(std::move(handover));
}

NamedValues LoopDevice::traces() const {
  NamedValues traces;
  traces.set(fuse::kFileSystem, file_->file_system());
  traces.set(kSequence, sequence_);
  return traces;
}

Result<void> LoopDevice::resize(uint64_t size_bytes) {
  if (auto resized = file_->resize(size_bytes); !resized) return resized;
  if (const auto told = keeper_->ask({{"do", "resize"}}); !told) {
    return std::unexpected(told.error());
  }
  return {};
}

}  // namespace sluice::loop
