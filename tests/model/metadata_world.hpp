// MetadataWorld: users of a MetadataCache that take random steps, and the orders they have
// declared, checked against the contents that a power cut could leave.
//
// Every sector of a block has the block's version. At each event of the disks a power cut is
// checked: the contents must respect all orders, and include all versions that were reported
// durable. Users run on one ManualRing or on several rings of the kernel. The model has a mutex of
// its own, which is locked after that of the disks.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "support/volatile_disk.hpp"
#include "target/metadata/metadata_cache.hpp"

namespace sluice::test {

// The first bytes of each sector: the number of its block, and the version.
struct SectorStamp {
  uint64_t number = 0;
  uint64_t version = 0;
};

class MetadataWorld {
 public:
  using Random = std::mt19937_64;
  struct Shape {
    uint32_t block_bytes = 1024;
    uint64_t blocks = 8;  // on the disk
    uint32_t cached = 4;  // of them
    uint32_t in_flight = 2;
    bool data_elsewhere = false;
    bool errors = false;  // reads, writes and now and then a flush fail
    int users = 4;
    int pins = 1;  // the most that a user holds at one time
  };

  MetadataWorld(uint64_t seed, const Shape& shape);
  ~MetadataWorld();

  // Chooses a shape by the seed.
  static Shape choose(uint64_t seed, bool errors);
  std::string text() const;

  // Runs all users, each for `steps` steps, on a ManualRing that ends operations in random order.
  void run(int steps);
  // The same on `threads` threads with rings of the kernel.
  void run_on_threads(int threads, int steps);
  // Ends the errors, makes all blocks durable, and checks that each has its newest version.
  void finish();

  // The failures so far; empty if there are none.
  std::string failure() const;
  uint64_t cuts() const { return cuts_; }
  MetadataCache::Stats stats() const { return cache_->stats(); }

 private:
  static constexpr uint64_t kDataSectors = 8;

  struct Published {
    uint64_t block = 0;
    uint64_t version = 0;
    BlockVersion token;
  };
  // Once `block` has this version on the disk, the other block or data sector has its version
  // there.
  struct Order {
    uint64_t block = 0;
    uint64_t version = 0;
    bool data = false;
    uint64_t other = 0;
    uint64_t other_version = 0;
  };

  Task user(Request& request, int number, int steps);
  Task change(Request& request, Random& random);
  Task change_two(Request& request, Random& random);
  Task prepare(Request& request, Random& random, WritePin& pin, std::vector<Order>& orders);
  Task look(Request& request, Random& random);
  Task flush(Request& request);
  Task make_durable(Request& request, Random& random);
  Task write_data(Request& request, Random& random);

  void publish(WritePin& pin, std::vector<Order>& orders);
  // On several threads a block may be read between the failure of a flush and its report.
  bool judges_contents() const { return !(on_threads_ && lost_); }
  bool allowed(Status status, std::string_view what);
  void complain(const std::string& text);
  int fate(const Request& request);
  void cut();
  void check(const std::vector<std::byte>& blocks, const std::vector<std::byte>& data);
  void stamp(std::span<std::byte> block, uint64_t number, uint64_t version) const;
  uint64_t version_in(std::span<const std::byte> block, uint64_t number);
  uint64_t data_place() const;

  const Shape shape_;
  Random random_;  // guarded by the power's mutex
  Power power_;
  VolatileDisk disk_;
  VolatileDisk elsewhere_;
  VolatileDisk& data_disk_;
  std::unique_ptr<MetadataCache> cache_;
  std::vector<Random> of_users_;
  bool errors_now_ = false;  // guarded by the power's mutex
  std::atomic<bool> may_fail_ = false;
  std::atomic<bool> lost_ = false;  // a flush has failed, on whichever disk
  bool on_threads_ = false;
  std::atomic<uint64_t> cuts_ = 0;

  mutable std::mutex mutex_;       // guards all below
  std::vector<uint64_t> next_;     // versions of each block
  std::vector<uint64_t> current_;  // published, or about to be
  std::vector<uint64_t> published_;
  std::vector<uint64_t> durable_;  // as was reported
  std::vector<uint64_t> data_begun_;
  std::vector<uint64_t> data_done_;
  std::vector<Published> tokens_;
  std::vector<Order> orders_;
  std::string failure_;
};

}  // namespace sluice::test
