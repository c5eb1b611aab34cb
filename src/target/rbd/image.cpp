#include "target/rbd/image.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "spec/shown.hpp"
#include "target/rbd/memory_file.hpp"

namespace sluice::rbd {
namespace {

using namespace std::chrono_literals;

// While an image is opened and closed: these are several requests, one after the other.
constexpr std::chrono::seconds kOpeningTimeout = 8s;
constexpr std::chrono::seconds kClosingTimeout = 3s;
constexpr uint64_t kObjectBytesMin = 4096;
constexpr uint64_t kObjectBytesMax = uint64_t{1} << 30;
constexpr size_t kIdBytes = 128;

std::string seconds_text(std::chrono::seconds time) { return std::to_string(time.count()); }

bool is_empty(int file) {
  struct stat status{};
  return fstat(file, &status) != 0 || status.st_size == 0;
}

struct FoundExtents {
  Extents& found;
  uint64_t begin;
  bool is_full = false;

  void add_hole_up_to(uint64_t offset) {
    const uint64_t here = begin + found.covered_bytes();
    if (offset > here && !found.add(offset - here, kHoleExtent)) is_full = true;
  }
};

// Ends the iteration where the list ends.
int add_extent(uint64_t offset, size_t length, int exists, void* argument) {
  auto& all = *static_cast<FoundExtents*>(argument);
  all.add_hole_up_to(offset);
  if (!all.is_full && !all.found.add(length, exists != 0 ? kDataExtent : kHoleExtent)) {
    all.is_full = true;
  }
  return all.is_full ? -ECANCELED : 0;
}

}  // namespace

Result<std::unique_ptr<Image>> Image::open(const Library& library, const Options& options,
                                           Files files, Access access) {
  std::unique_ptr<Image> image(new Image(library));
  auto opened = image->connect(options, files);
  if (opened) opened = image->open_image(options, access);
  if (opened) opened = image->look(options);
  if (opened && access == Access::exclusive) opened = image->lock(options);
  if (!opened) return std::unexpected(opened.error());
  image->set_timeout(options.timeout);
  return image;
}

void Image::set(const char* option, const std::string& value) {
  // One that this version does not have is none that it needs.
  [[maybe_unused]] const int result = library_.rados_conf_set(cluster_, option, value.c_str());
}

void Image::set_timeout(std::chrono::seconds timeout) {
  set("rados_osd_op_timeout", seconds_text(timeout));
  set("rados_mon_op_timeout", seconds_text(timeout));
}

Result<void> Image::connect(const Options& options, Files files) {
  if (const int made = library_.rados_create(&cluster_, options.id.c_str()); made < 0) {
    cluster_ = nullptr;
    return fail(-made, fmt::format("rbd: librados cannot begin: {}", std::strerror(-made)));
  }
  if (const int read = library_.rados_conf_read_file(cluster_, path_of(files.conf).c_str());
      read < 0) {
    return fail(EINVAL, fmt::format("rbd: {} is no configuration of Ceph: {}", shown(options.conf),
                                    std::strerror(-read)));
  }
  if (!is_empty(files.keyring)) set("keyring", path_of(files.keyring));
  const std::chrono::seconds limit = std::min(options.timeout, kOpeningTimeout);
  set("client_mount_timeout", seconds_text(limit));
  set_timeout(limit);
  set("rbd_cache", "false");  // a write is answered when it is durable; see docs/RBD.md
  set("rbd_non_blocking_aio", "true");
  if (const int connected = library_.rados_connect(cluster_); connected < 0) {
    if (connected == -ETIMEDOUT) {
      return fail(ETIMEDOUT, fmt::format("rbd: no monitor of the cluster in {} answers within {} s",
                                         shown(options.conf), limit.count()));
    }
    return fail(-connected,
                fmt::format("rbd: cannot connect to the cluster in {} as client.{}: {}: check the "
                            "monitors there, and the keyring",
                            shown(options.conf), options.id, std::strerror(-connected)));
  }
  const int found = library_.rados_ioctx_create(cluster_, options.name.pool.c_str(), &pool_);
  if (found < 0) {
    pool_ = nullptr;
    return fail(-found,
                found == -ENOENT
                    ? fmt::format("rbd: the cluster has no pool {}", shown(options.name.pool))
                    : fmt::format("rbd: cannot use the pool {}: {}", shown(options.name.pool),
                                  std::strerror(-found)));
  }
  library_.rados_ioctx_set_namespace(pool_, options.name.name_space.c_str());
  return {};
}

Result<void> Image::open_image(const Options& options, Access access) {
  const ImageName& name = options.name;
  const char* const snapshot = name.snapshot.empty() ? nullptr : name.snapshot.c_str();
  const auto open = access == Access::read ? library_.rbd_open_read_only : library_.rbd_open;
  const int opened = open(pool_, name.image.c_str(), &image_, snapshot);
  if (opened == 0) return {};
  image_ = nullptr;
  std::string why = std::strerror(-opened);
  if (opened == -ENOENT) {
    why = snapshot == nullptr ? "there is no such image" : "there is no such image or snapshot";
  } else if (opened == -ETIMEDOUT) {
    why = fmt::format("the cluster does not answer within {} s: are its OSDs up?",
                      std::min(options.timeout, kOpeningTimeout).count());
  } else if (opened == -ESHUTDOWN) {
    why = "the cluster has blocklisted this client";
  }
  return fail(-opened, fmt::format("rbd: cannot open {}: {}", shown(name.text()), why));
}

Result<void> Image::look(const Options& options) {
  const auto check = [&](int result) -> Result<void> {
    if (result >= 0) return {};
    return fail(-result, fmt::format("rbd: cannot look at {}: {}", shown(options.name.text()),
                                     std::strerror(-result)));
  };
  rbd_image_info_t info{};
  uint64_t features = 0;
  std::array<char, kIdBytes> id{};
  auto looked = check(library_.rbd_stat(image_, &info, sizeof(info)));
  if (looked) looked = check(library_.rbd_get_features(image_, &features));
  // Images of the first format have none.
  if (looked && library_.rbd_get_id(image_, id.data(), id.size()) < 0) id[0] = '\0';
  if (!looked) return looked;
  if (!std::has_single_bit(info.obj_size) || info.obj_size < kObjectBytesMin ||
      info.obj_size > kObjectBytesMax) {
    return fail(EINVAL, fmt::format("rbd: {} has objects of {} bytes, which no image has",
                                    shown(options.name.text()), info.obj_size));
  }
  facts_ = {.id = id.data(),
            .size_bytes = info.size,
            .object_bytes = info.obj_size,
            .has_object_map = (features & RBD_FEATURE_FAST_DIFF) != 0};
  if (!options.exclusive || (features & RBD_FEATURE_EXCLUSIVE_LOCK) != 0 || options.read_only ||
      !options.name.snapshot.empty()) {
    return {};
  }
  return fail(EINVAL, fmt::format("rbd: {} has no feature exclusive-lock, so that nothing keeps "
                                  "other writers away: enable it ('rbd feature enable'), or give "
                                  "exclusive=no",
                                  shown(options.name.text())));
}

// Never breaks a lock; the library takes over that of a client that is gone.
Result<void> Image::lock(const Options& options) {
  const int locked = library_.rbd_lock_acquire(image_, RBD_LOCK_MODE_EXCLUSIVE);
  if (locked == 0) return {};
  const std::string whose = owner();
  return fail(EBUSY, fmt::format("rbd: cannot lock {}: {}{}", shown(options.name.text()),
                                 locked == -EROFS ? "another client keeps its lock"
                                                  : std::strerror(-locked),
                                 whose.empty() ? "" : ": " + whose));
}

std::string Image::owner() const {
  rbd_lock_mode_t mode{};
  std::array<char*, 4> names{};
  size_t count = names.size();
  if (library_.rbd_lock_get_owners(image_, &mode, names.data(), &count) < 0 || count == 0)
    return {};
  std::string first = printable(names[0], 100);
  library_.rbd_lock_get_owners_cleanup(names.data(), count);
  return first;
}

Image::~Image() {
  end_watch();
  if (cluster_ != nullptr) set_timeout(kClosingTimeout);
  if (image_ != nullptr) library_.rbd_close(image_);
  if (pool_ != nullptr) library_.rados_ioctx_destroy(pool_);
  if (cluster_ != nullptr) library_.rados_shutdown(cluster_);
}

Result<void> Image::watch(void (*notice)(void*), void* argument) {
  const int watched = library_.rbd_update_watch(image_, &watch_, notice, argument);
  if (watched < 0)
    return fail(-watched, fmt::format("rbd: cannot watch the image: {}", std::strerror(-watched)));
  is_watched_ = true;
  return {};
}

void Image::end_watch() {
  if (std::exchange(is_watched_, false)) library_.rbd_update_unwatch(image_, watch_);
}

Result<uint64_t> Image::size() {
  uint64_t bytes = 0;
  const int got = library_.rbd_get_size(image_, &bytes);
  if (got < 0) return fail(-got, std::strerror(-got));
  return bytes;
}

Result<bool> Image::has_lock() {
  int is_owner = 0;
  const int got = library_.rbd_is_exclusive_lock_owner(image_, &is_owner);
  if (got < 0) return fail(-got, std::strerror(-got));
  return is_owner != 0;
}

Result<void> Image::grow(uint64_t bytes) {
  const auto ignore_progress = [](uint64_t, uint64_t, void*) { return 0; };
  const int grown = library_.rbd_resize2(image_, bytes, false, ignore_progress, nullptr);
  if (grown < 0)
    return fail(-grown, fmt::format("rbd: the image cannot grow: {}", std::strerror(-grown)));
  return {};
}

Status Image::find_extents(uint64_t offset, uint64_t length, Extents& found) {
  FoundExtents all{.found = found, .begin = offset};
  const int result = library_.rbd_diff_iterate2(image_, nullptr, offset, length, 1,
                                                facts_.has_object_map ? 1 : 0, add_extent, &all);
  if (result < 0 && !all.is_full) return Status::from_errno(-result);
  if (!all.is_full) all.add_hole_up_to(offset + length);
  return kOk;
}

}  // namespace sluice::rbd
