// OneFile: the metadata of the file system: one file with its attributes, which is the root itself
// or is named `disk` in a root directory.
//
// Owned by the export, used by the threads of all its queues. Never blocks, never uses the stack,
// and never accesses its own mount.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string_view>

#include "frontend/fuse/call.hpp"

namespace sluice::fuse {

class OneFile {
 public:
  static constexpr std::string_view kName = "disk";
  static constexpr size_t kAnswerBytesMax = 4096;

  struct Shape {
    bool in_directory = false;
    bool read_only = false;
    mode_t permissions = 0600;
    uid_t uid = 0;
    gid_t gid = 0;
    uint64_t size_bytes = 0;
    uint32_t block_bytes = 4096;  // preferred, for stat
  };

  // The attributes that chmod, chown and touch change.
  struct Attributes {
    mode_t permissions = 0600;
    uid_t uid = 0;
    gid_t gid = 0;
    timespec accessed{};
    timespec modified{};
    timespec changed{};
  };

  explicit OneFile(const Shape& shape);

  // For a handover: read by the old server; restored by the new one before the first request.
  Attributes attributes();
  void restore(const Attributes& attributes);

  // Selects how opened files are read and written; before the first request.
  void use_direct_io() { open_flags_ = FOPEN_DIRECT_IO | abi::kOpenParallelDirectWrites; }
  // In addition, for programs that open with O_DIRECT: see docs/FUSE.md.
  void lend_pages() { direct_open_flags_ = abi::kOpenZeroCopy; }
  // `descriptor`: of the backing file, to find its holes.
  void use_passthrough(int32_t backing_id, int descriptor);

  // Answers everything but READ, WRITE, FSYNC and FALLOCATE. `out` has at least kAnswerBytesMax
  // bytes, and may overlap the call.
  Answer answer(const Call& call, std::span<std::byte> out);

  bool is_file(uint64_t node) const { return node == file_node(); }
  bool read_only() const { return read_only_; }
  uint64_t size_bytes() const { return size_bytes_.load(std::memory_order_acquire); }
  void resize(uint64_t size_bytes) { size_bytes_.store(size_bytes, std::memory_order_release); }
  // The data has changed: updates the modification time.
  void note_write() { written_.store(true, std::memory_order_relaxed); }

 private:
  uint64_t file_node() const { return in_directory_ ? FUSE_ROOT_ID + 1 : FUSE_ROOT_ID; }
  bool is_directory(uint64_t node) const { return in_directory_ && node == FUSE_ROOT_ID; }
  bool exists(uint64_t node) const { return is_file(node) || is_directory(node); }

  Answer answer_about_file(const Call& call, std::span<std::byte> out);
  Answer look_up(const Call& call, std::span<std::byte> out);
  Answer get_attributes(uint64_t node, std::span<std::byte> out);
  Answer set_attributes(const Call& call, std::span<std::byte> out);
  Answer extended_attributes(uint64_t node, std::span<std::byte> out);
  Answer open(const Call& call, std::span<std::byte> out);
  Answer open_directory(uint64_t node, std::span<std::byte> out) const;
  Answer read_directory(const Call& call, std::span<std::byte> out) const;
  Answer seek(const Call& call, std::span<std::byte> out) const;
  Answer describe_file_system(std::span<std::byte> out) const;
  fuse_attr attributes_of(uint64_t node);
  void note_times();

  const bool in_directory_;
  const bool read_only_;
  const uint32_t block_bytes_;

  // Set before the first request.
  uint32_t open_flags_ = 0;
  uint32_t direct_open_flags_ = 0;  // additional, with O_DIRECT
  int32_t backing_id_ = 0;
  int seek_descriptor_ = -1;

  std::atomic<uint64_t> size_bytes_;
  std::atomic<bool> written_ = false;

  std::mutex mutex_;
  Attributes attributes_;  // guarded by mutex_
};

}  // namespace sluice::fuse
