// Qcow2Image: a random image for a model run, made by QEMU in a folder of its own, and what QEMU
// says of images in this folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "model/block_oracle.hpp"
#include "support/work_folder.hpp"

namespace sluice::test {

struct Qcow2Image {
  std::string options = {};    // of qemu-img create
  uint64_t size_bytes = 0;     // of the disk
  uint64_t cluster_bytes = 0;  // of the image
  uint32_t version = 3;
  std::string backing = {};  // name and format of the backing file; empty: none
  std::string backing_format = {};
  uint64_t backing_cluster_bytes = 0;
  bool is_below = false;       // the disk goes on in the backing file, and the image is empty
  std::string data_file = {};  // external; empty: none
  std::vector<std::string> snapshots = {};
  std::vector<std::vector<std::byte>> snapshot_contents = {};
  std::vector<std::string> backing_snapshots = {};  // of the backing file
  std::vector<std::vector<std::byte>> backing_snapshot_contents = {};
};

// "image.qcow2" in the folder, with its backing file if it has one. `oracle` is set to what is on
// the disk. `may_commit`: it can be committed to its backing file.
Qcow2Image make_random_image(const WorkFolder& folder, std::mt19937_64& random,
                             std::optional<BlockOracle>& oracle, bool may_commit);

// The corruptions that Sluice's own check finds in an image, in its words; empty: none.
std::string corruptions_of(const std::vector<std::byte>& image);

// The contents of a snapshot; nullopt: it is not there.
std::optional<std::vector<std::byte>> read_snapshot(const WorkFolder& folder,
                                                    const std::string& image,
                                                    const std::string& name);

// Examines image `name` in the folder, and its backing file, with qemu-img: no corruption (nor
// leaks, if not `may_leak`), unchanged snapshots, and an image that shows the same disk if this
// goes on below it. Returns the contents of the disk; empty, and a failed test, if not.
std::vector<std::byte> examine_image(const WorkFolder& folder, const std::string& name,
                                     const Qcow2Image& image, bool may_leak);

}  // namespace sluice::test
