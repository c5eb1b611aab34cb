#include "cli/image/image_facts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/file_id.hpp"
#include "spec/shown.hpp"
#include "target/qcow2/offline/image_io.hpp"

namespace sluice::cli {
namespace {

constexpr size_t kChainMax = 1000;

Outcome<Qcow2Facts> read_qcow2_facts(const ImageFile& file);
bool has_protocol(std::string_view name);

}  // namespace

Outcome<ImageFacts> read_image_facts(const std::string& path, ImageAccess access) {
  auto file = open_image(path, access);
  if (!file) {
    Failure failure = file.error();
    if (access == ImageAccess::read && failure.text.ends_with("detach it there first")) {
      failure.text += ", or read it as it is now with -U";
    }
    return std::unexpected(failure);
  }
  ImageFacts facts{.file = std::move(*file)};
  if (facts.file.format == "raw") facts.virtual_bytes = facts.file.size_bytes;
  if (facts.file.format == "qcow2") {
    auto known = read_qcow2_facts(facts.file);
    if (!known) return std::unexpected(known.error());
    facts.virtual_bytes = known->header.size_bytes;
    facts.qcow2 = std::move(*known);
  }
  return facts;
}

Outcome<void> read_chain_facts(const std::string& path, ImageAccess access,
                               std::vector<ImageFacts>& images) {
  std::vector<FileId> seen;
  for (std::string next = path; !next.empty();) {
    if (seen.size() == kChainMax) {
      return failed(fmt::format("{} has more than {} backing files", shown(path), kChainMax));
    }
    if (const auto id = identify(next)) {
      const auto is_same = [&](const FileId& each) { return each.shares_data(*id); };
      if (std::ranges::any_of(seen, is_same)) {
        return failed(fmt::format("{} is its own backing file", shown(next)));
      }
      seen.push_back(*id);
    }
    auto facts = read_image_facts(next, access);
    if (!facts) return std::unexpected(facts.error());
    const std::string name = facts->qcow2 ? facts->qcow2->header.backing_name : std::string();
    images.push_back(std::move(*facts));
    if (name.empty()) return {};
    next = backing_path(images.back().file.path, name);
    if (next.empty()) {
      return failed(fmt::format("the backing file {} of {} is no file: only QEMU opens it",
                                shown(name), shown(images.back().file.path)));
    }
  }
  return {};
}

std::string backing_path(const std::string& image, const std::string& name) {
  if (name.starts_with("file:")) return backing_path(image, name.substr(5));
  if (has_protocol(name)) return {};
  return std::filesystem::path(image).parent_path() / name;
}

namespace {

Outcome<Qcow2Facts> read_qcow2_facts(const ImageFile& file) {
  const int descriptor = file.descriptor.number();
  const auto refuse = [&](const Error& error) {
    return failed(fmt::format("{} cannot be read: {}", shown(file.path), error.text));
  };
  const auto size = qcow2::image_bytes(descriptor);
  if (!size) return refuse(size.error());
  const auto header = qcow2::read_any_header(descriptor);
  if (!header) return refuse(header.error());
  auto snapshots = qcow2::read_snapshots(descriptor, *header, *size);
  if (!snapshots) return refuse(snapshots.error());
  auto bitmaps = qcow2::read_bitmaps(descriptor, *header, *size);
  if (!bitmaps) return refuse(bitmaps.error());
  return Qcow2Facts{.header = *header,
                    .snapshots = std::move(snapshots->snapshots),
                    .bitmaps = std::move(*bitmaps)};
}

// As QEMU sees it: a ':' before any '/'.
bool has_protocol(std::string_view name) {
  const size_t colon = name.find(':');
  return colon != std::string_view::npos && colon < name.find('/');
}

}  // namespace
}  // namespace sluice::cli
