#include "target/stack.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "target/tree_lock.hpp"

namespace sluice {
namespace {

std::vector<std::unique_ptr<Disk>> disks_of(Target& root) {
  std::vector<std::unique_ptr<Disk>> disks;
  const std::vector<std::string> names = root.disk_names();
  if (names.empty()) disks.push_back(std::make_unique<Disk>("", root));
  for (size_t i = 0; i < names.size(); ++i) {
    disks.push_back(std::make_unique<Disk>(names[i], root.child(i)));
  }
  return disks;
}

// An option `size` is the size of the target itself, whichever target has it.
void note_sizes(Spec& spec, const Target& target) {
  if (target.missing() != nullptr) return;
  const uint64_t size = target.geometry().size_bytes;
  if (spec.has("size")) spec.set("size", size);
  for (size_t i = 0; i < spec.children.size(); ++i) {
    note_sizes(spec.children[i], *target.named_children()[i]);
  }
}

bool all_may_link(const Target& target) {
  return target.may_link() && std::ranges::all_of(target.children(), [](const auto& child) {
           return all_may_link(*child);
         });
}

Result<void> check_all(const Target& target, Result<void> (Target::*check)() const) {
  auto checked = (target.*check)();
  for (const auto& child : target.children()) {
    if (checked) checked = check_all(*child, check);
  }
  return checked;
}

template <typename Visit>
void for_each_file(const Target& target, const Visit& visit) {
  for (const auto& child : target.children()) for_each_file(*child, visit);
  for (const OpenFile& file : target.files()) visit(file);
}

Result<void> collect_fingerprints(const Target& target, const std::string& path,
                                  std::vector<Fingerprint>& found) {
  auto own = target.fingerprint();
  if (!own) return std::unexpected(own.error());
  if (*own) {
    found.push_back(std::move(**own));
    found.back().target = path.empty() ? "/" : path;
  }
  const std::vector<Target*> children = target.named_children();
  for (size_t i = 0; i < children.size(); ++i) {
    auto collected = collect_fingerprints(*children[i], fmt::format("{}/{}", path, i), found);
    if (!collected) return collected;
  }
  return {};
}

}  // namespace

Stack::Stack(std::unique_ptr<Target> root)
    : root_(std::move(root)),
      disks_(disks_of(*root_)),
      may_link_(all_may_link(*root_)),
      life_(*root_) {}

Stack::~Stack() { stop(); }

std::vector<int> Stack::files() const {
  std::vector<int> files;
  for_each_file(*root_, [&](const OpenFile& file) { files.push_back(file.descriptor.number()); });
  return files;
}

std::vector<RegisteredFile> Stack::registered_files() const { return registered_files_of(*root_); }

Result<void> Stack::start() {
  if (life_.empty() || control_ != nullptr) return {};
  auto control = ControlReactor::start();
  if (!control) return std::unexpected(control.error());
  auto started = life_.start(**control);
  if (started) control_ = std::move(*control);
  return started;
}

void Stack::stop() {
  if (control_ == nullptr) return;
  life_.stop(*control_);
  control_.reset();
}

Result<uint64_t> Stack::resize(std::optional<uint64_t> wanted) {
  auto size = root_->resize(wanted);
  const std::scoped_lock guard(tree_lock());
  if (!spec_.target.empty()) note_sizes(spec_, *root_);
  return size;
}

std::string Stack::swap_risk() const {
  if (std::string risk = root_->swap_risk(); !risk.empty()) return risk;
  const size_t files = registered_files().size();
  if (files <= 1) return {};
  return fmt::format("the kernel may have to start threads for a stack of {} files", files);
}

Result<void> Stack::check_handover() const { return check_all(*root_, &Target::check_handover); }

void Stack::own_files(bool ours) { own_files_of(*root_, ours); }

Result<void> Stack::check_recovery() const { return check_all(*root_, &Target::check_recovery); }

Result<std::vector<Fingerprint>> Stack::fingerprints() const {
  std::vector<Fingerprint> found;
  if (auto collected = collect_fingerprints(*root_, "", found); !collected) {
    return std::unexpected(collected.error());
  }
  return found;
}

void Stack::trace_requests(bool trace) {
  for (const auto& disk : disks_) disk->trace_requests(trace);
}

bool Stack::failed() const {
  return std::ranges::any_of(disks_, [](const auto& disk) { return disk->failed(); });
}

std::vector<size_t> Stack::failed_disks() const {
  std::vector<size_t> failed;
  for (size_t i = 0; i < disks_.size() && disks_.size() > 1; ++i) {
    if (disks_[i]->failed()) failed.push_back(i);
  }
  return failed;
}

void Stack::note_failure(const std::vector<size_t>& disks) {
  for (size_t i = 0; i < disks_.size(); ++i) {
    if (disks.empty() || std::ranges::find(disks, i) != disks.end()) disks_[i]->note_failure();
  }
}

}  // namespace sluice
