#include "frontend/nbd/offered_exports.hpp"

#include <algorithm>
#include <utility>

#include "spec/shown.hpp"
#include "target/status_contexts.hpp"

namespace sluice::nbd {

uint16_t transmission_flags(const Geometry& geometry) {
  unsigned flags = kSendFlush | kSendFua | kSendCache | kCanMultiConn;
  if (geometry.read_only) {
    flags |= kReadOnly;
  } else {
    flags |= kSendWriteZeroes | kSendFastZero | (geometry.can_discard ? kSendTrim : 0U);
  }
  if (geometry.rotational) flags |= kRotational;
  return static_cast<uint16_t>(flags);
}

const std::string& export_name(const Disk& disk, const std::string& only) {
  return disk.name().empty() ? only : disk.name();
}

namespace {

// Names that the protocol cannot have are left out.
std::vector<std::string> names_of(Target& target) {
  const StatusContexts* const more = target.status_contexts();
  auto contexts = more == nullptr ? std::vector<std::string>() : more->contexts();
  std::erase_if(contexts, [](const std::string& each) {
    return each.size() > kStringBytesMax || !is_utf8(each);
  });
  contexts.insert(contexts.begin(), std::string(kAllocationContext));
  return contexts;
}

}  // namespace

OfferedExports::OfferedExports(const Setup& setup) {
  const auto& disks = setup.stack->disks();
  for (size_t i = 0; i < disks.size(); ++i) {
    Disk& disk = *disks[i];
    const Geometry& geometry = disk.geometry();
    auto offered = std::make_unique<OfferedExport>();
    offered->name = export_name(disk, setup.name);
    offered->description = setup.description;
    offered->flags = transmission_flags(geometry);
    offered->block_sizes = {.minimum = 1,
                            .preferred = std::max(geometry.physical_block_bytes, 4096U),
                            .payload_max = kDefaultPayloadMax};
    offered->disk = &disk;
    offered->io = setup.ios.at(i);
    offered->cached = CachedFile::of(disk, setup.loses_rights);
    exports_.push_back(std::move(offered));
  }
}

std::vector<std::string> OfferedExports::names() const {
  std::vector<std::string> names;
  for (const auto& each : exports_) names.push_back(each->name);
  return names;
}

const OfferedExport* OfferedExports::offered(std::string_view name) const {
  const auto found = std::ranges::find_if(exports_, [&](auto& each) { return each->name == name; });
  if (found == exports_.end()) return nullptr;
  (*found)->size = (*found)->disk->geometry().data_bytes();
  (*found)->contexts = names_of((*found)->disk->target());
  return found->get();
}

}  // namespace sluice::nbd
