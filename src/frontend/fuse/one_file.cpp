#include "frontend/fuse/one_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace sluice::fuse {
namespace {

constexpr uint64_t kNameValidSeconds = 3600;  // names never change; attributes are never cached
constexpr uint32_t kNameBytesMax = 255;

constexpr Answer refuse(int error) { return {.error = error}; }

template <typename T>
Answer give(std::span<std::byte> out, const T& value) {
  static_assert(sizeof(T) <= OneFile::kAnswerBytesMax);
  std::memcpy(out.data(), &value, sizeof(T));
  return {.length = sizeof(T)};
}

timespec now() {
  timespec time{};
  clock_gettime(CLOCK_REALTIME, &time);
  return time;
}

abi::StatxTime to_statx(uint64_t seconds, uint32_t nanoseconds) {
  return {.seconds = static_cast<int64_t>(seconds), .nanoseconds = nanoseconds, .reserved = 0};
}

// Adds an entry if there is room for it.
bool add_entry(std::span<std::byte> out, uint32_t& length, std::string_view name, uint64_t node,
               uint32_t type, uint64_t next) {
  const size_t bytes = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name.size());
  if (bytes > out.size() - length) return false;
  std::byte* const place = out.data() + length;
  std::memset(place, 0, bytes);
  const fuse_dirent entry{
      .ino = node, .off = next, .namelen = static_cast<uint32_t>(name.size()), .type = type};
  std::memcpy(place, &entry, FUSE_NAME_OFFSET);
  std::memcpy(place + FUSE_NAME_OFFSET, name.data(), name.size());
  length += static_cast<uint32_t>(bytes);
  return true;
}

}  // namespace

OneFile::OneFile(const Shape& shape)
    : in_directory_(shape.in_directory),
      read_only_(shape.read_only),
      block_bytes_(shape.block_bytes),
      size_bytes_(shape.size_bytes),
      attributes_{.permissions = shape.permissions & 07777, .uid = shape.uid, .gid = shape.gid} {
  attributes_.accessed = attributes_.modified = attributes_.changed = now();
}

OneFile::Attributes OneFile::attributes() {
  const std::scoped_lock guard(mutex_);
  note_times();
  return attributes_;
}

void OneFile::restore(const Attributes& attributes) {
  const std::scoped_lock guard(mutex_);
  attributes_ = attributes;
}

void OneFile::use_passthrough(int32_t backing_id, int descriptor) {
  open_flags_ = abi::kOpenPassthrough;
  backing_id_ = backing_id;
  seek_descriptor_ = descriptor;
}

Answer OneFile::answer(const Call& call, std::span<std::byte> out) {
  const uint64_t node = call.header.nodeid;
  switch (call.header.opcode) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:  // the nodes stay as long as the file system
    case FUSE_INTERRUPT:     // requests in flight finish normally
    case FUSE_NOTIFY_REPLY:
      return {.expected = false};
    case FUSE_DESTROY:
      return {};
    case FUSE_STATFS:
      return describe_file_system(out);
    default:
      return exists(node) ? answer_about_file(call, out) : refuse(ENOENT);
  }
}

// After ENOSYS the kernel does not send these again: ACCESS (it checks the mode itself), POLL
// (always ready), COPY_FILE_RANGE (it uses reads and writes), locks, extended attributes.
Answer OneFile::answer_about_file(const Call& call, std::span<std::byte> out) {
  const uint64_t node = call.header.nodeid;
  switch (call.header.opcode) {
    case FUSE_LOOKUP:
      return look_up(call, out);
    case FUSE_GETATTR:
      return get_attributes(node, out);
    case FUSE_SETATTR:
      return set_attributes(call, out);
    case abi::kStatx:
      return extended_attributes(node, out);
    case FUSE_OPEN:
      return open(call, out);
    case FUSE_OPENDIR:
      return open_directory(node, out);
    case FUSE_READDIR:
      return read_directory(call, out);
    case FUSE_LSEEK:
      return seek(call, out);
    case FUSE_FLUSH:  // a close guarantees nothing; FSYNC does
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
      return {};
    case FUSE_IOCTL:
      return refuse(ENOTTY);
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_CREATE:
    case FUSE_SYMLINK:
    case FUSE_LINK:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
    case FUSE_RENAME:
    case FUSE_RENAME2:
      return refuse(EPERM);
    default:
      return refuse(ENOSYS);
  }
}

