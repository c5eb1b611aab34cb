// ScriptedNbdServer: a server of one NBD export that does what the test says, lies included.
//
//   ScriptedNbdServer server(path, {lie, honest});      the first connection, and all later ones
//
// Each connection has a thread, which shakes hands as a server should and then runs its script.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/descriptor.hpp"
#include "nbd/handshake.hpp"
#include "nbd/reply.hpp"
#include "nbd/request.hpp"
#include "nbd/server_handshake.hpp"

namespace sluice::test {

// One connection, from the server's side.
class NbdPeer {
 public:
  using Data = std::vector<std::byte>;
  struct Asked {
    nbd::RequestHeader header;
    Data payload;
  };

  explicit NbdPeer(int socket) : socket_(socket) {}

  bool shake_hands(const nbd::Exports& exports, nbd::Headers most);
  nbd::Headers headers() const { return headers_; }

  // The next request; nullopt: the client has gone, or takes its leave.
  std::optional<Asked> next();

  void send(nbd::Bytes bytes) const;
  void send_slowly(nbd::Bytes bytes) const;  // byte by byte
  // The bytes of a whole reply, as an honest server sends it.
  Data reply_to(const Asked& asked, int error, nbd::Bytes data = {}) const;
  Data chunk(const nbd::RequestHeader& asked, nbd::ChunkType type, bool last,
             nbd::Bytes payload) const;
  // A chunk with a part of a READ.
  Data part(const nbd::RequestHeader& asked, uint64_t offset, nbd::Bytes data, bool last) const;
  void answer(const Asked& asked, int error = 0, nbd::Bytes data = {}) const {
    send(reply_to(asked, error, data));
  }

 private:
  bool receive(std::span<std::byte> bytes) const;

  const int socket_;
  nbd::Headers headers_ = nbd::Headers::simple;
};

class ScriptedNbdServer {
 public:
  using Script = std::function<void(NbdPeer&)>;
  struct Facts {
    uint64_t size = 0;
    uint16_t flags = nbd::kHasFlags | nbd::kSendFlush | nbd::kSendFua | nbd::kSendTrim |
                     nbd::kSendWriteZeroes | nbd::kCanMultiConn;
    nbd::BlockSizes block_sizes{};
    nbd::Headers headers = nbd::Headers::extended;
  };

  // The last script is that of all later connections.
  ScriptedNbdServer(const std::string& path, const Facts& facts, std::vector<Script> scripts);
  ScriptedNbdServer(const ScriptedNbdServer&) = delete;
  ScriptedNbdServer& operator=(const ScriptedNbdServer&) = delete;
  ~ScriptedNbdServer() { end(); }

  // Closes all connections, and accepts no more.
  void end();
  // Closes all connections.
  void drop();
  // For later connections.
  void change(const Facts& facts);
  int connections() const { return connections_; }

 private:
  void accept_all();
  void serve(Descriptor socket, const Script& script, const Facts& facts);

  const Descriptor listener_;
  const std::vector<Script> scripts_;
  std::atomic<int> connections_ = 0;
  std::mutex mutex_;  // guards the next two
  Facts facts_;
  std::vector<int> open_;
  std::vector<std::thread> threads_;  // used by the accepting thread, then by end()
  std::thread acceptor_;
};

}  // namespace sluice::test
