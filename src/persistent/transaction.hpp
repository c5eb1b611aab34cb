// Transaction: the changes to the metadata of a pool since its last commit.
//
// There is one transaction at a time, and another one begins with each commit. Everything in it is
// an operation that is done as a whole or, after an error, not at all: the transaction goes on as
// if nothing had been asked for. Only after a commit that failed nothing is possible any more, for
// nobody knows which state is on the device.
//
// Used by one thread at a time. Never waits, but for what its reader and writer do.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "persistent/block_writer.hpp"
#include "persistent/data_space.hpp"
#include "persistent/metadata_space.hpp"
#include "persistent/superblock.hpp"

namespace sluice::persistent {

class Transaction {
 public:
  // The reader outlives it. Errors as of read_superblock(); EROFS: features without which it must
  // not be written; EUCLEAN: it needs a check. `read_only`: nothing will be changed, neither
  // matters.
  enum class Access : uint8_t { read_write, read_only };
  static Result<std::unique_ptr<Transaction>> open(BlockReader& reader,
                                                   Access access = Access::read_write);

  // A new pool without devices. EINVAL: a size that the format does not have. Nothing is read.
  struct NewPool {
    uint64_t metadata_blocks = 0;  // more than kMetadataBlocksMost are not used
    uint64_t data_blocks = 0;
    uint32_t data_block_sectors = kDataBlockSectorsUnit;
  };
  static Result<std::unique_ptr<Transaction>> create(BlockReader& reader, const NewPool& pool);

  // --- Devices. EINVAL: an id that is too large; EEXIST; ENODEV.
  Result<void> create_device(uint64_t id);
  Result<void> create_snapshot(uint64_t id, uint64_t origin);
  Result<void> remove_device(uint64_t id);
  // The device becomes a new snapshot of another one, and what only it has mapped is free. EINVAL:
  // of itself.
  Result<void> roll_back(uint64_t id, uint64_t snapshot);
  Result<DeviceDetails> details(uint64_t id);

  // --- Mappings. ENODEV.
  // Nothing: the block is not provisioned.
  Result<std::optional<Mapping>> find(uint64_t id, uint64_t block);
  // Whether a write must copy the block first.
  Result<bool> is_shared(uint64_t id, const Mapping& mapping);
  // A data block for `block`, which replaces what is mapped there. Its content is whatever it has:
  // who asked writes it before the commit. ENOSPC.
  Result<uint64_t> provision(uint64_t id, uint64_t block);
  // False: the block was not provisioned.
  Result<bool> unmap(uint64_t id, uint64_t block);

  // A block of one device gets the data block that another one has mapped, in place of its own. The
  // data is shared from then on, so that both are as if a snapshot had been taken (share_all()).
  Result<void> adopt(uint64_t id, uint64_t block, Mapping mapping);
  // A new time, at which the device was taken a snapshot of: what it has mapped is shared, perhaps.
  Result<void> share_all(uint64_t id);

  // --- Sizes. EINVAL: fewer blocks than there are, more than the format has, or than the metadata
  // device.
  Result<void> grow_data(uint64_t blocks);
  Result<void> grow_metadata(uint64_t blocks);

  // --- What another pool had, for one that is restored.
  // Without mappings. EINVAL, EEXIST as above.
  Result<void> restore_device(uint64_t id, const DeviceDetails& details);
  // EINVAL: there is no such data block; EEXIST: the block is mapped already; ENODEV.
  Result<void> restore_mapping(uint64_t id, uint64_t block, Mapping mapping);
  void restore_state(uint32_t time, uint64_t transaction_id, uint32_t flags);

  // How often a data block is mapped.
  Result<uint64_t> data_count(uint64_t block) { return data_.count(block); }

  void set_transaction_id(uint64_t id) { superblock_.transaction_id = id; }
  // As it was committed, but for the ids and times of this transaction.
  const Superblock& superblock() const { return superblock_; }
  uint64_t free_metadata_blocks() const { return metadata_.free(); }
  uint64_t free_data_blocks() const { return data_.root().blocks - data_.root().allocated; }

  // Makes the changes durable: the data, the metadata, then the superblock. After an error: EIO for
  // everything from then on.
  Result<void> commit(BlockWriter& writer);
  bool failed() const { return failed_; }

  // The same in parts, for a writer that waits: data that is mapped is durable, then the blocks are
  // written and durable, then the superblock, then settle() begins the next transaction. After an
  // error of seal() all is as before; otherwise, until settle(), everything fails with EIO.
  Result<void> seal(Sealed& sealed);
  void settle();

 protected:
  explicit Transaction(BlockReader& reader, const Superblock& superblock);
  static Result<Superblock> load_superblock_for(BlockReader& reader, Access access);
  Result<void> load();

  enum class Kind : uint8_t { uses, frees };
  template <typename Work>
  auto atomically(Work work, Kind kind = Kind::uses) -> decltype(work());
  template <typename Work>
  auto reading(Work work) -> decltype(work());
  Result<uint32_t> next_time();
  Result<void> check_new(uint64_t id);
  Result<uint64_t> root_of(uint64_t id);
  Result<uint64_t> own_root(uint64_t id);
  Result<DeviceDetails> find_details(uint64_t id);
  Result<uint64_t> unlist(uint64_t id);
  Result<void> take_out(uint64_t id, uint64_t root, uint64_t block);
  Result<bool> put(uint64_t id, uint64_t root, uint64_t block, Mapping mapping);
  Result<void> set_root(uint64_t id, uint64_t root);
  Result<void> set_details(uint64_t id, const DeviceDetails& details);
  Result<void> add_device(uint64_t id, uint64_t root, const DeviceDetails& details);

  TransactionBlocks blocks_;
  MetadataSpace metadata_;
  DataSpace data_;
  struct Roots final : ValueReferences {  // of devices, in the mapping tree
    explicit Roots(BlockSpace& counted) : space(counted) {}
    Result<void> increase(std::span<const std::byte> value) override;
    Result<void> decrease(std::span<const std::byte> value) override;
    BlockSpace& space;
  } root_references_;
  BTree roots_;
  BTree mappings_;
  BTree devices_;
  Superblock superblock_;
  bool failed_ = false;
};

}  // namespace sluice::persistent
