// CryptTarget: the data of an encrypted volume (LUKS, or plain).
//
// What is read is deciphered where the client's pages are, if they have an address. What is written
// goes through buffers of the reactor's own, as the client's pages are not ours to change. A large
// request goes in pieces, several at a time: while one is enciphered, others are on their way.
//
// Each reactor has contexts and buffers of its own. A request consists of whole encryption sectors:
// they are the logical blocks.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "ring/buffer_pool.hpp"
#include "ring/pooled_buffer.hpp"
#include "ring/ring_local.hpp"
#include "target/crypt/layout.hpp"
#include "target/crypt/secret.hpp"
#include "target/error_log.hpp"
#include "target/life/life_call.hpp"
#include "target/pieces.hpp"
#include "target/target.hpp"

namespace sluice::crypt {

class CryptTarget final : public Target {
 public:
  // The first of the children is the data; a second one holds the header, and is not used any more.
  CryptTarget(Children children, Layout layout, Secret key, const Geometry& geometry);

  bool is_living() const override { return true; }
  Task start(Request& request, LifeCall& call) override;
  Task attach(Request& request, LifeCall& call) override;
  Task detach(Request& request, LifeCall& call) override;
  Task stop(Request& request, LifeCall& call) override;
  std::vector<Target*> named_children() const override { return {&child(0)}; }
  std::string swap_risk() const override;

 private:
  struct OnRing final : RingResident {
    std::unique_ptr<SectorCipher> cipher{};
    std::unique_ptr<BufferPool> pool{};
    std::unique_ptr<BufferReserve> buffers{};  // of the pool
  };

  Task do_submit(Request& request) override;
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override;
  Task transfer(Request& request);
  Task transfer_together(Request& request, OnRing& here);
  Task transfer_pieces(Request& request, OnRing& here, Pieces* shared);
  Task read_pieces(Request& request, OnRing& here, Pieces* shared);
  Task write_pieces(Request& request, OnRing& here, Pieces* shared);
  Request part_of(const Request& request, uint64_t done, View data) const;
  uint64_t number_of(const Request& request, uint64_t done) const;
  bool has_whole_sectors(const View& data) const;
  bool decrypt_there(OnRing& here, uint64_t number, const View& data) const;
  bool encrypt_from(OnRing& here, uint64_t number, const View& data, std::byte* to) const;
  Status report(const Request& request) const;

  const Layout layout_;
  const Secret key_;
  const Ring* control_ring_ = nullptr;  // since the last start()
  RingLocal<OnRing> on_ring_;
  mutable ErrorLog errors_{"crypt"};
  mutable std::mutex mutex_;  // guards risk_
  std::string risk_;
};

}  // namespace sluice::crypt
