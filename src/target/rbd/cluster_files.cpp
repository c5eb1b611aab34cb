#include "target/rbd/cluster_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "spec/shown.hpp"
#include "target/rbd/memory_file.hpp"

namespace sluice::rbd {
namespace {

constexpr off_t kFileBytesMax = 1 << 20;

std::unexpected<Error> cannot_read(const std::string& path, int error) {
  return fail(error, fmt::format("rbd: cannot read {}: {}", shown(path), std::strerror(error)));
}

Result<Descriptor> copy_to_memory(const std::string& path) {
  const Descriptor from(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status{};
  if (!from.valid() || fstat(from.number(), &status) != 0) return cannot_read(path, errno);
  if (!S_ISREG(status.st_mode) || status.st_size > kFileBytesMax) {
    return fail(EINVAL, fmt::format("rbd: {} is no file of at most 1 MiB", shown(path)));
  }
  Descriptor copy(memfd_create("sluice-ceph", MFD_CLOEXEC));
  if (!copy.valid()) return cannot_read(path, errno);
  for (off_t left = status.st_size; left > 0;) {
    std::array<char, 4096> bytes;
    const ssize_t got = read(from.number(), bytes.data(), bytes.size());
    if (got < 0) return cannot_read(path, errno);
    if (got == 0) break;
    if (write(copy.number(), bytes.data(), static_cast<size_t>(got)) != got) {
      return cannot_read(path, ENOMEM);
    }
    left -= got;
  }
  return copy;
}

// The first of the configuration's files that exists; empty: none does.
Result<std::string> find_keyring(const Library& library, const Options& options,
                                 const Descriptor& conf) {
  rados_t cluster = nullptr;
  if (const int made = library.rados_create(&cluster, options.id.c_str()); made < 0) {
    return fail(-made, fmt::format("rbd: librados cannot begin: {}", std::strerror(-made)));
  }
  const std::unique_ptr<void, decltype(library.rados_shutdown)> end(cluster,
                                                                    library.rados_shutdown);
  if (const int read = library.rados_conf_read_file(cluster, path_of(conf).c_str()); read < 0) {
    return fail(EINVAL, fmt::format("rbd: {} is no configuration of Ceph: {}", shown(options.conf),
                                    std::strerror(-read)));
  }
  std::array<char, 4096> list{};
  if (library.rados_conf_get(cluster, "keyring", list.data(), list.size()) < 0) return {};
  constexpr std::string_view kDividers = ";,= \t";  // as Ceph splits it
  std::string_view rest(list.data());
  while (true) {
    rest.remove_prefix(std::min(rest.find_first_not_of(kDividers), rest.size()));
    if (rest.empty()) return {};
    std::string path(rest.substr(0, rest.find_first_of(kDividers)));
    rest.remove_prefix(path.size());
    struct stat status{};
    if (stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode)) return path;
  }
}

}  // namespace

Result<ClusterFiles> ClusterFiles::read(const Library& library, const Options& options) {
  ClusterFiles files;
  auto conf = copy_to_memory(options.conf);
  if (!conf) return std::unexpected(conf.error());
  files.conf = std::move(*conf);
  std::string path = options.keyring;
  if (path.empty()) {
    auto found = find_keyring(library, options, files.conf);
    if (!found) return std::unexpected(found.error());
    path = std::move(*found);
  }
  if (path.empty()) {
    files.keyring = Descriptor(memfd_create("sluice-ceph", MFD_CLOEXEC));
    if (!files.keyring.valid()) return cannot_read("a keyring", errno);
    return files;
  }
  auto keyring = copy_to_memory(path);
  if (!keyring) return std::unexpected(keyring.error());
  files.keyring = std::move(*keyring);
  return files;
}

}  // namespace sluice::rbd
