// The handover of an NBD export between processes.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "frontend/nbd/export.hpp"

namespace sluice::nbd {
namespace {

// A socket file that was made for the listener.
bool has_own_file(const ListenerState& listener) {
  return listener.inode != 0 && listener.address.has_file();
}

}  // namespace

// --- The old server.

ExportState NbdExport::state() const {
  ExportState state{.name = options_.name,
                    .description = options_.description,
                    .queues = options_.queues,
                    .depth = options_.depth,
                    .allowed = options_.allowed.text(),
                    .tls = options_.tls,
                    .tls_files = options_.tls_files,
                    .until_deserted = options_.until_deserted,
                    .exports = promises()};
  if (options_.clients != SIZE_MAX) state.clients = options_.clients;
  for (size_t i = 0; i < listeners_.size(); ++i) {
    state.listeners.push_back({.address = options_.addresses[i], .inode = listeners_[i].inode});
  }
  return state;
}

std::vector<PromisedExport> NbdExport::promises() const {
  std::vector<PromisedExport> promises;
  for (const auto& disk : stack_.disks()) {
    const Geometry& geometry = disk->geometry();
    const auto flags =
        static_cast<uint16_t>(transmission_flags(geometry) & (kReadOnly | kSendTrim));
    promises.push_back(
        {.name = export_name(*disk, options_.name), .size = geometry.data_bytes(), .flags = flags});
  }
  return promises;
}

std::string NbdExport::handover_state() { return to_json(state()); }

Result<void> NbdExport::pause() {
  newcomers_.hold();
  for (const auto& reactor : reactors_.list()) reactor->pause();
  return {};
}

// Nothing is duplicated: this process may have as many descriptors as it is allowed.
Result<Handover> NbdExport::let_go() {
  ExportState whole = state();
  std::vector<int> sockets;
  for (const Listener& listener : listeners_) sockets.push_back(listener.socket.number());
  for (size_t i = 0; i < listeners_.size(); ++i) {
    if (has_own_file(whole.listeners[i])) sockets.push_back(listeners_[i].directory.number());
  }
  for (const NbdQueue* const queue : newcomers_.queues()) {
    queue->describe(whole.connections, sockets);
  }
  whole.has_agreed = newcomers_.any_has_agreed();
  auto packed = pack(sockets);
  if (!packed) return std::unexpected(packed.error());
  auto unread = keep_unread(whole.connections);
  if (!unread) return std::unexpected(unread.error());
  Handover handover{.state = to_json(whole), .descriptors = {}};
  handover.descriptors.push_back(std::move(*packed));
  handover.descriptors.push_back(std::move(*unread));
  return handover;
}

Result<void> NbdExport::resume() {
  for (const auto& reactor : reactors_.list()) {
    if (auto resumed = reactor->resume(); !resumed) return resumed;
  }
  newcomers_.release();
  return {};
}

void NbdExport::leave() {
  owns_files_ = false;
  newcomers_.depart();
}

// --- The new server.

Result<std::unique_ptr<NbdExport>> NbdExport::adopt(Stack& stack, const std::string& text,
                                                    bool loses_rights) {
  auto state = export_state_from_json(text);
  if (!state) return std::unexpected(state.error());
  auto allowed = AccessList::parse(state->allowed);
  if (!allowed) return std::unexpected(allowed.error());
  ExportOptions options{.addresses = {},
                        .name = std::move(state->name),
                        .description = std::move(state->description),
                        .queues = state->queues,
                        .depth = state->depth,
                        .allowed = std::move(*allowed),
                        .clients = state->clients.value_or(SIZE_MAX),
                        .until_deserted = state->until_deserted,
                        .loses_rights = loses_rights,
                        .tls = state->tls,
                        .tls_files = state->tls_files};
  if (state->tls != TlsPolicy::none) {
    auto credentials = tls::Credentials::of_server(state->tls_files);
    if (!credentials) return std::unexpected(credentials.error());
    options.credentials = std::move(*credentials);
  }
  std::unique_ptr<NbdExport> made(new NbdExport(stack, std::move(options)));
  made->handed_over_ = true;
  made->owns_files_ = false;
  for (ListenerState& each : state->listeners) {
    Listener listener{.socket = {}};
    if (has_own_file(each)) {
      listener.file = each.address.socket;
      listener.inode = each.inode;
    }
    made->listeners_.push_back(std::move(listener));
    made->options_.addresses.push_back(std::move(each.address));
  }
  for (const PromisedExport& promised : state->exports) {
    if (auto kept = made->check_promise(promised); !kept) return std::unexpected(kept.error());
  }
  return made;
}

Result<void> NbdExport::check_promise(const PromisedExport& promised) const {
  const std::vector<PromisedExport> all = promises();
  const auto now = std::ranges::find(all, promised.name, &PromisedExport::name);
  const std::string who = fmt::format("clients of export '{}'", promised.name);
  if (now == all.end()) return fail(ESTALE, fmt::format("{} have no disk any more", who));
  if (now->size < promised.size) {
    return fail(ESTALE, fmt::format("{} were told {} bytes, and it has now only {}", who,
                                    promised.size, now->size));
  }
  const auto lost = [&](uint16_t flag) { return (now->flags & flag) != (promised.flags & flag); };
  if (lost(kReadOnly) && (now->flags & kReadOnly) != 0) {
    return fail(ESTALE, fmt::format("{} may write, and it is now read-only", who));
  }
  if (lost(kSendTrim) && (now->flags & kSendTrim) == 0) {
    return fail(ESTALE, fmt::format("{} may trim, and it cannot discard any more", who));
  }
  return {};
}

Result<void> NbdExport::take(Handover handover) {
  auto state = export_state_from_json(handover.state);
  if (!state) return std::unexpected(state.error());
  if (state->listeners.size() != listeners_.size() || handover.descriptors.size() != 2) {
    return fail(EINVAL, "an NBD export was handed over without its sockets");
  }
  const auto directories = static_cast<size_t>(std::ranges::count_if(
      listeners_, [](const Listener& listener) { return !listener.file.empty(); }));
  const size_t first_client = listeners_.size() + directories;
  const size_t count = first_client + state->connections.size();
  auto sockets = unpack(std::move(handover.descriptors[0]), count);
  if (!sockets) return std::unexpected(sockets.error());
  auto restored = restore_unread(handover.descriptors[1], state->connections);
  if (!restored) return restored;
  std::vector<HandedClient> clients;
  for (size_t i = 0; i < state->connections.size(); ++i) {
    HandedClient client{.state = std::move(state->connections[i]),
                        .socket = std::move((*sockets)[first_client + i])};
    if (!client.state.is_new && !client.state.handshake) {
      const auto kept = check_promise({.name = client.state.export_name,
                                       .size = client.state.size,
                                       .flags = client.state.flags});
      if (!kept) return kept;
      auto pool = Connection::make_pool();
      if (!pool) return std::unexpected(pool.error());
      client.pool = std::move(*pool);
    }
    clients.push_back(std::move(client));
  }
  handed_clients_ = std::move(clients);
  handed_agreement_ = state->has_agreed;
  size_t next = listeners_.size();
  for (size_t i = 0; i < listeners_.size(); ++i) {
    listeners_[i].socket = std::move((*sockets)[i]);
    if (!listeners_[i].file.empty()) listeners_[i].directory = std::move((*sockets)[next++]);
  }
  return {};
}

void NbdExport::settle() {
  if (!std::exchange(handed_over_, false)) return;
  owns_files_ = true;
  std::vector<int> listeners;
  for (const Listener& listener : listeners_) listeners.push_back(listener.socket.number());
  newcomers_.bring(std::move(listeners), std::exchange(handed_clients_, {}), handed_agreement_);
  newcomers_.release();
}

}  // namespace sluice::nbd
