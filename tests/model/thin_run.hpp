// ThinRun: the metadata of a pool under random changes, checked against an oracle.
//
// Devices are made, removed, rolled back and taken snapshots of, both devices grow, blocks
// provisioned and unmapped, and now and then a transaction is committed, during which the power is
// cut at any write or flush. What is on the device then is exactly the last committed state, or,
// from the write of the superblock on, the new one, without a fault or a leak. That is examined
// here, and of some cuts by `thin_check`.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <string>

#include "model/volatile_blocks.hpp"
#include "persistent/transaction.hpp"
#include "support/work_folder.hpp"

namespace sluice::test {

struct ThinCounts {
  size_t commits = 0;
  size_t cuts = 0;
  size_t judged = 0;   // by thin_check
  size_t changes = 0;  // that were done
  size_t refused = 0;  // and that were not, for want of space
};

class ThinRun {
 public:
  struct Shape {
    uint64_t metadata_blocks = 1024;
    uint64_t data_blocks = 20000;
    uint64_t device_blocks = 5000;
    uint64_t devices = 6;     // at a time
    size_t cuts_each = 7;     // of so many events one is a cut
    size_t judge_each = 40;   // of so many cuts thin_check examines one
    bool grows = false;       // begins with a tenth of the blocks; and no device is rolled back
    uint64_t fails_each = 0;  // of so many writes and flushes one fails; 0: none does
  };

  ThinRun(const Shape& shape, uint64_t seed, const WorkFolder& folder, ThinCounts& counts);

  // So many transactions. With failures it ends with the first commit that fails.
  void run(int transactions);

 private:
  using Mappings = std::map<uint64_t, persistent::Mapping>;
  struct Device {
    Mappings mappings = {};
    uint32_t snapshotted = 0;  // the time of it
  };
  struct Pool {
    std::map<uint64_t, Device> devices = {};
    uint64_t data_blocks = 0;
    uint64_t metadata_blocks = 0;
  };

  void begin();
  void change();
  void make_device();
  void remove_device();
  void take_snapshot();
  void roll_back();
  void grow();
  void provision(uint64_t id, uint64_t block);
  void unmap(uint64_t id, uint64_t block);
  void look_up(uint64_t id, uint64_t block);
  bool commit();
  void event();
  void examine(const VolatileBlocks::Bytes& left, bool may_be_new);
  void judge(const VolatileBlocks::Bytes& left);
  bool done(const Result<void>& result);
  uint64_t any_device();
  bool is_in_use(const Pool& pool, uint64_t data_block) const;
  static Pool read(persistent::BlockReader& reader);

  const Shape shape_;
  std::mt19937_64 random_;
  const WorkFolder& folder_;
  ThinCounts& counts_;
  VolatileBlocks disk_;
  std::unique_ptr<persistent::Transaction> transaction_;
  Pool pool_;           // as it is in the transaction
  Pool committed_;      // and in the last one
  bool is_new_ = true;  // nothing was committed yet
  bool is_committing_ = false;
  bool superblock_began_ = false;
};

}  // namespace sluice::test