Answer OneFile::look_up(const Call& call, std::span<std::byte> out) {
  if (!is_directory(call.header.nodeid)) return refuse(ENOTDIR);
  if (call.name() != kName) return refuse(ENOENT);
  fuse_entry_out entry{};
  entry.nodeid = file_node();
  entry.entry_valid = kNameValidSeconds;
  entry.attr = attributes_of(file_node());
  return give(out, entry);
}

Answer OneFile::get_attributes(uint64_t node, std::span<std::byte> out) {
  fuse_attr_out reply{};
  reply.attr = attributes_of(node);
  return give(out, reply);
}

Answer OneFile::set_attributes(const Call& call, std::span<std::byte> out) {
  const auto argument = call.argument<fuse_setattr_in>();
  if (!argument) return refuse(EINVAL);
  const uint64_t node = call.header.nodeid;
  // The size of the stack is fixed, as for a block device, but this reports an error.
  if ((argument->valid & FATTR_SIZE) != 0 && (!is_file(node) || argument->size != size_bytes())) {
    return refuse(EPERM);
  }
  {
    const std::scoped_lock guard(mutex_);
    const timespec time = now();
    if ((argument->valid & FATTR_MODE) != 0) attributes_.permissions = argument->mode & 07777;
    if ((argument->valid & FATTR_UID) != 0) attributes_.uid = argument->uid;
    if ((argument->valid & FATTR_GID) != 0) attributes_.gid = argument->gid;
    if ((argument->valid & FATTR_ATIME) != 0) {
      attributes_.accessed = {.tv_sec = static_cast<time_t>(argument->atime),
                              .tv_nsec = argument->atimensec};
    }
    if ((argument->valid & FATTR_MTIME) != 0) {
      written_.store(false, std::memory_order_relaxed);
      attributes_.modified = {.tv_sec = static_cast<time_t>(argument->mtime),
                              .tv_nsec = argument->mtimensec};
    }
    if ((argument->valid & FATTR_ATIME_NOW) != 0) attributes_.accessed = time;
    if ((argument->valid & FATTR_MTIME_NOW) != 0) attributes_.modified = time;
    attributes_.changed = time;
  }
  return get_attributes(node, out);
}

Answer OneFile::extended_attributes(uint64_t node, std::span<std::byte> out) {
  const fuse_attr known = attributes_of(node);
  abi::StatxOut reply{};
  reply.mask = STATX_BASIC_STATS;
  reply.block_bytes = known.blksize;
  reply.links = known.nlink;
  reply.uid = known.uid;
  reply.gid = known.gid;
  reply.mode = static_cast<uint16_t>(known.mode);
  reply.inode = known.ino;
  reply.size = known.size;
  reply.blocks = known.blocks;
  reply.accessed = to_statx(known.atime, known.atimensec);
  reply.changed = to_statx(known.ctime, known.ctimensec);
  reply.modified = to_statx(known.mtime, known.mtimensec);
  return give(out, reply);
}

Answer OneFile::open(const Call& call, std::span<std::byte> out) {
  const auto argument = call.argument<fuse_open_in>();
  if (!argument) return refuse(EINVAL);
  if (!is_file(call.header.nodeid)) return refuse(EISDIR);
  if (read_only_ && (argument->flags & O_ACCMODE) != O_RDONLY) return refuse(EROFS);
  const uint32_t more = (argument->flags & O_DIRECT) != 0 ? direct_open_flags_ : 0;
  return give(
      out,
      abi::OpenOut{.file_handle = 0, .open_flags = open_flags_ | more, .backing_id = backing_id_});
}

