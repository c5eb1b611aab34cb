// Superblock: the root of an on-disk format, a small payload that is replaced as a whole.
//
// Two copies at fixed places of a child target are written alternately, each with the next
// generation number and a checksum. A write that is torn by a power cut leaves the other copy,
// which is one generation older; reading takes the newest valid one. The payload is opaque here.
// The layout is docs/formats/superblock.md.
//
// Part of a target, used by the coroutines of all its queues; writes are serialised. Requests go to
// the entry point of the child, which may be any target. Allocates only at creation.
#pragma once

#include <memory>
#include <string>

#include "core/buffer.hpp"
#include "ring/async_mutex.hpp"
#include "target/metadata/superblock_format.hpp"
#include "target/target.hpp"

namespace sluice {

class Superblock {
 public:
  // The child outlives it. EINVAL: copies that do not lie in whole blocks of the child, overlap or
  // have no room for a payload; ENOSPC: the child is too small.
  static Result<std::unique_ptr<Superblock>> create(Target& child, const SuperblockFormat& format);

  // Reads both copies and takes the newest valid one. Call once, before any function but format().
  // Errors: those of choose_superblock(); error() has the text.
  Task load(Request& request);

  // Replaces the payload durably. The caller first makes durable all that the payload refers to.
  // EMSGSIZE: longer than the format allows; EOVERFLOW: no generation is left; or the child's
  // error. After an error of the child the next load() may find either payload, until a later write
  // succeeds: do nothing that is valid for only one of them.
  Task write(Request& request, std::span<const std::byte> payload);

  // Writes the first payload of a new volume, in the newest version of the format, to both copies,
  // so that nothing of a former volume is left. If interrupted, it leaves the former volume or the
  // new one.
  Task format(Request& request, std::span<const std::byte> payload);

  // The payload that was loaded or written last. Not while a write is in progress.
  std::span<const std::byte> payload() const { return payload_.bytes().first(payload_bytes_); }
  uint64_t generation() const { return generation_; }
  uint32_t version() const { return version_; }

  // Why load() has failed.
  const Error& error() const { return error_; }
  // The fault of one copy that load() has found when it used the other, as one sentence for the
  // log: after a power cut, or on a failing disk. Empty: both were valid.
  const std::string& remark() const { return remark_; }

 private:
  Superblock(Target& child, const SuperblockFormat& format);
  Task read_copy(Request& request, size_t index);
  Status take(const std::array<SuperblockCopy, 2>& copies);
  Task write_locked(Request& request, std::span<const std::byte> payload);

  std::span<std::byte> copy(size_t index) const {
    return copies_.bytes().subspan(index * format_.copy_bytes, format_.copy_bytes);
  }

  Target& child_;
  const SuperblockFormat format_;
  AsyncMutex writing_;   // guards all members below
  const Buffer copies_;  // as read; writes are made in the first
  const Buffer payload_;
  size_t payload_bytes_ = 0;
  size_t next_ = 0;  // the place of the next write: never that of the newest copy
  uint64_t generation_ = 0;
  uint32_t version_ = 0;
  Error error_;
  std::string remark_;
};

}  // namespace sluice
