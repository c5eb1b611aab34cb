#include "cli/image/new_image.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cli/image/image_facts.hpp"
#include "core/file_id.hpp"
#include "spec/shown.hpp"
#include "target/qcow2/offline/create.hpp"
#include "target/qcow2/offline/image_io.hpp"

namespace sluice::cli {
namespace {

// The image takes the size of its backing file if it has none of its own.
Outcome<void> settle_backing(CreateRequest& request) {
  constexpr uint64_t kSector = 512;
  const std::string& name = request.options.backing_name;
  if (name.empty()) return {};
  const std::string path = backing_path(request.path, name);
  if (path.empty()) {
    return failed(
        fmt::format("{} is no file for QEMU, which takes what precedes the ':' for a "
                    "protocol: write {}",
                    shown(name), shell_word("./" + name)));
  }
  if (auto checked = check_other_file(request.path, path); !checked) return checked;
  const auto facts = read_image_facts(path, ImageAccess::read);
  if (!facts) return std::unexpected(facts.error());
  const bool is_raw = request.options.backing_format == "raw";
  if (!is_raw && !facts->qcow2) {
    return failed(
        fmt::format("{} is no qcow2 image, as -F says, but {}", shown(path), facts->file.format));
  }
  if (request.has_size) return {};
  const uint64_t size = is_raw ? facts->file.size_bytes : *facts->virtual_bytes;
  request.options.size_bytes = (size + kSector - 1) / kSector * kSector;
  return {};
}

Outcome<void> check_data_file(const CreateRequest& request) {
  const std::string& name = request.options.data_file_name;
  if (auto checked = check_other_file(request.path, name); !checked) return checked;
  if (request.options.backing_name.empty()) return {};
  return check_other_file(name, backing_path(request.path, request.options.backing_name));
}

}  // namespace

// --- NewFile

NewFile::~NewFile() {
  if (is_new_ && !is_kept_) unlink(file_.path.c_str());
}

Outcome<void> NewFile::open(const std::string& path, bool force) {
  constexpr mode_t kMode = 0644;
  file_.path = path;
  const int created = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kMode);
  const int error = created < 0 ? errno : 0;
  file_.descriptor = Descriptor(created);
  is_new_ = created >= 0;
  if (is_new_) return claim_image(file_);
  if (error != EEXIST) {
    return failed(fmt::format("cannot create {}: {}", shown(path), std::strerror(error)));
  }
  if (!force) {
    return failed(
        fmt::format("{} exists: choose another name, or replace it with --force", shown(path)));
  }
  auto present = open_image(path, ImageAccess::write);
  if (!present) return std::unexpected(present.error());
  file_ = std::move(*present);
  return {};
}

Outcome<void> NewFile::empty() {
  if (file_.is_block_device || ftruncate(descriptor(), 0) == 0) return {};
  return failed(fmt::format("cannot empty {}: {}", shown(file_.path), std::strerror(errno)));
}

// --- NewImage

Outcome<void> NewImage::make(CreateRequest& request) {
  if (auto settled = settle_backing(request); !settled) return settled;
  if (request.is_qcow2 || !request.any_size) {
    if (auto fit = qcow2::check_create_options(request.options); !fit) return failed(fit.error());
  }
  if (auto opened = open(request); !opened) return opened;
  return fill(request);
}

void NewImage::keep() {
  file_.keep();
  data_.keep();
}

void NewImage::release() {
  file_.release();
  data_.release();
}

Outcome<void> NewImage::open(const CreateRequest& request) {
  if (auto opened = file_.open(request.path, request.force); !opened) return opened;
  if (file_.is_block_device() &&
      (!request.is_qcow2 || request.options.preallocation != qcow2::Preallocation::off)) {
    return failed(
        fmt::format("{} is a block device: only a qcow2 image without preallocation can "
                    "be made on it",
                    shown(request.path)));
  }
  const std::string& name = request.options.data_file_name;
  if (name.empty()) return {};
  if (auto checked = check_data_file(request); !checked) return checked;
  return data_.open(name, request.force);
}

Outcome<void> NewImage::fill(const CreateRequest& request) {
  const auto& options = request.options;
  if (auto emptied = file_.empty(); !emptied) return emptied;
  if (!options.data_file_name.empty()) {
    if (auto emptied = data_.empty(); !emptied) return emptied;
  }
  Result<void> made;
  if (request.is_qcow2) {
    made = qcow2::create_image(file_.descriptor(), data_.descriptor(), options);
  } else {
    made = qcow2::preallocate(file_.descriptor(), 0, options.size_bytes, options.preallocation);
    if (made) made = qcow2::sync_image(file_.descriptor());
  }
  if (made) return {};
  return failed(fmt::format("{}: {}", shown(request.path), made.error().text));
}

Outcome<void> check_other_file(const std::string& path, const std::string& other) {
  const auto own = identify(path);
  const auto id = identify(other);
  if (!own || !id || !own->shares_data(*id)) return {};
  return failed(fmt::format("{} and {} are the same file", shown(path), shown(other)));
}

}  // namespace sluice::cli
