// VolatileDisk: a disk in memory with a volatile write cache, for tests of power cuts.
//
// The disk keeps all unflushed writes of each sector. At any moment a test can take the contents
// that a power cut would leave: of each sector, independently, the durable version or any later
// one, so that blocks of several sectors tear. The disk continues afterwards. Each request sleeps
// on its ring, so requests end in the order in which these sleeps end.
//
// It can grow like a file: after a cut it has any size since the last flush.
//
// Several disks share a Power: one lock, one cut. Any thread.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <vector>

#include "ring/ring.hpp"
#include "target/target.hpp"

namespace sluice::test {

struct Power {
  explicit Power(uint64_t seed) : random(seed) {}

  std::mutex mutex;
  std::mt19937_64 random;          // guarded by mutex, as are all below
  std::function<void()> on_event;  // at each begin or end of a write or flush; holds the mutex
};

class VolatileDisk final : public Target {
 public:
  static constexpr uint32_t kSector = 512;
  using Sector = std::array<std::byte, kSector>;
  enum class Left { durable, newest, any };  // of each sector, after a cut

  VolatileDisk(Power& power, uint64_t size_bytes, bool fua);

  // The size up to which it grows. ENOSPC beyond.
  uint64_t most_bytes = uint64_t{1} << 40;

  // It also serves discard, which leaves garbage, and write_zeroes. Before it becomes a child.
  void offer_discard();
  void make_read_only() { geometry_.read_only = true; }

  // Returns the errno of a request; 0: it succeeds. A failed request may be done in part.
  std::function<int(const Request&)> fails;

  // Call with the power's mutex held.
  std::vector<std::byte> after_cut(Left left, std::mt19937_64& random) const;
  // Its power alone is cut, and comes back: what was not flushed may be lost. Flushes that are
  // running fail.
  void cut_power(std::mt19937_64& random);
  // Replaces the contents, durably. No request may be running.
  void load(std::span<const std::byte> bytes);

  uint64_t reads() const { return reads_; }
  uint64_t writes() const { return writes_; }
  uint64_t flushes() const { return flushes_; }

 private:
  struct Written {
    uint64_t id = 0;
    uint64_t done_at = 0;  // 0: still running
    Sector bytes{};
  };

  Task do_submit(Request& request) override;
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override;
  Task read(Request& request);
  Task write(Request& request);
  Task fill(Request& request, std::byte value);
  Task change(Request& request, std::vector<std::byte> bytes);
  Task flush(Request& request);
  void begin_write(uint64_t offset, std::span<const std::byte> bytes, uint64_t id);
  void end_write(const Request& request, uint64_t id, int error);
  void make_durable(uint64_t sector, uint64_t until);
  const Sector& newest(uint64_t sector) const;
  void event() const {
    if (power_.on_event) power_.on_event();
  }

  Power& power_;
  std::vector<Sector> durable_;  // guarded by the power's mutex, as are all below
  size_t durable_sectors_;       // the size that a cut leaves at least
  std::map<uint64_t, std::deque<Written>> pending_;
  uint64_t time_ = 0;
  uint64_t cuts_ = 0;
  uint64_t next_id_ = 0;
  uint64_t reads_ = 0;
  uint64_t writes_ = 0;
  uint64_t flushes_ = 0;
};

}  // namespace sluice::test