Answer OneFile::open_directory(uint64_t node, std::span<std::byte> out) const {
  if (!is_directory(node)) return refuse(ENOTDIR);
  return give(out, abi::OpenOut{});
}

Answer OneFile::read_directory(const Call& call, std::span<std::byte> out) const {
  const auto argument = call.argument<fuse_read_in>();
  if (!argument) return refuse(EINVAL);
  if (!is_directory(call.header.nodeid)) return refuse(ENOTDIR);
  const std::span<std::byte> room = out.first(std::min<size_t>(out.size(), argument->size));
  constexpr std::string_view kNames[] = {".", "..", kName};
  uint32_t length = 0;
  for (uint64_t i = argument->offset; i < std::size(kNames); ++i) {
    const bool file = i == 2;
    if (!add_entry(room, length, kNames[i], file ? file_node() : FUSE_ROOT_ID,
                   (file ? S_IFREG : S_IFDIR) >> 12, i + 1)) {
      break;
    }
  }
  return {.length = length};
}

// With passthrough the backing file has the holes. Otherwise a changed mapped page may not have
// reached the server yet, so that reporting a hole would be wrong: all is data (ENOSYS).
Answer OneFile::seek(const Call& call, std::span<std::byte> out) const {
  const auto argument = call.argument<fuse_lseek_in>();
  if (!argument) return refuse(EINVAL);
  if (seek_descriptor_ < 0) return refuse(ENOSYS);
  const off_t found = lseek(seek_descriptor_, static_cast<off_t>(argument->offset),
                            static_cast<int>(argument->whence));
  if (found < 0) return refuse(errno);
  return give(out, fuse_lseek_out{.offset = static_cast<uint64_t>(found)});
}

Answer OneFile::describe_file_system(std::span<std::byte> out) const {
  fuse_statfs_out reply{};
  reply.st.bsize = block_bytes_;
  reply.st.frsize = block_bytes_;
  reply.st.blocks = (size_bytes() + block_bytes_ - 1) / block_bytes_;
  reply.st.files = in_directory_ ? 2 : 1;
  reply.st.namelen = kNameBytesMax;
  return give(out, reply);
}

// With mutex_ held.
void OneFile::note_times() {
  if (!written_.exchange(false, std::memory_order_relaxed)) return;
  attributes_.modified = attributes_.changed = now();
}

fuse_attr OneFile::attributes_of(uint64_t node) {
  const std::scoped_lock guard(mutex_);
  note_times();
  fuse_attr attributes{};
  attributes.ino = node;
  attributes.nlink = 1;
  attributes.mode = S_IFREG | attributes_.permissions;
  if (is_directory(node)) {
    attributes.nlink = 2;
    // Users who may read the file may list it.
    attributes.mode = S_IFDIR | attributes_.permissions | ((attributes_.permissions & 0444) >> 2);
  } else {
    attributes.size = size_bytes();
    attributes.blocks = (size_bytes() + 511) / 512;
  }
  attributes.blksize = block_bytes_;
  attributes.uid = attributes_.uid;
  attributes.gid = attributes_.gid;
  attributes.atime = static_cast<uint64_t>(attributes_.accessed.tv_sec);
  attributes.atimensec = static_cast<uint32_t>(attributes_.accessed.tv_nsec);
  attributes.mtime = static_cast<uint64_t>(attributes_.modified.tv_sec);
  attributes.mtimensec = static_cast<uint32_t>(attributes_.modified.tv_nsec);
  attributes.ctime = static_cast<uint64_t>(attributes_.changed.tv_sec);
  attributes.ctimensec = static_cast<uint32_t>(attributes_.changed.tv_nsec);
  return attributes;
}

}  // namespace sluice::fuse
