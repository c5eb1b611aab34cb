// exports: its children are disks of their own for the clients of a network front end. It has no
// bytes itself.
#include "target/exports.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/gather.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/open.hpp"

namespace sluice {
namespace {

constexpr std::string_view kNames = "names";
constexpr char kSeparator = '+';        // of the names
constexpr size_t kNameBytesMax = 4096;  // of the NBD protocol

class ExportedDisks final : public Target {
 public:
  ExportedDisks(Children disks, std::vector<std::string> names)
      : Target(std::move(disks)), names_(std::move(names)) {
    geometry_ = common_geometry(children());
    geometry_.size_bytes = total_bytes();
  }

  std::vector<std::string> disk_names() const override { return names_; }

 private:
  // Clients reach the disks, not this target.
  Task do_submit(Request& request) override {
    if (request.op == Op::flush) return submit_to_all(request);
    return Status::from_errno(EOPNOTSUPP);
  }

  // Each disk grows to the size of what is behind it.
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override {
    if (wanted) {
      return fail(EOPNOTSUPP,
                  "several exports have no size together: grow the files behind them, and resize "
                  "without a size");
    }
    Result<uint64_t> grown = 0;
    for (const auto& disk : children()) {
      auto size = disk->resize(std::nullopt);
      if (!size && size.error().error != EOPNOTSUPP && grown) grown = std::move(size);
    }
    return grown ? Result<uint64_t>(total_bytes()) : grown;
  }

  uint64_t total_bytes() const {
    uint64_t total = 0;
    for (const auto& disk : children()) {
      total += std::min<uint64_t>(disk->geometry().data_bytes(), kSizeMax - total);
    }
    return total;
  }

  const std::vector<std::string> names_;
};

constexpr OptionSyntax kExportsOptions[] = {
    {.name = kNames,
     .kind = OptionKind::text,
     .required = true,
     .help = "of the exports, in their order, with + between them"},
};

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> names;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(kSeparator, begin), text.size());
    names.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

Result<std::unique_ptr<Target>> open_exports(const Spec& spec, Target::Children&& disks,
                                             OpenContext&) {
  std::vector<std::string> names = split(spec.text(kNames));
  if (names.size() != disks.size()) {
    return fail(EINVAL, fmt::format("exports: there are {} names for {} disks: give each a name",
                                    names.size(), disks.size()));
  }
  std::set<std::string> seen;
  for (const std::string& name : names) {
    if (!is_export_name(name)) {
      return fail(EINVAL, fmt::format("exports: {} cannot be a name: use letters, digits, '.', '_' "
                                      "and '-', at most {} of them",
                                      shown(name), kNameBytesMax));
    }
    if (seen.insert(name).second) continue;
    return fail(EINVAL, fmt::format("exports: two have the name {}: rename one", shown(name)));
  }
  return std::make_unique<ExportedDisks>(std::move(disks), std::move(names));
}

}  // namespace

bool is_export_name(std::string_view name) {
  constexpr std::string_view kSigns = "._-";
  return !name.empty() && name.size() <= kNameBytesMax && std::ranges::all_of(name, [&](char sign) {
    return (sign >= 'a' && sign <= 'z') || (sign >= 'A' && sign <= 'Z') ||
           (sign >= '0' && sign <= '9') || kSigns.find(sign) != std::string_view::npos;
  });
}

Spec exports_spec(const std::vector<std::string>& names, std::vector<Spec> disks) {
  Spec spec{.target = std::string(kExportsTarget.syntax.name), .children = std::move(disks)};
  std::string all;
  for (const std::string& name : names) {
    all += all.empty() ? name : fmt::format("{}{}", kSeparator, name);
  }
  spec.set(kNames, std::move(all));
  return spec;
}

constinit const TargetType kExportsTarget = {
    .syntax = {.name = "exports",
               .summary = "several disks of one server, each with a name",
               .children_minimum = 1,
               .children_maximum = UINT32_MAX,
               .options = kExportsOptions},
    .open = open_exports,
    .holds_disks = true};

}  // namespace sluice
