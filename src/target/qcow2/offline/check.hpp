// Checks an image that no program writes: follows all its tables, counts the references to each
// host cluster, and compares them with the refcounts.
//
// Only reads; control path. The time and memory it takes depend on the size of the file and of its
// tables, not on what the header promises: each table is read once, however many refer to it.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "target/qcow2/header.hpp"
#include "target/qcow2/offline/reference_map.hpp"

namespace sluice::qcow2 {

// The figures of `qemu-img check`.
struct CheckResult {
  static constexpr size_t kSentencesMax = 100;

  uint64_t corruptions = 0;   // errors in the image: data may be lost when it is written to
  uint64_t leaks = 0;         // clusters that nobody uses and nobody may use; harmless
  uint64_t check_errors = 0;  // parts of the image that could not be read
  uint64_t corruptions_fixed = 0;
  uint64_t leaks_fixed = 0;
  // Of the disk as it is now, in clusters.
  uint64_t total_clusters = 0;
  uint64_t allocated_clusters = 0;
  uint64_t fragmented_clusters = 0;
  uint64_t compressed_clusters = 0;
  uint64_t image_end_offset = 0;  // in bytes: behind it is nothing that is used

  std::vector<std::string> sentences = {};  // the first kSentencesMax of the faults
  uint64_t more_sentences = 0;              // how many were left out

  bool clean() const { return corruptions == 0 && leaks == 0 && check_errors == 0; }
  void say(std::string sentence);
};

// How often the L2 table at an offset is used.
struct L2Use {
  uint64_t active = 0;
  uint64_t snapshots = 0;
};

// All that a check finds; for the repair.
struct Check {
  static constexpr size_t kBeyondMax = size_t{1} << 20;  // with more, `complete` is false

  Check(const Header& image_header, uint64_t image_file_bytes)
      : header(image_header),
        file_bytes(image_file_bytes),
        references(image_header, image_file_bytes) {}

  Header header;
  uint64_t file_bytes;
  CheckResult result = {};
  ReferenceMap references;
  std::vector<uint64_t> active_l1 = {};      // the entries of the active L1 table
  std::map<uint64_t, L2Use> l2_tables = {};  // by their offsets: those that can be read
  // The refcount blocks that can be used, by their place in the refcount table.
  std::map<uint64_t, uint64_t> refcount_blocks = {};
  std::vector<uint64_t> counted_blocks = {};  // the offsets of those that `references` counts
  // Clusters beyond the end of the file that entries refer to: a longer file would have them.
  std::set<uint64_t> beyond = {};
  bool complete = true;  // every table was found and read: there are no other references
  bool rebuild = false;  // the refcounts cannot be corrected where they are

  void corrupt(uint64_t times, std::string sentence);
  // A part of the image cannot be read.
  void unread(const Error& error);
};

// Fails only if the header cannot be read or used.
Result<Check> check_image(int descriptor);

}  // namespace sluice::qcow2
