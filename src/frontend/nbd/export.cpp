#include "frontend/nbd/export.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <ranges>
#include <thread>
#include <utility>

#include "core/log.hpp"
#include "frontend/nbd/client_limit.hpp"

namespace sluice::nbd {
namespace {

constexpr int kDeadSocketAttempts = 100;
constexpr std::chrono::milliseconds kDeadSocketPause{10};
constexpr uint32_t kOffloadThreads = 2;
constexpr uint32_t kWaits = 2 * Newcomers::kMostOfQueue;  // each client receives and sends

}  // namespace

Result<std::unique_ptr<NbdExport>> NbdExport::make(Stack& stack, ExportOptions options) {
  std::unique_ptr<NbdExport> made(new NbdExport(stack, std::move(options)));
  for (ListenAddress& address : made->options_.addresses) {
    auto listener = listen_on(address);
    if (!listener) return std::unexpected(listener.error());
    made->listeners_.push_back(std::move(*listener));
  }
  return made;
}

NbdExport::NbdExport(Stack& stack, ExportOptions options)
    : stack_(stack), options_(std::move(options)) {
  for (const auto& disk : stack_.disks()) ios_.push_back(std::make_unique<Io>(*disk));
}

NbdExport::~NbdExport() {
  reactors_.clear();
  if (!owns_files_) return;
  for (Listener& listener : listeners_) listener.remove_file();
}

Result<void> NbdExport::prepare(FrontendListener& listener, Keeper& /*keeper*/) {
  raise_descriptor_limit();
  auto offload = Offload::create(kOffloadThreads);
  if (!offload) return std::unexpected(offload.error());
  offload_ = std::move(*offload);
  Reactors::List reactors;
  for (uint16_t i = 0; i < options_.queues; ++i) {
    reactors.push_back(std::make_unique<Reactor>(plan_reactor(i), listener));
    if (auto prepared = reactors.back()->prepare(); !prepared) return prepared;
  }
  reactors_.set(std::move(reactors));
  return {};
}

Reactor::Setup NbdExport::plan_reactor(uint16_t number) {
  NbdQueue::Setup queue{.id = number,
                        .depth = options_.depth,
                        .exports = {.stack = &stack_,
                                    .name = options_.name,
                                    .description = options_.description,
                                    .loses_rights = options_.loses_rights},
                        .newcomers = &newcomers_,
                        .allowed = options_.allowed,
                        .tls = options_.tls,
                        .credentials = options_.credentials};
  for (const auto& io : ios_) queue.exports.ios.push_back(io.get());
  if (number == 0 && !handed_over_) {
    for (const Listener& listener : listeners_) queue.listeners.push_back(listener.socket.number());
  }
  const auto make = [queue](KernelRing& ring,
                            QueueListener& reactor) -> Result<std::unique_ptr<Queue>> {
    return std::make_unique<NbdQueue>(queue, ring, reactor);
  };
  return {.name = fmt::format("sluice-q{}", number),
          .files = stack_.registered_files(),
          .queues = {{.tags = options_.depth, .waits = kWaits, .make = make}},
          .stacks = {&stack_},
          .offload = offload_.get(),
          .workers = stack_.workers()};
}

// The first one accepts the clients, for all others too.
Result<void> NbdExport::serve() {
  const size_t most =
      handed_clients_.size() + clients_max(listeners_.size(), reactors_.list().size());
  newcomers_.allow(std::min(options_.clients, most));
  if (options_.until_deserted) {
    newcomers_.when_deserted([this] {
      log().info("the last NBD client has gone: the export ends");
      for (const auto& reactor : reactors_.list()) reactor->stop();
    });
  }
  for (const auto& reactor : std::views::reverse(reactors_.list())) {
    if (auto begun = reactor->begin(-1); !begun) return begun;
  }
  return {};
}

Result<void> NbdExport::stop(bool even_if_used) {
  if (const size_t clients = newcomers_.clients(); clients != 0 && !even_if_used) {
    return fail(EBUSY, fmt::format("{} is in use ({} {}): disconnect them first, or use --force",
                                   path(), clients, clients == 1 ? "client" : "clients"));
  }
  for (Listener& listener : listeners_) listener.remove_file();
  for (const auto& reactor : reactors_.list()) reactor->stop();
  return {};
}

Result<void> NbdExport::remove() {
  for (Listener& listener : listeners_) listener.remove_file();
  listeners_.clear();
  return {};
}

NamedValues NbdExport::traces() const {
  std::string files;
  for (const Listener& listener : listeners_) {
    if (!listener.file.empty()) files += fmt::format("{} {}\n", listener.inode, listener.file);
  }
  NamedValues traces;
  if (!files.empty()) traces.set(kSocketFiles, files);
  return traces;
}

namespace {

// The kernel closes the sockets of a killed process's rings a moment after the process has ended:
// until then somebody seems to listen.
bool is_dead_soon(const std::string& path, uint64_t inode) {
  for (int attempt = 0; attempt < kDeadSocketAttempts; ++attempt) {
    if (is_dead_socket(path, inode)) return true;
    if (!is_socket_file(path, inode)) return false;
    std::this_thread::sleep_for(kDeadSocketPause);
  }
  return false;
}

}  // namespace

std::vector<std::string> dead_socket_files(std::string_view lines) {
  std::vector<std::string> found;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    uint64_t inode = 0;
    const auto number = std::from_chars(line.data(), line.data() + line.size(), inode);
    if (number.ec != std::errc() || number.ptr == line.data() + line.size()) continue;
    std::string path(number.ptr + 1, line.data() + line.size());
    if (is_dead_soon(path, inode)) found.push_back(std::move(path));
  }
  return found;
}

}  // namespace sluice::nbd
