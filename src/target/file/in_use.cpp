#include "target/file/in_use.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <optional>
#include <vector>

#include "core/block_devices.hpp"
#include "core/bounded_look.hpp"
#include "core/descriptor.hpp"
#include "core/kernel_files.hpp"
#include "core/log.hpp"
#include "spec/shown.hpp"
#include "target/file/file_lock.hpp"

namespace sluice {
namespace {

constexpr size_t kLayersMax = 64;

// The file to attach, or a device or file below it.
struct Layer {
  FileId id;
  std::string path;  // through which this process can reach it; empty: not needed
  std::string name;
  std::string user;  // its known user: the layer above
};

class Search {
 public:
  Search(int descriptor, const std::string& path, bool for_writing)
      : descriptor_(descriptor), path_(path), for_writing_(for_writing) {}

  Result<void> run(const FileId& id);

 private:
  Result<void> check(const Layer& layer);
  Result<void> check_kernel(const Layer& layer);
  Result<void> check_locks(const Layer& layer);
  Result<void> go_below(const Layer& layer);
  void add(Layer layer);
  bool is_first(const Layer& layer) const { return &layer == layers_.data(); }
  std::string what(const Layer& layer) const;
  std::unexpected<Error> refuse(const Layer& layer, const KernelFile& user, bool certain) const;

  const int descriptor_;
  const std::string& path_;
  const bool for_writing_;
  std::vector<KernelFile> kernel_files_;
  std::vector<Layer> layers_;
};

// True if another process has the file open, determined by a lease; nullopt if the file system does
// not support leases. A process that opens the file at this moment waits until the lease is
// released; the kernel notifies this process by a signal that it ignores.
std::optional<bool> others_have_open(int descriptor) {
  fcntl(descriptor, F_SETSIG, SIGURG);
  const bool alone = fcntl(descriptor, F_SETLEASE, F_WRLCK) == 0;
  const int error = errno;
  if (alone) fcntl(descriptor, F_SETLEASE, F_UNLCK);
  fcntl(descriptor, F_SETSIG, 0);
  if (alone) return false;
  return error == EAGAIN ? std::optional(true) : std::nullopt;
}

}  // namespace

Result<void> check_unused(int descriptor, const std::string& path, bool for_writing) {
  const auto id = identify(descriptor);
  if (!id) return {};
  return Search(descriptor, path, for_writing).run(*id);
}

namespace {

Result<void> Search::run(const FileId& id) {
  kernel_files_ = kernel_files();
  layers_.reserve(kLayersMax);
  layers_.push_back({.id = id, .path = {}, .name = path_, .user = {}});
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (auto checked = check(layers_[i]); !checked) return checked;
  }
  return {};
}

Result<void> Search::check(const Layer& layer) {
  if (auto checked = check_kernel(layer); !checked) return checked;
  if (layer.id.is_block_device()) return go_below(layer);
  return is_first(layer) ? Result<void>() : check_locks(layer);
}

Result<void> Search::check_kernel(const Layer& layer) {
  std::vector<KernelFile> candidates = kernel_files_;
  std::erase_if(candidates, [&](const KernelFile& file) {
    return file.user == layer.user || (!for_writing_ && !file.writes);
  });
  const auto files = find_kernel_files(layer.id, std::move(candidates));
  if (!files) return std::unexpected(files.error());
  if (!files->found.empty()) return refuse(layer, files->found.front(), /*certain=*/true);
  for (const KernelFile& file : files->unseen) {
    log().warn("cannot see whether {} is on {}: {} does not answer", file.user, shown(layer.name),
               shown(file.path));
  }
  const bool may_be_gone = is_first(layer) && for_writing_ && !files->gone.empty();
  if (may_be_gone && others_have_open(descriptor_).value_or(false)) {
    return refuse(layer, files->gone.front(), /*certain=*/false);
  }
  return {};
}

// Programs lock the file that they attach, but not the devices below it.
Result<void> Search::check_locks(const Layer& layer) {
  const auto looks = look_bounded(1, [&](size_t) {
    const Descriptor file(open(layer.path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    const auto found = file.valid() ? identify(file.number()) : std::nullopt;
    const bool locked =
        found && found->shares_data(layer.id) && others_have_locked(file.number(), for_writing_);
    return std::string(locked ? "locked" : "");
  });
  if (!looks) return std::unexpected(looks.error());
  const std::optional<std::string>& answer = looks->front();
  if (!answer) {
    log().warn("cannot see whether {} is in use: it does not answer", shown(layer.name));
  }
  if (!answer || answer->empty()) return {};
  return fail(EBUSY, fmt::format("{} is attached elsewhere, here or in a QEMU program: detach it "
                                 "there first, or use --force",
                                 what(layer)));
}

Result<void> Search::go_below(const Layer& layer) {
  const dev_t disk = disk_of(layer.id.number);
  std::vector<dev_t> parts = made_from(layer.id.number);
  if (disk != layer.id.number) std::ranges::copy(made_from(disk), std::back_inserter(parts));
  for (const dev_t part : parts) {
    add({.id = {.mode = S_IFBLK, .number = part},
         .path = {},
         .name = shown_device(part),
         .user = {}});
  }
  const std::string loop_device = "/dev/" + block_name(disk);
  const auto own = std::ranges::find(kernel_files_, loop_device, &KernelFile::user);
  if (own == kernel_files_.end()) return {};
  const auto reached = reach(*own);
  if (!reached) return std::unexpected(reached.error());
  if (!*reached) return {};
  add({.id = (*reached)->id, .path = (*reached)->path, .name = own->path, .user = loop_device});
  return {};
}

void Search::add(Layer layer) {
  if (layers_.size() < kLayersMax) layers_.push_back(std::move(layer));
}

// "'a.img'", or the relation of a lower device to 'a.img'.
std::string Search::what(const Layer& layer) const {
  if (is_first(layer)) return shown(path_);
  return fmt::format("{} is on {}, which", shown(path_), shown(layer.name));
}

std::unexpected<Error> Search::refuse(const Layer& layer, const KernelFile& user,
                                      bool certain) const {
  if (!certain) {
    return fail(EBUSY, fmt::format("{} is open elsewhere, perhaps in {}, whose file {} was removed "
                                   "but may have had other names: detach that first, or use "
                                   "--force",
                                   what(layer), user.user, shown(user.path)));
  }
  if (user.user == "swap") {
    return fail(EBUSY,
                fmt::format("{} is swap space: disable it first with swapoff, or use --force",
                            what(layer)));
  }
  return fail(EBUSY, fmt::format("{} is open for {} in {}: detach that first with losetup -d {}{}, "
                                 "or use --force",
                                 what(layer), user.writes ? "writing" : "reading", user.user,
                                 user.user, user.writes ? "" : ", give the option read_only"));
}

}  // namespace
}  // namespace sluice
