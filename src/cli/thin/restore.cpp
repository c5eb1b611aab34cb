// `sluice thin restore`.
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "cli/thin/thin.hpp"
#include "image/metadata_writer.hpp"
#include "image/pool_xml.hpp"
#include "persistent/transaction.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

using persistent::MappedRun;
using persistent::Mapping;
using persistent::Transaction;

// Makes the pool as its text is read. What is in memory is written now and then.
class Restore final : public image::PoolXmlTaker {
 public:
  Restore(image::MetadataReader& reader, image::MetadataWriter& writer)
      : reader_(reader), writer_(writer) {}

  Result<void> pool(const image::PoolXmlFacts& facts) override {
    auto made = Transaction::create(reader_, {.metadata_blocks = reader_.blocks(),
                                              .data_blocks = facts.data_blocks,
                                              .data_block_sectors = facts.data_block_sectors});
    if (!made) return std::unexpected(made.error());
    pool_ = std::move(*made);
    pool_->restore_state(facts.time, facts.transaction_id, facts.flags);
    if (auto erased = writer_.erase_superblock(); !erased) return erased;
    writer_.hold_superblock(true);
    return {};
  }

  Result<void> device(uint64_t id, const persistent::DeviceDetails& details) override {
    if (auto ended = end_device(); !ended) return ended;
    id_ = id;
    details_ = details;
    return pool_->restore_device(id, details);
  }

  Result<void> run(const MappedRun& run) override {
    for (uint64_t i = 0; i < run.length; ++i) {
      const Mapping mapping{.data_block = run.data_block + i, .time = run.time};
      auto restored = pool_->restore_mapping(*id_, run.device_block + i, mapping);
      if (!restored) return restored;
      if (++uncommitted_ < kMappingsOfCommit) continue;
      uncommitted_ = 0;
      if (auto committed = pool_->commit(writer_); !committed) return committed;
    }
    return {};
  }

  // Now it is a pool.
  Result<void> end() {
    if (auto ended = end_device(); !ended) return ended;
    writer_.hold_superblock(false);
    return pool_->commit(writer_);
  }

 private:
  static constexpr uint64_t kMappingsOfCommit = 1'000'000;  // some 20 MB

  Result<void> end_device() {
    if (!id_) return {};
    const auto found = pool_->details(*id_);
    if (!found) return std::unexpected(found.error());
    if (found->mapped_blocks == details_.mapped_blocks) return {};
    return fail(EINVAL, fmt::format("device {} has {} mappings, and says that it has {}", *id_,
                                    found->mapped_blocks, details_.mapped_blocks));
  }

  image::MetadataReader& reader_;
  image::MetadataWriter& writer_;
  std::unique_ptr<Transaction> pool_;
  std::optional<uint64_t> id_;  // of the last device
  persistent::DeviceDetails details_;
  uint64_t uncommitted_ = 0;
};

}  // namespace

Outcome<void> restore_pool(const CommandLine& line, const Streams& streams) {
  std::ifstream file;
  const std::string name = line.text("input");
  if (line.has("input")) {
    file.open(name);
    if (!file) return failed(fmt::format("cannot read {}: {}", shown(name), std::strerror(errno)));
  }
  const auto disk = open_thin_disk(line, thin_words(line)[0], ThinAccess::write);
  if (!disk) return std::unexpected(disk.error());
  if (auto checked = check_is_unused(line, **disk); !checked) return checked;
  image::MetadataReader reader(**disk);
  image::MetadataWriter writer(**disk, reader);
  Restore restore(reader, writer);
  auto done = image::read_pool_xml(line.has("input") ? file : streams.in, restore);
  if (done) done = restore.end();
  if (!done) {
    return failed(fmt::format("{} is not restored to {}: {}",
                              line.has("input") ? shown(name) : "the input", shown((*disk)->name()),
                              done.error().text));
  }
  return {};
}

}  // namespace sluice::cli
