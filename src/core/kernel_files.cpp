#include "core/kernel_files.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/block_devices.hpp"
#include "core/bounded_look.hpp"
#include "core/mounts.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kGone = " (deleted)";  // the kernel's suffix for removed paths

// The mount namespaces in which a path may resolve: our own first, then each of the others.
struct NamespaceMounts {
  std::string root;  // prefix for the path
  std::vector<Mount> mounts;
};

std::vector<NamespaceMounts> all_namespaces() {
  std::vector<NamespaceMounts> views = {{.root = {}, .mounts = read_mounts()}};
  for (const pid_t process : processes_elsewhere()) {
    std::vector<Mount> mounts = read_mounts(process);
    if (mounts.empty()) continue;
    views.push_back({.root = fmt::format("/proc/{}/root", process), .mounts = std::move(mounts)});
  }
  return views;
}

void add_loop_devices(std::vector<KernelFile>& files) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator("/sys/block", error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("loop")) continue;
    std::ifstream attribute(entry.path() / "loop/backing_file", std::ios::binary);
    std::ostringstream text;
    if (!attribute || !(text << attribute.rdbuf())) continue;
    KernelFile file{.user = "/dev/" + name, .path = text.str()};
    if (file.path.ends_with('\n')) file.path.pop_back();
    if (file.path == "/") continue;  // in a detached mount, such as ours
    file.writes = first_line(entry.path() / "ro") != "1";
    file.gone = file.path.ends_with(kGone);
    files.push_back(std::move(file));
  }
}

// Swap on a whole device claims it exclusively, so other checks find it.
void add_swap_files(std::vector<KernelFile>& files) {
  for (SwapArea& area : swap_areas()) {
    if (!area.is_file) continue;
    KernelFile file{.user = "swap", .path = std::move(area.path)};
    file.gone = file.path.ends_with(kGone);
    files.push_back(std::move(file));
  }
}

// --- Comparing candidates with the file

// Whether a candidate is on the file's file system.
enum class Place { elsewhere, unknown, same };

Place place_of(const KernelFile& candidate, const NamespaceMounts& view, const FileId& file,
               dev_t holder) {
  const Mount* const mount = mount_of(view.mounts, candidate.path);
  if (mount == nullptr) return Place::unknown;
  if (file.is_block_device()) return mount->has_devices ? Place::unknown : Place::elsewhere;
  if (holder == 0) return Place::unknown;
  return mount->device == holder ? Place::same : Place::elsewhere;
}

// The device number of the mount through which the file was opened. Its st_dev may differ, as on
// btrfs.
dev_t file_system_of(const FileId& file, const std::vector<Mount>& mounts) {
  if (file.mount == 0) return 0;
  const auto found = std::ranges::find(mounts, file.mount, &Mount::id);
  return found == mounts.end() ? 0 : found->device;
}

std::string to_bytes(const std::optional<FileId>& id) {
  return id ? std::string(reinterpret_cast<const char*>(&*id), sizeof(*id)) : std::string();
}

std::optional<FileId> from_bytes(const std::string& bytes) {
  FileId id;
  if (bytes.size() != sizeof(id)) return std::nullopt;
  std::memcpy(&id, bytes.data(), sizeof(id));
  return id;
}

struct Question {
  size_t candidate;
  std::string path;
};

Result<Looks> ask(const std::vector<Question>& questions) {
  return look_bounded(questions.size(),
                      [&](size_t i) { return to_bytes(identify(questions[i].path)); });
}

}  // namespace

std::vector<SwapArea> swap_areas() {
  std::vector<SwapArea> areas;
  std::ifstream list("/proc/swaps");
  std::string line;
  std::getline(list, line);  // the heading
  while (std::getline(list, line)) {
    std::istringstream fields(line);
    std::string path;
    std::string type;
    fields >> path >> type;
    areas.push_back({.path = unescape_mount_text(path), .is_file = type == "file"});
  }
  return areas;
}

std::vector<KernelFile> kernel_files() {
  std::vector<KernelFile> files;
  add_loop_devices(files);
  add_swap_files(files);
  return files;
}

Result<KernelFiles> find_kernel_files(const FileId& file, std::vector<KernelFile> candidates) {
  KernelFiles files;
  if (candidates.empty()) return files;
  const std::vector<NamespaceMounts> views = all_namespaces();
  const dev_t holder = file_system_of(file, views.front().mounts);
  std::vector<Question> questions;
  std::vector<Place> places(candidates.size(), Place::elsewhere);
  for (size_t i = 0; i < candidates.size(); ++i) {
    for (const NamespaceMounts& view : views) {
      const Place place = place_of(candidates[i], view, file, holder);
      places[i] = std::max(places[i], place);
      if (place == Place::elsewhere) continue;
      questions.push_back({.candidate = i, .path = view.root + candidates[i].path});
    }
  }
  const auto looks = ask(questions);
  if (!looks) return std::unexpected(looks.error());
  std::vector<bool> is_it(candidates.size());
  std::vector<bool> hangs(candidates.size());
  for (size_t i = 0; i < questions.size(); ++i) {
    const size_t candidate = questions[i].candidate;
    const std::optional<FileId> id = from_bytes((*looks)[i].value_or(std::string()));
    if (id && id->shares_data(file)) is_it[candidate] = true;
    if (!(*looks)[i]) hangs[candidate] = true;
  }
  for (size_t i = 0; i < candidates.size(); ++i) {
    const bool may_be_gone = candidates[i].gone && places[i] == Place::same;
    std::vector<KernelFile>* const list = is_it[i]      ? &files.found
                                          : hangs[i]    ? &files.unseen
                                          : may_be_gone ? &files.gone
                                                        : nullptr;
    if (list != nullptr) list->push_back(std::move(candidates[i]));
  }
  return files;
}

Result<std::optional<Reached>> reach(const KernelFile& file) {
  std::vector<Question> questions;
  for (const NamespaceMounts& view : all_namespaces()) {
    questions.push_back({.candidate = 0, .path = view.root + file.path});
  }
  const auto looks = ask(questions);
  if (!looks) return std::unexpected(looks.error());
  for (size_t i = 0; i < questions.size(); ++i) {
    const std::optional<FileId> id = from_bytes((*looks)[i].value_or(std::string()));
    if (!id || !(S_ISREG(id->mode) || id->is_block_device())) continue;
    return Reached{.id = *id, .path = questions[i].path};
  }
  return std::nullopt;
}

}  // namespace sluice
