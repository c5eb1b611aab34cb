// What `sluice info` tells of an image file.
//
// Names in JSON are those of `qemu-img info --output=json`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/failure.hpp"
#include "cli/image/image_file.hpp"
#include "cli/show.hpp"
#include "target/qcow2/header.hpp"
#include "target/qcow2/snapshot_table.hpp"

namespace sluice::cli {

struct Qcow2Facts {
  qcow2::Header header = {};
  std::vector<qcow2::Snapshot> snapshots = {};
  std::vector<qcow2::BitmapEntry> bitmaps = {};
};

struct ImageFacts {
  ImageFile file;
  std::optional<uint64_t> virtual_bytes = {};  // not known for formats that Sluice does not read
  std::optional<Qcow2Facts> qcow2 = {};
};

// Opens this file only.
Outcome<ImageFacts> read_image_facts(const std::string& path, ImageAccess access);

// Appends the facts of the file, of its backing file, and so on.
Outcome<void> read_chain_facts(const std::string& path, ImageAccess access,
                               std::vector<ImageFacts>& images);

// Where the backing file is: its name is relative to the folder of the image. Empty: the name is
// not that of a file, but of something that QEMU opens by a protocol.
std::string backing_path(const std::string& image, const std::string& name);

std::string image_text(const ImageFacts& facts);
Json snapshots_json(const std::vector<qcow2::Snapshot>& snapshots);
Json image_json(const ImageFacts& facts);

}  // namespace sluice::cli
