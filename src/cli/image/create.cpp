// `sluice create`.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cli/command.hpp"
#include "cli/image/create_options.hpp"
#include "cli/image/image_facts.hpp"
#include "core/file_id.hpp"
#include "spec/shown.hpp"
#include "target/qcow2/offline/create.hpp"
#include "target/qcow2/offline/image_io.hpp"

namespace sluice::cli {
namespace {

// A file that the command makes, or replaces. Removed again unless the command succeeds, if it is
// new.
class NewFile {
 public:
  NewFile() = default;
  NewFile(NewFile&&) = delete;
  ~NewFile() {
    if (is_new_ && !is_kept_) unlink(file_.path.c_str());
  }

  // Changes nothing that exists.
  Outcome<void> open(const std::string& path, bool force);
  Outcome<void> empty();
  void keep() { is_kept_ = true; }
  int descriptor() const { return file_.descriptor.number(); }
  bool is_block_device() const { return file_.is_block_device; }

 private:
  ImageFile file_;
  bool is_new_ = false;
  bool is_kept_ = false;
};

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

// No file is overwritten by another one of the same command.
Outcome<void> check_other_file(const std::string& path, const std::string& other) {
  const auto own = identify(path);
  const auto id = identify(other);
  if (!own || !id || !own->shares_data(*id)) return {};
  return failed(fmt::format("{} and {} are the same file", shown(path), shown(other)));
}

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

Outcome<void> make_image(NewFile& file, NewFile& data, const CreateRequest& request) {
  const auto& options = request.options;
  if (auto emptied = file.empty(); !emptied) return emptied;
  if (!options.data_file_name.empty()) {
    if (auto emptied = data.empty(); !emptied) return emptied;
  }
  Result<void> made;
  if (request.is_qcow2) {
    made = qcow2::create_image(file.descriptor(), data.descriptor(), options);
  } else {
    made = qcow2::preallocate(file.descriptor(), 0, options.size_bytes, options.preallocation);
    if (made) made = qcow2::sync_image(file.descriptor());
  }
  if (made) return {};
  return failed(fmt::format("{}: {}", shown(request.path), made.error().text));
}

Outcome<void> create(const CommandLine& line, const Streams&) {
  auto request = read_create_request(line);
  if (!request) return std::unexpected(request.error());
  if (auto settled = settle_backing(*request); !settled) return settled;
  if (auto fit = qcow2::check_create_options(request->options); !fit) return failed(fit.error());
  NewFile file;
  if (auto opened = file.open(request->path, request->force); !opened) return opened;
  if (file.is_block_device() &&
      (!request->is_qcow2 || request->options.preallocation != qcow2::Preallocation::off)) {
    return failed(
        fmt::format("{} is a block device: only a qcow2 image without preallocation can "
                    "be made on it",
                    shown(request->path)));
  }
  NewFile data;
  if (const std::string& name = request->options.data_file_name; !name.empty()) {
    if (auto checked = check_data_file(*request); !checked) return checked;
    if (auto opened = data.open(name, request->force); !opened) return opened;
  }
  if (auto made = make_image(file, data, *request); !made) return made;
  file.keep();
  data.keep();
  return {};
}

}  // namespace

constinit const Command kCreateCommand = {
    .name = "create",
    .synopsis =
        "[-f raw] [-o preallocation=MODE] [--force] --size SIZE FILE\n"
        "-f qcow2 [-o NAME=VALUE,...] [-b FILE -F FORMAT] [--force] [--size SIZE] FILE",
    .summary = "Make an empty image file.",
    .declare = declare_create,
    .run = create,
    .has_state = false};

}  // namespace sluice::cli
