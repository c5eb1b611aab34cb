// RbdTarget: an image of a Ceph cluster, by librbd.
//
// All reactors use one image, as one client of the cluster has its lock. Their requests go to the
// library's own threads, which hand the result back to the ring. What blocks is never called on a
// reactor: the image is opened and closed aside. Each request has a limit in the library; an image
// that is lost to another client, or whose client is blocklisted, fails for good.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "ring/buffer_pool.hpp"
#include "ring/external_completion.hpp"
#include "ring/pooled_buffer.hpp"
#include "ring/ring_local.hpp"
#include "target/error_log.hpp"
#include "target/life/life_call.hpp"
#include "target/pieces.hpp"
#include "target/rbd/aside.hpp"
#include "target/rbd/session.hpp"
#include "target/rbd/state.hpp"
#include "target/target.hpp"

namespace sluice::rbd {

class RbdTarget final : public Target {
 public:
  // The files outlive the target, which owns them.
  RbdTarget(const Library& library, Options options, Image::Files files);

  bool is_living() const override { return true; }
  Task start(Request& request, LifeCall& call) override;
  Task attach(Request& request, LifeCall& call) override;
  Task detach(Request& request, LifeCall& call) override;
  Task stop(Request& request, LifeCall& call) override;
  void note_end() override;

  Health health() const override { return state_->health(); }
  std::string swap_risk() const override;

 private:
  static constexpr uint32_t kPieceBytes = 128 << 10;  // of a buffer

  struct OnRing final : RingResident {
    explicit OnRing(Ring& ring) : count(ring) {}

    ExternalCount count;  // of calls of the library
    std::unique_ptr<BufferPool> pool{};
    std::unique_ptr<BufferReserve> buffers{};  // of the pool
  };
  // One call of the library.
  struct Call {
    Op op = Op::flush;
    uint64_t offset = 0;
    uint64_t length = 0;
    std::span<const iovec> memory = {};
    int flags = 0;  // of write zeroes
  };
  struct Opening;

  Task do_submit(Request& request) override;
  Task do_extents(Request& request, Extents& found) override;
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override;

  Image::Access access() const;
  Result<void> accept(const Image::Facts& facts);
  static std::shared_ptr<Aside> close_aside(std::shared_ptr<Session> session);

  Task change(Request& request, OnRing& here);
  Task transfer(Request& request, OnRing& here);
  Task transfer_in_place(Request& request, OnRing& here, size_t parts);
  Task transfer_together(Request& request, OnRing& here);
  Task transfer_pieces(Request& request, OnRing& here, Pieces* shared);
  Task perform(Request& request, OnRing& here, Call call);
  int begin(const Call& call, rbd_completion_t handle);
  bool fits(const Call& call) const;
  Status conclude(Request& request, const Call& call, int64_t result);
  Status report(Request& request, int64_t result);

  const Library& library_;
  const Image::Files files_;
  const std::shared_ptr<State> state_;
  const Ring* control_ring_ = nullptr;  // since the last start()
  bool is_promised_ = false;            // the geometry is that of the image with this id
  std::string id_;
  std::shared_ptr<Session> session_;  // constant while requests come
  RingLocal<OnRing> on_ring_;
  ErrorLog errors_;
  std::atomic<bool> ending_ = false;
  std::atomic<bool> pools_resident_ = true;
};

}  // namespace sluice::rbd
