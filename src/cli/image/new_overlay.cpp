#include "cli/image/new_overlay.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "cli/image/served_image.hpp"
#include "core/descriptor.hpp"
#include "daemon/state.hpp"
#include "spec/shown.hpp"
#include "target/file/file_lock.hpp"
#include "target/qcow2/offline/create.hpp"
#include "target/qcow2/offline/image_io.hpp"

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;

// For a lock that goes: a second.
constexpr int kLooksMax = 50;
constexpr std::chrono::milliseconds kBetweenLooks{20};

// How the overlay names the image: as a neighbour, if it is one.
std::string name_of_image(const std::string& overlay, const std::string& image) {
  std::error_code error;
  const fs::path found = fs::canonical(image, error);
  if (error) return image;
  const fs::path directory = fs::canonical(fs::path(overlay).parent_path(), error);
  return !error && found.parent_path() == directory ? found.filename().string() : found.string();
}

Result<void> sync_directory_of(const std::string& path) {
  const std::string directory = fs::path(path).parent_path();
  const Descriptor opened(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.valid() && fsync(opened.number()) == 0) return {};
  return fail(
      errno, fmt::format("cannot make the name {} durable: {}", shown(path), std::strerror(errno)));
}

// With the rights of the image, as it gets the same data.
Result<Descriptor> create_beside(const std::string& path, int image) {
  struct stat status{};
  if (fstat(image, &status) != 0) return fail(errno, std::strerror(errno));
  Descriptor made(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (!made.valid()) {
    return errno == EEXIST
               ? fail(EEXIST, fmt::format("{} exists: choose another name", shown(path)))
               : fail(errno,
                      fmt::format("cannot create {}: {}", shown(path), std::strerror(errno)));
  }
  const bool is_owned = fchown(made.number(), status.st_uid, status.st_gid) == 0;
  const mode_t mode = S_ISREG(status.st_mode) ? status.st_mode & 0666 : S_IRUSR | S_IWUSR;
  // The group of another owner is not that of the image.
  if (fchmod(made.number(), is_owned ? mode : mode & (S_IRUSR | S_IWUSR)) != 0) {
    unlink(path.c_str());
    return fail(errno,
                fmt::format("cannot set the mode of {}: {}", shown(path), std::strerror(errno)));
  }
  return made;
}

Result<void> make_overlay(const Descriptor& made, const std::string& path, int image,
                          const std::string& name, qcow2::NamePolicy policy) {
  auto resolved = qcow2::resolve_name(path, name, policy, "backing file");
  if (!resolved) return std::unexpected(resolved.error());
  const auto header = qcow2::read_image_header(image);
  if (!header) return std::unexpected(header.error());
  auto done = qcow2::create_image(made.number(), -1,
                                  {.size_bytes = header->size_bytes,
                                   .cluster_bits = header->cluster_bits,
                                   .backing_name = name,
                                   .backing_format = "qcow2"});
  return done ? sync_directory_of(path) : done;
}

}  // namespace

NewOverlay::~NewOverlay() {
  if (!path_.empty() && !is_taken()) unlink(path_.c_str());
}

// A server that has taken it has its lock, or has written it to the record. One that has refused it
// may answer a moment before it closes it.
bool NewOverlay::is_taken() const {
  const Descriptor file(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
  if (!file.valid()) return true;
  for (int looks = 0; others_have_locked(file.number(), true); ++looks) {
    if (looks == kLooksMax) return true;
    std::this_thread::sleep_for(kBetweenLooks);
  }
  const auto record = read_record(device_);
  if (!record) return true;
  const auto names_it = [&](const auto& self, const Spec& spec) -> bool {
    if (spec.text("file") == path_) return true;
    return std::ranges::any_of(spec.children, [&](const Spec& each) { return self(self, each); });
  };
  return names_it(names_it, record->spec);
}

Outcome<void> NewOverlay::make(std::string_view target_path, Spec& verb) {
  Spec& file = verb.children.front();
  const std::string path = file.text("file");
  if (file.target != "loop" || file.has("offset") || file.has("size")) {
    return usage("'external-snapshot' needs the path of a FILE, which it makes");
  }
  const auto record = read_record(device_);
  if (!record) return failed(record.error());
  const Spec* const spec = find_spec(record->spec, target_path);
  const std::string image = spec == nullptr ? std::string() : file_of_image(*spec);
  if (image.empty()) {
    return failed(
        "the image is no file of its own, so that no other image could name it: a"
        " snapshot of it is not possible");
  }
  const auto policy = policy_of(*spec);
  if (!policy) return std::unexpected(policy.error());
  const auto opened = open_to_look(image);
  if (!opened) return std::unexpected(opened.error());
  const auto made = create_beside(path, opened->number());
  if (!made) return failed(made.error());
  path_ = path;
  const auto done =
      make_overlay(*made, path, opened->number(), name_of_image(path, image), *policy);
  if (!done) return failed(done.error());
  // In blocks of 512 bytes, which is what images are made of.
  file.set("block", uint64_t{512});
  file.set("buffered_io", spec->flag("buffered_io"));
  return {};
}

}  // namespace sluice::cli
