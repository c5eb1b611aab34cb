// The actions of `sluice thin`.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/cli.hpp"
#include "cli/command_line.hpp"
#include "cli/failure.hpp"
#include "image/metadata_reader.hpp"
#include "image/open_disk.hpp"
#include "persistent/devices.hpp"
#include "persistent/transaction.hpp"
#include "spec/json_value.hpp"

namespace sluice::cli {

Outcome<void> show_thin(const CommandLine& line, const Streams& streams);
Outcome<void> list_thin(const CommandLine& line, const Streams& streams);
Outcome<void> dump_thin(const CommandLine& line, const Streams& streams);
Outcome<void> show_delta(const CommandLine& line, const Streams& streams);
Outcome<void> check_thin(const CommandLine& line, const Streams& streams);
Outcome<void> create_pool(const CommandLine& line, const Streams& streams);
Outcome<void> restore_pool(const CommandLine& line, const Streams& streams);
Outcome<void> repair_pool(const CommandLine& line, const Streams& streams);
Outcome<void> create_thin_device(const CommandLine& line, const Streams& streams);
Outcome<void> snapshot_thin_device(const CommandLine& line, const Streams& streams);
Outcome<void> delete_thin_device(const CommandLine& line, const Streams& streams);
Outcome<void> roll_back_thin_device(const CommandLine& line, const Streams& streams);
Outcome<void> merge_thin_devices(const CommandLine& line, const Streams& streams);
Outcome<void> show_lvm_pool(const CommandLine& line, const Streams& streams);
Outcome<void> trim_pool(const CommandLine& line, const Streams& streams);
Outcome<void> grow_pool(const CommandLine& line, const Streams& streams);

// What the help calls an action.
inline constexpr std::string_view kThinActionWord = "ACTION";
// The actions, for the completion: "list\tlist the devices of a pool".
std::vector<std::string> thin_action_words();

// The words behind the action; there are as many as it needs.
inline std::span<const std::string> thin_words(const CommandLine& line) {
  return line.words().subspan(1);
}

// By a word, or by an option that must be given.
Outcome<uint64_t> device_id(const std::string& word);
Outcome<uint64_t> option_device_id(const CommandLine& line, std::string_view option);

// The option --block.
Outcome<uint64_t> data_block_bytes(const CommandLine& line);

// The metadata of a pool, open for reading.
struct OpenMetadata {
  std::unique_ptr<image::OpenDisk> disk;
  std::unique_ptr<image::MetadataReader> reader;
  persistent::Superblock superblock;  // with --metadata-snapshot that of the snapshot
};
// By the first word, and the options --force_share and --metadata_snapshot.
Outcome<OpenMetadata> open_metadata(const CommandLine& line);

// The devices of a pool, and the blocks of each that no other one maps.
struct ThinListing {
  std::vector<persistent::ThinDevice> devices;
  std::vector<uint64_t> exclusive;
};
Outcome<ThinListing> list_thin_devices(const OpenMetadata& pool);
std::string devices_text(const ThinListing& listing, uint64_t block_bytes);
JsonValue devices_json(const ThinListing& listing, uint64_t block_bytes);

enum class ThinAccess : uint8_t {
  read,   // with --force_share also while another program writes
  write,  // nobody else uses it, and it has whole metadata blocks
};
// Any SPEC, without a look at its contents. Both may be slices of one disk.
Outcome<std::unique_ptr<image::OpenDisk>> open_thin_disk(const CommandLine& line,
                                                         const std::string& word, ThinAccess access,
                                                         const image::OpenDisk* beside = nullptr);
// The data of a pool, to be changed.
Outcome<std::unique_ptr<image::OpenDisk>> open_data_disk(const std::string& word,
                                                         const image::OpenDisk& metadata);

// Opens the pool of the first word, makes the change and commits it: as a whole, or not at all. A
// pool of LVM is refused without --force.
using ThinChange =
    std::function<Result<void>(persistent::Transaction& pool, persistent::BlockReader& reader)>;
Outcome<void> change_pool(const CommandLine& line, const ThinChange& change);

// Refuses a disk that holds something known, unless --force is given. A thin pool counts.
Outcome<void> check_is_unused(const CommandLine& line, image::OpenDisk& disk);

// Of an Error, with the name of the metadata.
Failure blame_metadata(const image::OpenDisk& disk, const Error& error);

}  // namespace sluice::cli
