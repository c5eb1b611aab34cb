#include "frontend/nbd/handover_state.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/passing.hpp"
#include "frontend/handover.hpp"
#include "spec/json_value.hpp"

namespace sluice::nbd {
namespace {

constexpr size_t kUnreadBytesMax = ServerHandshake::kMessageBytesMax;  // the room of a connection

template <typename Value>
struct Word {
  Value value;
  std::string_view text;
};

constexpr Word<Headers> kHeaders[] = {{Headers::simple, "simple"},
                                      {Headers::structured, "structured"},
                                      {Headers::extended, "extended"}};
constexpr Word<TlsPolicy> kPolicies[] = {
    {TlsPolicy::none, "off"}, {TlsPolicy::offered, "on"}, {TlsPolicy::required, "require"}};

template <typename Value, size_t kCount>
std::string_view to_word(const Word<Value> (&words)[kCount], Value value) {
  return std::ranges::find(words, value, &Word<Value>::value)->text;
}

template <typename Value, size_t kCount>
Value from_word(const Word<Value> (&words)[kCount], const JsonValue& json) {
  const auto text = json.get<std::string>();
  const auto found = std::ranges::find(words, text, &Word<Value>::text);
  if (found == std::end(words)) throw JsonMismatch();
  return found->value;
}

std::string bytes_from(const JsonValue& json) {
  auto bytes = bytes_of(json);
  if (!bytes) throw JsonMismatch();
  return std::move(*bytes);
}

JsonValue to_json(const ListenerState& listener) {
  return {{"address", bytes_json(listener.address.text())}, {"inode", listener.inode}};
}

ListenerState listener_from(const JsonValue& value) {
  auto address = ListenAddress::parse(bytes_from(value.at("address")));
  if (!address) throw JsonMismatch();
  return {.address = std::move(*address), .inode = value.at("inode").get<uint64_t>()};
}

JsonValue to_json(std::span<const MetaContext> contexts) {
  JsonValue value = JsonValue::array();
  for (const MetaContext& each : contexts) value.push_back({{"id", each.id}, {"name", each.name}});
  return value;
}

std::vector<MetaContext> contexts_from(const JsonValue& value) {
  std::vector<MetaContext> contexts;
  for (const JsonValue& each : value.items) {
    contexts.push_back(
        {.id = each.at("id").get<uint32_t>(), .name = each.at("name").get<std::string>()});
  }
  return contexts;
}

JsonValue to_json(const HandshakeProgress& progress) {
  JsonValue value = {{"headers", to_word(kHeaders, progress.headers)},
                     {"contexts", to_json(progress.contexts)},
                     {"contexts_of", progress.contexts_of}};
  const unsigned flags =
      (progress.fixed_newstyle ? kFixedNewstyle : 0U) | (progress.no_zeroes ? kNoZeroes : 0U);
  if (progress.has_client_flags) value.set("client_flags", flags);
  return value;
}

HandshakeProgress progress_from(const JsonValue& value) {
  HandshakeProgress progress{.headers = from_word(kHeaders, value.at("headers")),
                             .contexts = contexts_from(value.at("contexts")),
                             .contexts_of = value.at("contexts_of").get<std::string>()};
  if (const JsonValue* const flags = value.find("client_flags")) {
    progress.has_client_flags = true;
    progress.fixed_newstyle = (flags->get<uint32_t>() & kFixedNewstyle) != 0;
    progress.no_zeroes = (flags->get<uint32_t>() & kNoZeroes) != 0;
  }
  return progress;
}

JsonValue to_json(const ClientState& client) {
  if (client.is_new) return {{"new", true}, {"queue", client.queue}};
  if (client.handshake) {
    return {{"queue", client.queue},
            {"handshake", to_json(*client.handshake)},
            {"unread", client.unread.size()}};
  }
  return {{"queue", client.queue},
          {"export", client.export_name},
          {"size_bytes", client.size},
          {"flags", client.flags},
          {"headers", to_word(kHeaders, client.headers)},
          {"contexts", to_json(client.contexts)},
          {"unread", client.unread.size()}};
}

ClientState client_from(const JsonValue& value) {
  ClientState client{.is_new = value.value("new", false),
                     .queue = value.value("queue", uint16_t{0})};
  if (client.is_new) return client;
  const auto unread = value.at("unread").get<size_t>();
  if (unread > kUnreadBytesMax) throw JsonMismatch();
  client.unread.resize(unread);
  if (const JsonValue* const handshake = value.find("handshake")) {
    client.handshake = progress_from(*handshake);
    return client;
  }
  client.export_name = value.at("export").get<std::string>();
  client.size = value.at("size_bytes").get<uint64_t>();
  client.flags = value.at("flags").get<uint16_t>();
  client.headers = from_word(kHeaders, value.at("headers"));
  client.contexts = contexts_from(value.at("contexts"));
  return client;
}

std::unexpected<Error> failed(std::string_view what, int cause) {
  return fail(cause, fmt::format("cannot {}: {}", what, std::strerror(cause)));
}

}  // namespace

std::string to_json(const ExportState& state) {
  JsonValue listeners = JsonValue::array();
  for (const ListenerState& each : state.listeners) listeners.push_back(to_json(each));
  JsonValue exports = JsonValue::array();
  for (const PromisedExport& each : state.exports) {
    exports.push_back({{"name", each.name}, {"size_bytes", each.size}, {"flags", each.flags}});
  }
  JsonValue connections = JsonValue::array();
  for (const ClientState& each : state.connections) connections.push_back(to_json(each));
  JsonValue value = {{"listeners", std::move(listeners)},
                     {"export", state.name},
                     {"description", state.description},
                     {"queues", state.queues},
                     {"depth", state.depth},
                     {"allowed", state.allowed},
                     {"tls", to_word(kPolicies, state.tls)},
                     {"tls_certificates", bytes_json(state.tls_files.certificates)},
                     {"tls_psk", bytes_json(state.tls_files.psk_file)},
                     {"tls_verify_peer", state.tls_files.verify_peer},
                     {"until_deserted", state.until_deserted},
                     {"exports", std::move(exports)},
                     {"connections", std::move(connections)}};
  if (state.has_agreed) value.set("has_agreed", true);
  if (state.clients) value.set("clients_max", *state.clients);
  note_handover_version(value);
  return to_text(value);
}

Result<ExportState> export_state_from_json(std::string_view text) {
  try {
    const JsonValue value = parse_json_tree(text, kMessageNestingMax).value_or(JsonValue());
    if (auto version = handover_version_of(value); !version) {
      return std::unexpected(version.error());
    }
    ExportState state{.name = value.at("export").get<std::string>(),
                      .description = value.at("description").get<std::string>(),
                      .queues = value.at("queues").get<uint16_t>(),
                      .depth = value.at("depth").get<uint16_t>(),
                      .allowed = value.at("allowed").get<std::string>(),
                      .tls = from_word(kPolicies, value.at("tls")),
                      .tls_files = {.certificates = bytes_from(value.at("tls_certificates")),
                                    .psk_file = bytes_from(value.at("tls_psk")),
                                    .verify_peer = value.at("tls_verify_peer").get<bool>()},
                      .until_deserted = value.at("until_deserted").get<bool>()};
    for (const JsonValue& each : value.at("exports").items) {
      state.exports.push_back({.name = each.at("name").get<std::string>(),
                               .size = each.at("size_bytes").get<uint64_t>(),
                               .flags = each.at("flags").get<uint16_t>()});
    }
    for (const JsonValue& each : value.at("listeners").items) {
      state.listeners.push_back(listener_from(each));
    }
    for (const JsonValue& each : value.at("connections").items) {
      state.connections.push_back(client_from(each));
    }
    state.has_agreed = value.value("has_agreed", false);
    if (const JsonValue* const most = value.find("clients_max")) {
      state.clients = most->get<uint64_t>();
    }
    if (state.listeners.empty() || state.queues == 0 || state.depth == 0) throw JsonMismatch();
    return state;
  } catch (const JsonMismatch&) {
    return fail(EINVAL, "the handover describes no NBD export known to this version");
  }
}

Result<Descriptor> keep_unread(std::span<const ClientState> connections) {
  Descriptor file(memfd_create("sluice unread", MFD_CLOEXEC));
  if (!file.valid()) return failed("keep what clients have sent", errno);
  for (const ClientState& each : connections) {
    for (std::span<const std::byte> left = each.unread; !left.empty();) {
      const ssize_t written = write(file.number(), left.data(), left.size());
      if (written <= 0) return failed("keep what clients have sent", written == 0 ? EIO : errno);
      left = left.subspan(static_cast<size_t>(written));
    }
  }
  return file;
}

Result<void> restore_unread(const Descriptor& file, std::span<ClientState> connections) {
  off_t at = 0;
  for (ClientState& each : connections) {
    for (std::span<std::byte> left = each.unread; !left.empty();) {
      const ssize_t count = pread(file.number(), left.data(), left.size(), at);
      if (count < 0) return failed("read what clients have sent", errno);
      if (count == 0) return fail(EINVAL, "less was handed over than clients have sent");
      left = left.subspan(static_cast<size_t>(count));
      at += count;
    }
  }
  return {};
}

// The buffer of a socket has room for the messages of many thousand connections.
Result<Descriptor> pack(std::span<const int> descriptors) {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return failed("pass connections on", errno);
  }
  const Descriptor in(ends[0]);
  Descriptor out(ends[1]);
  while (!descriptors.empty()) {
    const size_t count = std::min(descriptors.size(), kPassedAtOnce);
    if (send_passing(in.number(), ".", descriptors.first(count), MSG_DONTWAIT) != 1) {
      return failed("pass connections on", errno);
    }
    descriptors = descriptors.subspan(count);
  }
  return out;
}

Result<std::vector<Descriptor>> unpack(Descriptor packed, size_t count) {
  std::vector<Descriptor> descriptors;
  while (true) {
    char byte = 0;
    const ssize_t got = receive_passed(packed.number(), {&byte, 1}, descriptors, MSG_DONTWAIT);
    if (got < 0) return failed("take connections over", errno);
    if (got == 0) break;
  }
  if (descriptors.size() == count) return descriptors;
  if (descriptors.size() < count) {
    return fail(EMFILE, fmt::format("only {} of {} sockets could be taken over: raise the limit on "
                                    "open files (ulimit -n)",
                                    descriptors.size(), count));
  }
  return fail(EINVAL, "more sockets were handed over than described");
}

}  // namespace sluice::nbd
