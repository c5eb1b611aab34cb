// kFuseFrontend: a plain file in the tree of files, through the kernel's FUSE.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "frontend/fuse/export.hpp"
#include "frontend/fuse/mounts.hpp"
#include "frontend/fuse/traces.hpp"
#include "frontend/fuse/version_0.hpp"
#include "frontend/types.hpp"

namespace sluice {
namespace fuse {
namespace {

constexpr FrontendOption kOptions[] = {
    {.name = "at",
     .kind = FrontendOption::Kind::path,
     .value = "PATH",
     .help = "with fuse: the path where the data appears as a raw file",
     .required = "the file or directory where the data will appear"},
    {.name = "allow_other", .help = "with fuse: let other users access that file"},
};

constexpr FrontendTrace kTraces[] = {
    {.name = kMade, .kind = OptionKind::flag},
    {.name = kMadeInode, .kind = OptionKind::count},
    {.name = kByHelper, .kind = OptionKind::flag},
    {.name = kFileSystem, .kind = OptionKind::text},
};

class Plan final : public FrontendPlan {
 public:
  Plan(Stack& stack, const FrontendOptions& options, Place place)
      : stack_(stack), options_(options), place_(std::move(place)) {}

  std::string at() const override { return place_.path(); }
  NamedValues traces() const override {
    NamedValues traces;
    traces.set(kMade, place_.made());
    return traces;
  }
  Result<std::unique_ptr<Frontend>> make(uint32_t /*id*/) override {
    ExportOptions options = export_options(options_);
    options.place = std::move(place_);
    options.allow_other = options_.own.flag("allow_other");
    return FuseExport::make(stack_, std::move(options));
  }

 private:
  Stack& stack_;
  const FrontendOptions& options_;
  Place place_;
};

Result<std::unique_ptr<FrontendPlan>> plan(Stack& stack, const FrontendOptions& options) {
  auto place = Place::open(options.own.text("at"));
  if (!place) return std::unexpected(place.error());
  return std::make_unique<Plan>(stack, options, std::move(*place));
}

Result<std::unique_ptr<Frontend>> adopt(Stack& stack, const FrontendRecord& /*record*/,
                                        const std::string& state) {
  return FuseExport::adopt(stack, state);
}

// fusermount3 mounts before the file system can be recorded, and the first release did not record
// it: then its mount is looked up.
std::string file_system_of(const FrontendRecord& record) {
  std::string noted = record.traces.text(kFileSystem);
  if (!noted.empty()) return noted;
  const auto mounted = mounted_at(record.at);
  if (!mounted || mounted->type != kMountType) return {};
  const bool is_of_version_0 =
      mounted->file_system.ends_with(fmt::format(" {}", kSourceOfVersion0));
  return geteuid() != 0 || is_of_version_0 ? mounted->file_system : std::string();
}

bool has_remains(const FrontendRecord& record) { return is_left_mounted(file_system_of(record)); }

Result<void> clear_all_remains(const FrontendRecord& record, bool /*even_if_used*/) {
  return clear_remains(Remains{.file_system = file_system_of(record),
                               .at = record.at,
                               .by_helper = record.traces.flag(kByHelper, geteuid() != 0),
                               .made = record.traces.flag(kMade),
                               .inode = record.traces.number(kMadeInode)});
}

}  // namespace

ExportOptions export_options(const FrontendOptions& options) {
  return {.place = {},
          .queues = options.queues,
          .depth = options.depth,
          .max_io_bytes = std::min(options.max_io_bytes, kMaxIoBytes),
          .reserve_bytes = options.reserve_bytes,
          .path = parse_data_path(options.mode)};
}

NamedValues FuseExport::traces() const {
  NamedValues traces;
  traces.set(kFileSystem, file_system());
  if (!mount_.place()) return traces;
  traces.set(kByHelper, mount_.by_helper());
  traces.set(kMade, mount_.place()->made());
  traces.set(kMadeInode, mount_.place()->inode());
  return traces;
}

}  // namespace fuse

constinit const FrontendType kFuseFrontend = {.name = "fuse",
                                              .options = fuse::kOptions,
                                              .modes = fuse::data_path_names,
                                              .traces = fuse::kTraces,
                                              .max_io_bytes = fuse::kMaxIoBytes,
                                              .is_block_device = false,
                                              .serves_bytes = true,
                                              .plan = fuse::plan,
                                              .adopt = fuse::adopt,
                                              .from_version_0 = fuse::from_version_0,
                                              .has_remains = fuse::has_remains,
                                              .clear_remains = fuse::clear_all_remains};

}  // namespace sluice
