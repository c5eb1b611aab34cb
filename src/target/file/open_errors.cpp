#include "target/file/open_errors.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/descriptor.hpp"
#include "core/file_id.hpp"
#include "core/holders.hpp"
#include "spec/shown.hpp"

namespace sluice {
namespace {

std::string not_permitted(const std::string& path, bool for_writing);
bool can_be_read(const std::string& path);
std::string claimed_by(const std::string& path);

}  // namespace

std::unexpected<Error> cannot_find(const std::string& path, int error) {
  const std::string name = shown(path);
  if (error == ENOENT) {
    if (path.starts_with("/dev/fd/")) {
      return fail(error, fmt::format("{} is not open: have the shell open the file for sluice, as "
                                     "in 9<>FILE",
                                     name));
    }
    const std::string directory = std::filesystem::path(path).parent_path();
    struct stat status{};
    if (!directory.empty() && stat(directory.c_str(), &status) != 0) {
      return fail(error, fmt::format("{} does not exist, and neither does its directory: check the"
                                     " path",
                                     name));
    }
    return fail(error, fmt::format("{} does not exist: create it with truncate -s SIZE {}", name,
                                   shell_word(path)));
  }
  if (error == EACCES) {
    return fail(error, fmt::format("no permission to look up {} as user {}: check the mode of the"
                                   " directories on the way",
                                   name, geteuid()));
  }
  return fail(error, fmt::format("cannot find {}: {}", name, std::strerror(error)));
}

std::unexpected<Error> is_no_backing_file(const std::string& path, mode_t mode) {
  const char* kind = "neither a regular file nor a block device";
  if (S_ISDIR(mode)) kind = "a directory";
  if (S_ISFIFO(mode)) kind = "a fifo";
  if (S_ISSOCK(mode)) kind = "a socket";
  if (S_ISCHR(mode)) kind = "a character device";
  return fail(S_ISDIR(mode) ? EISDIR : EINVAL,
              fmt::format("{} is {}: give a regular file or a block device", shown(path), kind));
}

std::unexpected<Error> cannot_open(const std::string& path, int error, int flags,
                                   bool block_device) {
  const std::string name = shown(path);
  const bool for_writing = (flags & O_ACCMODE) != O_RDONLY;
  switch (error) {
    case EROFS:
      return fail(error, fmt::format("{} {}: give the option read_only", name,
                                     block_device ? "is a read-only block device"
                                                  : "is on a read-only file system"));
    case EACCES:
    case EPERM:
      return fail(error, not_permitted(path, for_writing));
    case EBUSY:
      return fail(error,
                  fmt::format("{} is in use ({}): release it first, or give the option read_only",
                              name, claimed_by(path)));
    case ETXTBSY:
      return fail(error, fmt::format("{} is a running program, or swap space: stop that first{}",
                                     name, for_writing ? ", or give the option read_only" : ""));
    default:
      return fail(error, fmt::format("cannot open {} for {}: {}", name,
                                     for_writing ? "writing" : "reading", std::strerror(error)));
  }
}

namespace {

std::string not_permitted(const std::string& path, bool for_writing) {
  const std::string what = fmt::format("no permission to open {} for {} as user {}", shown(path),
                                       for_writing ? "writing" : "reading", geteuid());
  if (for_writing && can_be_read(path)) {
    return fmt::format("{}: it can be read, so give the option read_only, or change its mode",
                       what);
  }
  return fmt::format("{}: change its mode or owner", what);
}

// Claims of file systems, swap and other devices are visible, those of programs only by a search.
std::string claimed_by(const std::string& path) {
  const auto id = identify(path);
  if (!id || !id->is_block_device()) return "claimed by another program";
  const Holders claims = find_claims(id->number);
  if (!claims.none()) return claims.text();
  const auto all = find_holders(id->number, {});
  return all && !all->none() ? all->text() : "mounted, or claimed by another program";
}

bool can_be_read(const std::string& path) {
  return Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)).valid();
}

}  // namespace
}  // namespace sluice
