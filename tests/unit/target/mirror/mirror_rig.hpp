// MirrorRig: a mirror of VolatileDisks on a ManualRing, for unit tests.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/mirror_disks.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "support/volatile_disk.hpp"
#include "target/control_call.hpp"
#include "target/life/jobs.hpp"
#include "target/mirror/mirror.hpp"

namespace sluice::test {

class MirrorRig {
 public:
  using Bytes = std::vector<std::byte>;

  // A new array; or one with these contents of its legs, of which an empty one is missing.
  explicit MirrorRig(const MirrorShape& shape, mirror::MirrorOptions options = {});
  MirrorRig(const MirrorShape& shape, const std::vector<Bytes>& legs,
            mirror::MirrorOptions options = {});
  ~MirrorRig();

  // Empty: it is served; otherwise why not.
  std::string start();
  void stop();

  // Starts a request on data of this pattern; the rig lends the memory.
  Task& submit(Op op, uint64_t offset, uint64_t length, std::byte pattern = {});
  // The same, to its end; the errno.
  int serve(Op op, uint64_t offset, uint64_t length, std::byte pattern = {});
  int serve_fast_zeroes(uint64_t offset, uint64_t length);
  // What was read last.
  const Bytes& memory() const { return memory_; }
  // The errno of a verb, such as "fail(2)" or "scrub repair"; why() has the reason.
  int control(const std::string& text);
  const std::string& why() const { return why_; }
  // The verb add, with this spec, of a disk with these contents.
  int add(const Spec& spec, const Bytes& contents);
  // Likewise a verb that takes a disk, and may name a leg.
  int give(const std::string& verb, const Spec& spec, const Bytes& contents,
           const std::string& leg = {});
  // That of a leg, from 0 on.
  static Spec spec_of_leg(size_t leg);
  // Those that verbs have published, and recovery would open.
  const std::vector<Spec>& published() const { return published_; }

  void perform_until(const std::function<bool()>& done);
  // Until no leg lacks anything, and no region is dirty.
  void make_whole();
  uint64_t number(std::string_view name) const;
  mirror::LegRecord record(size_t leg);
  std::vector<Bytes> contents(VolatileDisk::Left left = VolatileDisk::Left::newest);
  std::span<const std::byte> data_on(const Bytes& leg) const { return data_on_leg(shape_, leg); }

  ManualRing ring;
  // Which of so many operations ends next; null: the one that began first.
  std::function<size_t(size_t)> pick;
  Power power{7};
  std::vector<VolatileDisk*> disks;  // null: missing
  std::unique_ptr<mirror::Mirror> mirror;

 private:
  int control(ControlCall& call);

  const MirrorShape shape_;
  std::mt19937_64 random_{7};
  Jobs jobs_;
  bool started_ = false;
  std::unique_ptr<TestTag> tag_;
  std::unique_ptr<Task> task_;
  Bytes memory_;
  std::string why_;
  std::vector<Spec> published_;
};

}  // namespace sluice::test
