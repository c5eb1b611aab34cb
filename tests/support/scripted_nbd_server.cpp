#include "support/scripted_nbd_server.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cassert>
#include <cstddef>
#include <utility>

namespace sluice::test {
namespace {

class OneExport final : public nbd::Exports {
 public:
  explicit OneExport(const ScriptedNbdServer::Facts& facts) {
    export_.size = facts.size;
    export_.flags = facts.flags;
    export_.block_sizes = facts.block_sizes;
    export_.contexts = {std::string(nbd::kAllocationContext)};
  }
  std::vector<std::string> names() const override { return {export_.name}; }
  const nbd::Export* find(std::string_view name) const override {
    return name == export_.name ? &export_ : nullptr;
  }

 private:
  nbd::Export export_;
};

Descriptor listen_at(const std::string& path) {
  Descriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un name{.sun_family = AF_UNIX, .sun_path = {}};
  path.copy(name.sun_path, sizeof(name.sun_path) - 1);
  unlink(path.c_str());
  const bool listens =
      bind(listener.number(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0 &&
      listen(listener.number(), 16) == 0;
  assert(listens);
  return listener;
}

}  // namespace

bool NbdPeer::receive(std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t got = recv(socket_, bytes.data(), bytes.size(), MSG_WAITALL);
    if (got <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(got));
  }
  return true;
}

void NbdPeer::send(nbd::Bytes bytes) const {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
}

void NbdPeer::send_slowly(nbd::Bytes bytes) const {
  for (const std::byte& each : bytes) send({&each, 1});
}

bool NbdPeer::shake_hands(const nbd::Exports& exports, nbd::Headers most) {
  nbd::ServerHandshake handshake(exports, nbd::TlsPolicy::none);
  Data output;
  nbd::ServerHandshake::greet(output);
  Data input;
  bool greeted = false;
  while (true) {
    send(output);
    output.clear();
    if (handshake.state() == nbd::ServerHandshake::State::transmission) break;
    if (handshake.state() == nbd::ServerHandshake::State::ended) return false;
    // One whole message at a time.
    Data message(greeted ? nbd::kOptionRequestBytes : nbd::kClientFlagsBytes);
    if (!receive(message)) return false;
    if (std::exchange(greeted, true)) {
      const auto option = nbd::read_option(message);
      if (!option.is_whole()) return false;
      message.resize(message.size() + option.message->length);
      if (!receive(std::span(message).subspan(nbd::kOptionRequestBytes))) return false;
      const nbd::Option asked = option.message->option;
      if ((asked == nbd::Option::extended_headers && most != nbd::Headers::extended) ||
          (asked == nbd::Option::structured_reply && most == nbd::Headers::simple)) {
        nbd::Writer writer(output);
        nbd::write_option_reply(asked, nbd::OptionReplyType::unsupported, {}, writer);
        continue;
      }
    }
    handshake.feed(message, output);
  }
  headers_ = handshake.agreed().headers;
  return true;
}

std::optional<NbdPeer::Asked> NbdPeer::next() {
  Data header(nbd::request_bytes(headers_));
  if (!receive(header)) return std::nullopt;
  const auto request = nbd::read_request(header, headers_);
  if (!request.is_whole()) return std::nullopt;
  Asked asked{.header = *request.message, .payload = {}};
  asked.payload.resize(asked.header.payload_bytes(headers_));
  if (asked.header.command == nbd::Command::disconnect || !receive(asked.payload)) {
    return std::nullopt;
  }
  return asked;
}

NbdPeer::Data NbdPeer::chunk(const nbd::RequestHeader& asked, nbd::ChunkType type, bool last,
                             nbd::Bytes payload) const {
  Data bytes(nbd::kReplyBytesMax);
  bytes.resize(nbd::write_reply({.cookie = asked.cookie,
                                 .flags = last ? nbd::kReplyDone : uint16_t{0},
                                 .type = type,
                                 .offset = asked.offset,
                                 .length = payload.size()},
                                headers_, bytes));
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

NbdPeer::Data NbdPeer::part(const nbd::RequestHeader& asked, uint64_t offset, nbd::Bytes data,
                            bool last) const {
  Data payload;
  nbd::Writer(payload).put(offset).put(data);
  return chunk(asked, nbd::ChunkType::offset_data, last, payload);
}

NbdPeer::Data NbdPeer::reply_to(const Asked& asked, int error, nbd::Bytes data) const {
  if (headers_ != nbd::Headers::simple && error == 0 && !data.empty()) {
    return part(asked.header, asked.header.offset, data, true);
  }
  if (headers_ == nbd::Headers::extended) {
    if (error == 0) return chunk(asked.header, nbd::ChunkType::none, true, {});
    Data payload;
    nbd::Writer(payload).put(nbd::to_wire_error(error)).put(uint16_t{0});
    return chunk(asked.header, nbd::ChunkType::error, true, payload);
  }
  Data bytes(nbd::kReplyBytesMax);
  bytes.resize(nbd::write_reply(
      {.is_simple = true, .cookie = asked.header.cookie, .error = nbd::to_wire_error(error)},
      headers_, bytes));
  bytes.insert(bytes.end(), data.begin(), data.end());
  return bytes;
}

ScriptedNbdServer::ScriptedNbdServer(const std::string& path, const Facts& facts,
                                     std::vector<Script> scripts)
    : listener_(listen_at(path)),
      scripts_(std::move(scripts)),
      facts_(facts),
      acceptor_([this] { accept_all(); }) {}

void ScriptedNbdServer::change(const Facts& facts) {
  const std::scoped_lock guard(mutex_);
  facts_ = facts;
}

void ScriptedNbdServer::drop() {
  const std::scoped_lock guard(mutex_);
  for (const int each : open_) shutdown(each, SHUT_RDWR);
}

void ScriptedNbdServer::accept_all() {
  while (true) {
    Descriptor socket(accept4(listener_.number(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket.valid()) return;
    const auto number = static_cast<size_t>(connections_++);
    const Script& script = scripts_[std::min(number, scripts_.size() - 1)];
    const std::scoped_lock guard(mutex_);
    open_.push_back(socket.number());
    threads_.emplace_back([this, &script, facts = facts_, socket = std::move(socket)]() mutable {
      serve(std::move(socket), script, facts);
    });
  }
}

void ScriptedNbdServer::serve(Descriptor socket, const Script& script, const Facts& facts) {
  const OneExport exports(facts);
  NbdPeer peer(socket.number());
  if (peer.shake_hands(exports, facts.headers)) script(peer);
  const std::scoped_lock guard(mutex_);  // the number may be reused once it is closed
  std::erase(open_, socket.number());
  socket = Descriptor();
}

void ScriptedNbdServer::end() {
  if (!acceptor_.joinable()) return;
  shutdown(listener_.number(), SHUT_RDWR);
  acceptor_.join();
  drop();
  for (std::thread& each : threads_) each.join();
}

}  // namespace sluice::test
