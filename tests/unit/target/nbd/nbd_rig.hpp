// NbdTargetTest: an export of ours whose stack is target nbd, at a scripted server. Its clients
// thus reach the script through a device with all its reactors.
#pragma once

#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/scripted_nbd_server.hpp"
#include "unit/frontend/nbd/export_rig.hpp"

namespace sluice::nbd::test {

using sluice::test::NbdPeer;
using sluice::test::ScriptedNbdServer;

// Serves `disk` until the client goes. Thread-safe for one client at a time.
class HonestDisk {
 public:
  explicit HonestDisk(size_t bytes = kSize) : bytes_(bytes) {}

  void operator()(NbdPeer& peer) {
    while (const auto asked = peer.next()) serve(peer, *asked);
  }
  void serve(NbdPeer& peer, const NbdPeer::Asked& asked) { peer.send(reply(peer, asked)); }
  NbdPeer::Data reply(NbdPeer& peer, const NbdPeer::Asked& asked) {
    const auto begin = static_cast<ptrdiff_t>(asked.header.offset);
    if (asked.header.command == Command::write) {
      std::ranges::copy(asked.payload, bytes_.begin() + begin);
    }
    if (asked.header.command != Command::read) return peer.reply_to(asked, 0);
    return peer.reply_to(asked, 0, Bytes(bytes_).subspan(asked.header.offset, asked.header.length));
  }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

struct NbdTargetTest : NbdExportTest {
  using Script = ScriptedNbdServer::Script;

  static ScriptedNbdServer::Facts facts() { return {.size = kSize}; }

  void script(std::vector<Script> scripts, ScriptedNbdServer::Facts facts = {.size = kSize}) {
    server = std::make_unique<ScriptedNbdServer>(remote, facts, std::move(scripts));
  }
  std::string spec(const std::string& options = "") const {
    return "nbd(nbd+unix:///?socket=" + remote + (options.empty() ? "" : ", ") + options + ")";
  }
  void serve_remote(const std::string& options = "", uint16_t queues = 1) {
    serve(spec(options), false, queues);
  }
  Health health() { return stack->health().targets.front().health; }
  uint64_t number(std::string_view name) {
    const auto numbers = health().numbers;
    const auto found = std::ranges::find(numbers, name, &HealthNumber::name);
    return found == numbers.end() ? UINT64_MAX : found->value;
  }
  template <typename Condition>
  static bool soon(Condition condition) {
    for (int i = 0; i < 500; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return condition();
  }
  Script honest() {
    return [this](NbdPeer& peer) { disk(peer); };
  }
  void TearDown() override {
    NbdExportTest::TearDown();
    session.reset();
    stack.reset();
    if (server) server->end();
  }

  HonestDisk disk;
  const std::string remote = directory.path("remote.sock");
  std::unique_ptr<ScriptedNbdServer> server;
};

}  // namespace sluice::nbd::test
