// `sluice thin create`, `snapshot` and `delete`.
#include <fmt/format.h>

#include <algorithm>

#include "cli/image/image_source.hpp"
#include "cli/thin/lvm_trace.hpp"
#include "cli/thin/thin.hpp"
#include "cli/values.hpp"
#include "image/metadata_writer.hpp"
#include "persistent/transaction.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {

using persistent::BlockReader;
using persistent::Transaction;

Outcome<uint64_t> device_id(const std::string& word) {
  const auto id = parse_digits(word);
  if (id && *id <= persistent::kDeviceIdMost) return *id;
  return failed(fmt::format("the id of a device is a number from 0 to {}, found {}",
                            persistent::kDeviceIdMost, shown(word)));
}

Outcome<uint64_t> option_device_id(const CommandLine& line, std::string_view option) {
  if (line.has(option)) return device_id(line.text(option));
  return failed(fmt::format("'sluice thin {}' needs --{} with the id of a device",
                            line.word().value_or(""), option));
}

namespace {

// LVM counts its changes in the pool, and would find others than its own.
Outcome<void> check_is_not_of_lvm(const CommandLine& line, const image::OpenDisk& disk,
                                  const Transaction& pool) {
  if (line.has("force")) return {};
  std::string why;
  if (const uint64_t id = pool.superblock().transaction_id; id != 0) {
    why = fmt::format("has transaction {}", id);
  } else if (const auto spec = destination_spec(thin_words(line)[0], {});
             spec && is_of_lvm(*spec)) {
    why = "lies in a volume group";
  } else {
    return {};
  }
  return failed(
      fmt::format("{} {}, so that it is a pool of LVM, which keeps a list of its devices: "
                  "change it with lvcreate and lvremove, or give --force",
                  shown(disk.name()), why));
}

}  // namespace

Outcome<void> change_pool(const CommandLine& line, const ThinChange& change) {
  const auto disk = open_thin_disk(line, thin_words(line)[0], ThinAccess::write);
  if (!disk) return std::unexpected(disk.error());
  image::MetadataReader reader(**disk);
  image::MetadataWriter writer(**disk, reader);
  auto pool = Transaction::open(reader);
  if (!pool) return std::unexpected(blame_metadata(**disk, pool.error()));
  if (auto checked = check_is_not_of_lvm(line, **disk, **pool); !checked) return checked;
  const auto blame = [&](const Error& error) {
    return std::unexpected(blame_metadata(**disk, error));
  };
  const auto changed = change(**pool, reader);
  if (!changed) return blame(changed.error());
  if (auto committed = (*pool)->commit(writer); !committed) return blame(committed.error());
  return {};
}

Outcome<void> create_thin_device(const CommandLine& line, const Streams&) {
  const auto id = device_id(thin_words(line)[1]);
  if (!id) return std::unexpected(id.error());
  return change_pool(line,
                     [&](Transaction& pool, BlockReader&) { return pool.create_device(*id); });
}

Outcome<void> snapshot_thin_device(const CommandLine& line, const Streams&) {
  const auto id = device_id(thin_words(line)[1]);
  if (!id) return std::unexpected(id.error());
  const auto origin = device_id(thin_words(line)[2]);
  if (!origin) return std::unexpected(origin.error());
  return change_pool(
      line, [&](Transaction& pool, BlockReader&) { return pool.create_snapshot(*id, *origin); });
}

Outcome<void> delete_thin_device(const CommandLine& line, const Streams&) {
  const auto id = device_id(thin_words(line)[1]);
  if (!id) return std::unexpected(id.error());
  return change_pool(line,
                     [&](Transaction& pool, BlockReader&) { return pool.remove_device(*id); });
}

Outcome<void> roll_back_thin_device(const CommandLine& line, const Streams&) {
  const auto id = device_id(thin_words(line)[1]);
  if (!id) return std::unexpected(id.error());
  const auto snapshot = device_id(thin_words(line)[2]);
  if (!snapshot) return std::unexpected(snapshot.error());
  return change_pool(
      line, [&](Transaction& pool, BlockReader&) { return pool.roll_back(*id, *snapshot); });
}

}  // namespace sluice::cli
