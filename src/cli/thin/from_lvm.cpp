// `sluice thin from-lvm`.
#include <fmt/format.h>

#include <algorithm>

#include "cli/show.hpp"
#include "cli/thin/lvm_pool.hpp"
#include "cli/thin/lvm_report.hpp"
#include "cli/thin/thin.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/registry.hpp"

namespace sluice::cli {
namespace {

struct LvmName {
  std::string group;
  std::string pool;
};

// VG/POOL, also as a path in /dev. With letters that LVM has in names, which are no options.
Outcome<LvmName> lvm_name(const std::string& word) {
  constexpr std::string_view kPrefix = "/dev/";
  const std::string name = word.starts_with(kPrefix) ? word.substr(kPrefix.size()) : word;
  const size_t divider = name.find('/');
  const auto is_name = [](std::string_view part) {
    return !part.empty() && !part.starts_with('-') && std::ranges::all_of(part, [](char letter) {
      return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
             (letter >= '0' && letter <= '9') || std::string_view("+_.-").contains(letter);
    });
  };
  const std::string group = name.substr(0, divider);
  const std::string pool = divider == name.npos ? "" : name.substr(divider + 1);
  if (is_name(group) && is_name(pool)) return LvmName{group, pool};
  return failed(fmt::format("a pool of LVM is VG/POOL, found {}", shown(word)));
}

std::string written_spec(const Spec& spec) { return to_text(spec, target_vocabulary()); }

std::string lvm_text(const LvmPool& pool) {
  std::string text = fmt::format("metadata: {}\ndata: {}\nblock: {}\ntransaction: {}\n",
                                 written_spec(pool.metadata), written_spec(pool.data),
                                 format_size(pool.block_bytes), pool.transaction_id);
  for (const LvmVolume& volume : pool.volumes) {
    text += fmt::format("device {}: {}, {}\n", volume.id,
                        printable(volume.name, volume.name.size()), format_size(volume.size_bytes));
  }
  return text;
}

Json lvm_json(const LvmPool& pool) {
  Json devices = Json::array();
  for (const LvmVolume& volume : pool.volumes) {
    devices.push_back(
        Json{{"id", volume.id}, {"name", volume.name}, {"size-bytes", volume.size_bytes}});
  }
  return Json{{"metadata", written_spec(pool.metadata)},
              {"data", written_spec(pool.data)},
              {"block-bytes", pool.block_bytes},
              {"transaction", pool.transaction_id},
              {"devices", devices}};
}

}  // namespace

Outcome<void> show_lvm_pool(const CommandLine& line, const Streams& streams) {
  const auto name = lvm_name(thin_words(line)[0]);
  if (!name) return std::unexpected(name.error());
  const auto segments = read_lvm_report("lvs", {"--all", "--segments", "--units", "b", "--nosuffix",
                                                "-o", std::string(kLvsFields), name->group});
  if (!segments) return std::unexpected(segments.error());
  const auto volumes =
      read_lvm_report("pvs", {"--units", "b", "--nosuffix", "-o", std::string(kPvsFields),
                              "--select", fmt::format("vg_name={}", name->group)});
  if (!volumes) return std::unexpected(volumes.error());
  const auto pool = find_lvm_pool(*segments, *volumes, name->pool);
  if (!pool) return std::unexpected(pool.error());
  streams.out << (line.has("json") ? written(lvm_json(*pool)) : lvm_text(*pool));
  return {};
}

}  // namespace sluice::cli
