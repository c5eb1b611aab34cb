// NbdExport: the disks of a stack served to NBD clients, on sockets.
//
// Owned by the control path. Each of its queues has a reactor, a thread with a ring; they share the
// listening sockets. Clients see the stack as it was when they connected. The stack outlives the
// export.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "frontend/frontend.hpp"
#include "frontend/nbd/handover_state.hpp"
#include "frontend/nbd/listen_address.hpp"
#include "frontend/nbd/queue.hpp"
#include "reactor/byte_io.hpp"
#include "reactor/reactors.hpp"
#include "ring/offload.hpp"
#include "target/stack.hpp"

namespace sluice::nbd {

// Their value in the record: the socket files, each on a line, as INODE PATH.
inline constexpr std::string_view kSocketFiles = "socket_files";

struct ExportOptions {
  std::vector<ListenAddress> addresses;  // at least one
  std::string name{};                    // of the export, if there is only one
  std::string description{};             // of each export
  uint16_t queues = 1;
  uint16_t depth = 128;  // requests of a client at a time
  AccessList allowed{};
  size_t clients = SIZE_MAX;    // at a time, beside the limits of descriptors and queues
  bool until_deserted = false;  // ends when its last client has gone
  bool loses_rights = false;    // before it serves: this process will be another user's
  TlsPolicy tls = TlsPolicy::none;
  std::shared_ptr<const tls::Credentials> credentials{};  // if there is TLS
  tls::ServerFiles tls_files{};                           // that they come from
};

class NbdExport final : public Frontend {
 public:
  // Listens; serve() accepts. On failure nothing is left behind.
  static Result<std::unique_ptr<NbdExport>> make(Stack& stack, ExportOptions options);
  // For take(), with the handover_state() of another server. ESTALE: the stack is less than clients
  // were promised.
  static Result<std::unique_ptr<NbdExport>> adopt(Stack& stack, const std::string& state,
                                                  bool loses_rights = false);
  ~NbdExport() override;

  Result<void> prepare(FrontendListener& listener, Keeper& keeper) override;
  Result<void> serve() override;
  bool has_ended() const override { return reactors_.all_ended(); }
  Result<void> change_keeper(Keeper& /*keeper*/) override { return {}; }
  // Clients get the replies to their requests, and are disconnected. EBUSY: there are clients.
  Result<void> stop(bool even_if_used) override;
  Result<void> remove() override;

  Result<void> check_handover() const override { return {}; }
  std::string handover_state() override;
  Result<void> pause() override;
  bool has_paused() const override { return reactors_.all_paused(); }
  Result<Handover> let_go() override;
  Result<void> resume() override;
  void leave() override;
  // Nothing is read from the connections before settle(): until then the other server can go on.
  Result<void> take(Handover handover) override;
  void settle() override;

  // New clients see the new size.
  Result<void> resize(uint64_t /*size_bytes*/) override { return {}; }

  NamedValues traces() const override;
  std::string path() const override {
    return options_.addresses.front().uri(options_.name, options_.tls == TlsPolicy::required);
  }
  std::string mode_name() const override { return "copy"; }
  std::string mode_reason() const override { return {}; }
  std::vector<QueueReport> reports() const override { return reactors_.reports(); }
  Result<std::vector<InFlight>> in_flight() const override { return reactors_.in_flight(); }

 private:
  // Its transfers are those of ByteIo.
  class Io final : public ByteIo {
   public:
    using ByteIo::ByteIo;
  };

  NbdExport(Stack& stack, ExportOptions options);
  Reactor::Setup plan_reactor(uint16_t number);
  ExportState state() const;
  std::vector<PromisedExport> promises() const;
  Result<void> check_promise(const PromisedExport& promised) const;

  Stack& stack_;
  ExportOptions options_;
  std::vector<std::unique_ptr<Io>> ios_;  // of the disks
  Newcomers newcomers_;
  std::unique_ptr<Offload> offload_;  // for block status
  std::vector<Listener> listeners_;   // of the addresses, in their order
  bool owns_files_ = true;            // the socket files are ours to remove
  bool handed_over_ = false;          // accepts nothing before settle()
  std::vector<HandedClient> handed_clients_;
  bool handed_agreement_ = false;  // see ExportState::has_agreed
  Reactors reactors_;
};

// Of these socket files, those of servers that have ended. May wait a second for the kernel, if one
// has just been killed.
std::vector<std::string> dead_socket_files(std::string_view lines);

}  // namespace sluice::nbd
