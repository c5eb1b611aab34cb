#include "daemon/state_directory.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <memory>

#include "daemon/process_life.hpp"
#include "daemon/state.hpp"
#include "spec/shown.hpp"

namespace sluice {
namespace {

constexpr mode_t kDirectoryMode = 0700;
constexpr mode_t kParentMode = 0755;
constexpr mode_t kFileMode = 0600;
constexpr mode_t kOthersWrite = S_IWGRP | S_IWOTH;
constexpr size_t kPathBytesMax = PATH_MAX - 128;  // sockets and logs are opened by path
// For names that others may have created: does not block on a FIFO, does not follow a link.
constexpr int kOpenFlags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

std::unexpected<Error> cannot_use(const std::string& path, int cause) {
  const bool denied = cause == EACCES || cause == EPERM;
  return fail(cause, fmt::format("cannot use the state directory {}: {}{}", shown(path),
                                 std::strerror(cause),
                                 denied ? " (use sudo, or set SLUICE_STATE_DIR to a directory of "
                                          "your own)"
                                        : ""));
}

bool is_trusted(uid_t owner) { return owner == 0 || owner == geteuid(); }

Result<void> check_directory(const std::string& path, int directory) {
  struct stat status{};
  if (fstat(directory, &status) != 0) return cannot_use(path, errno);
  if (!is_trusted(status.st_uid)) {
    return fail(EPERM, fmt::format("the state directory {} belongs to user {}: run sluice as that "
                                   "user, or set SLUICE_STATE_DIR to a directory of your own",
                                   shown(path), status.st_uid));
  }
  if ((status.st_mode & kOthersWrite) == 0) return {};
  return fail(EPERM,
              fmt::format("the state directory {} can be written by others (mode {:04o}), so its "
                          "files cannot be trusted: check them, then run chmod go-w on it",
                          shown(path), status.st_mode & 07777U));
}

// chmod, because mkdir() applies the umask.
bool make_one(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) != 0) return errno == EEXIST;
  return chmod(path.c_str(), mode) == 0 || errno == EPERM;  // EPERM: a file system without modes
}

Result<void> make_all(const std::string& path) {
  for (size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1)) {
    const std::string parent = path.substr(0, end);
    struct stat status{};
    if (stat(parent.c_str(), &status) == 0) continue;
    if (!make_one(parent, kParentMode)) return cannot_use(path, errno);
  }
  if (!make_one(path, kDirectoryMode)) return cannot_use(path, errno);
  return {};
}

// Why the file is not ours; empty: it is.
std::string objection(const struct stat& status) {
  if (!S_ISREG(status.st_mode)) return "it is not a regular file";
  if (!is_trusted(status.st_uid)) return fmt::format("it belongs to user {}", status.st_uid);
  if ((status.st_mode & kOthersWrite) != 0) {
    return fmt::format("others can write to it (mode {:04o})", status.st_mode & 07777U);
  }
  if (status.st_nlink > 1) return "it has other hard links";
  return {};
}

// The reason why a name could not be opened.
std::unexpected<Error> cannot_open(int cause) {
  if (cause == ELOOP) return fail(EBADMSG, "it is a symbolic link");
  if (cause == ENXIO || cause == EISDIR) return fail(EBADMSG, "it is not a regular file");
  return fail(cause, std::strerror(cause));
}

Result<void> write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(errno, std::strerror(errno));
    text.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

}  // namespace

Result<StateDirectory> StateDirectory::open() {
  std::string path = state_directory();
  if (path.size() > kPathBytesMax) return cannot_use(path, ENAMETOOLONG);
  Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return cannot_use(path, errno);
  if (auto checked = check_directory(path, directory.number()); !checked) {
    return std::unexpected(checked.error());
  }
  return StateDirectory(std::move(path), std::move(directory));
}

Result<StateDirectory> StateDirectory::make() {
  auto found = open();
  if (found || found.error().error != ENOENT) return found;
  if (auto made = make_all(state_directory()); !made) return std::unexpected(made.error());
  return open();
}

Result<Descriptor> StateDirectory::open_to_read(const std::string& name) const {
  Descriptor file(openat(descriptor(), name.c_str(), O_RDONLY | kOpenFlags));
  if (!file.valid()) return cannot_open(errno);
  struct stat status{};
  if (fstat(file.number(), &status) != 0) return cannot_open(errno);
  if (const std::string why = objection(status); !why.empty()) return fail(EBADMSG, why);
  return file;
}

Result<std::string> StateDirectory::read(const std::string& name, size_t bytes_max) const {
  const auto file = open_to_read(name);
  if (!file) return std::unexpected(file.error());
  std::string text;
  std::array<char, 16384> bytes;
  while (true) {
    const ssize_t count = ::read(file->number(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return cannot_open(errno);
    if (count == 0) return text;
    text.append(bytes.data(), static_cast<size_t>(count));
    if (text.size() > bytes_max) return fail(EBADMSG, "it is too large");
  }
}

Result<void> StateDirectory::write(const std::string& name, std::string_view text) const {
  const auto fresh = draft(name, text);
  return fresh ? publish(*fresh, name) : std::unexpected(fresh.error());
}

Result<std::string> StateDirectory::draft(const std::string& name, std::string_view text) const {
  const std::string fresh = fmt::format("{}.{}", name, mark_suffix());
  remove(fresh);
  const Descriptor file(
      openat(descriptor(), fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | kOpenFlags, kFileMode));
  if (!file.valid()) return fail(errno, std::strerror(errno));
  fchmod(file.number(), kFileMode);  // independent of the umask
  if (auto written = write_all(file.number(), text); !written) {
    remove(fresh);
    return std::unexpected(written.error());
  }
  return fresh;
}

Result<void> StateDirectory::publish(const std::string& draft, const std::string& name) const {
  if (renameat(descriptor(), draft.c_str(), descriptor(), name.c_str()) == 0) return {};
  const int cause = errno;
  remove(draft);
  return fail(cause, std::strerror(cause));
}

Result<Descriptor> StateDirectory::open_file(const std::string& name) const {
  Descriptor file(openat(descriptor(), name.c_str(), O_RDWR | O_CREAT | kOpenFlags, kFileMode));
  if (!file.valid()) return cannot_open(errno);
  struct stat status{};
  if (fstat(file.number(), &status) != 0) return cannot_open(errno);
  if (const std::string why = objection(status); !why.empty()) return fail(EBADMSG, why);
  fchmod(file.number(), kFileMode);  // independent of the umask
  return file;
}

bool StateDirectory::remove(const std::string& name) const {
  for (const int flags : {0, AT_REMOVEDIR}) {
    if (unlinkat(descriptor(), name.c_str(), flags) == 0 || errno == ENOENT) return true;
    if (errno != EISDIR) return false;
  }
  return false;
}

std::vector<std::string> StateDirectory::names() const {
  Descriptor again(openat(descriptor(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(
      again.valid() ? fdopendir(again.number()) : nullptr, closedir);
  if (!entries) return {};
  again.release();
  std::vector<std::string> names;
  while (const dirent* const entry = readdir(entries.get())) names.emplace_back(entry->d_name);
  return names;
}

bool StateDirectory::contains(const std::string& name) const {
  struct stat status{};
  return fstatat(descriptor(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
}

}  // namespace sluice
