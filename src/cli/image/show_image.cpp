#include <fmt/format.h>

#include <ctime>

#include "cli/image/image_facts.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

std::string qcow2_text(const Qcow2Facts& facts);
std::string snapshots_text(const std::vector<qcow2::Snapshot>& snapshots);
std::string bitmaps_text(const std::vector<qcow2::BitmapEntry>& bitmaps);
Json specific_json(const Qcow2Facts& facts);
Json bitmaps_json(const std::vector<qcow2::BitmapEntry>& bitmaps);

constexpr uint64_t kNanoseconds = 1'000'000'000;

std::string whole(std::string_view text) { return printable(text, std::string::npos); }
std::string_view yes_no(bool value) { return value ? "true" : "false"; }
std::string_view compat(const qcow2::Header& header) { return header.version < 3 ? "0.10" : "1.1"; }
std::string_view compression(const qcow2::Header& header) {
  return header.compression == qcow2::Compression::zstd ? "zstd" : "zlib";
}

}  // namespace

Json snapshots_json(const std::vector<qcow2::Snapshot>& snapshots) {
  Json list = Json::array();
  for (const qcow2::Snapshot& each : snapshots) {
    Json json = Json::object();
    json.set("id", bytes_json(each.id));
    json.set("name", bytes_json(each.name));
    json.set("vm-state-size", each.vm_state_bytes);
    json.set("date-sec", each.date_seconds);
    json.set("date-nsec", each.date_nanoseconds);
    json.set("vm-clock-sec", each.vm_clock_nanoseconds / kNanoseconds);
    json.set("vm-clock-nsec", each.vm_clock_nanoseconds % kNanoseconds);
    json.set("disk-size", each.disk_bytes);
    list.push_back(std::move(json));
  }
  return list;
}

std::string image_text(const ImageFacts& facts) {
  std::string text =
      fmt::format("image: {}\nfile format: {}\n", whole(facts.file.path), facts.file.format);
  if (facts.virtual_bytes) {
    text += fmt::format("virtual size: {} ({} bytes)\n", describe_size(*facts.virtual_bytes),
                        *facts.virtual_bytes);
  }
  if (!facts.file.is_block_device) {
    text += fmt::format("disk size: {}\n", describe_size(facts.file.space_bytes));
  }
  return facts.qcow2 ? text + qcow2_text(*facts.qcow2) : text;
}

Json image_json(const ImageFacts& facts) {
  Json json = Json::object();
  json.set("filename", bytes_json(facts.file.path));
  json.set("format", facts.file.format);
  if (facts.virtual_bytes) json.set("virtual-size", *facts.virtual_bytes);
  if (!facts.file.is_block_device) json.set("actual-size", facts.file.space_bytes);
  json.set("dirty-flag", facts.qcow2 && facts.qcow2->header.has(qcow2::kDirty));
  if (!facts.qcow2) return json;
  const qcow2::Header& header = facts.qcow2->header;
  if (header.encryption) json.set("encrypted", true);
  json.set("cluster-size", header.cluster_bytes());
  if (!header.backing_name.empty()) {
    json.set("backing-filename", bytes_json(header.backing_name));
    const std::string path = backing_path(facts.file.path, header.backing_name);
    if (!path.empty()) json.set("full-backing-filename", bytes_json(path));
  }
  if (!header.backing_format.empty()) {
    json.set("backing-filename-format", bytes_json(header.backing_format));
  }
  if (!facts.qcow2->snapshots.empty()) {
    json.set("snapshots", snapshots_json(facts.qcow2->snapshots));
  }
  json.set("format-specific", {{"type", "qcow2"}, {"data", specific_json(*facts.qcow2)}});
  return json;
}

namespace {

std::string qcow2_text(const Qcow2Facts& facts) {
  const qcow2::Header& header = facts.header;
  std::string text = header.encryption ? "encrypted: yes\n" : "";
  text += fmt::format("cluster_size: {}\n", header.cluster_bytes());
  if (header.has(qcow2::kDirty)) text += "cleanly shut down: no\n";
  if (!header.backing_name.empty()) {
    text += fmt::format("backing file: {}\n", whole(header.backing_name));
  }
  if (!header.backing_format.empty()) {
    text += fmt::format("backing file format: {}\n", whole(header.backing_format));
  }
  text += snapshots_text(facts.snapshots);
  text += fmt::format("format specific information:\n    compat: {}\n    compression type: {}\n",
                      compat(header), compression(header));
  text += fmt::format("    lazy refcounts: {}\n    refcount bits: {}\n",
                      yes_no((header.compatible & qcow2::kLazyRefcounts) != 0),
                      1U << header.refcount_order);
  text += fmt::format("    corrupt: {}\n    extended l2: {}\n", yes_no(header.has(qcow2::kCorrupt)),
                      yes_no(header.has(qcow2::kExtendedL2)));
  if (header.has(qcow2::kExternalData)) {
    text += fmt::format("    data file: {}\n    data file raw: {}\n", whole(header.data_file_name),
                        yes_no((header.autoclear & qcow2::kRawExternalData) != 0));
  }
  if (header.encryption) text += "    encrypt:\n        format: luks\n";
  return text + bitmaps_text(facts.bitmaps);
}

std::string date_text(uint32_t seconds) {
  const time_t time = seconds;
  std::tm parts{};
  localtime_r(&time, &parts);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string snapshots_text(const std::vector<qcow2::Snapshot>& snapshots) {
  if (snapshots.empty()) return {};
  std::string text = fmt::format("snapshots:\n    {:<9} {:<19} {:>9} {:>9}  {}\n", "ID", "DATE",
                                 "DISK", "VM STATE", "NAME");
  for (const qcow2::Snapshot& each : snapshots) {
    text +=
        fmt::format("    {:<9} {} {:>9} {:>9}  {}\n", whole(each.id), date_text(each.date_seconds),
                    short_size(each.disk_bytes), short_size(each.vm_state_bytes), whole(each.name));
  }
  return text;
}

std::string bitmaps_text(const std::vector<qcow2::BitmapEntry>& bitmaps) {
  if (bitmaps.empty()) return {};
  std::string text = "    bitmaps:\n";
  for (const qcow2::BitmapEntry& each : bitmaps) {
    text += fmt::format("        {}: granularity {}{}{}\n", whole(each.name),
                        uint64_t{1} << each.granularity_bits, each.automatic ? ", auto" : "",
                        each.in_use ? ", in-use" : "");
  }
  return text;
}

Json specific_json(const Qcow2Facts& facts) {
  const qcow2::Header& header = facts.header;
  Json json = Json::object();
  json.set("compat", compat(header));
  json.set("compression-type", compression(header));
  json.set("lazy-refcounts", (header.compatible & qcow2::kLazyRefcounts) != 0);
  json.set("refcount-bits", 1U << header.refcount_order);
  json.set("corrupt", header.has(qcow2::kCorrupt));
  json.set("extended-l2", header.has(qcow2::kExtendedL2));
  if (header.has(qcow2::kExternalData)) {
    json.set("data-file", bytes_json(header.data_file_name));
    json.set("data-file-raw", (header.autoclear & qcow2::kRawExternalData) != 0);
  }
  if (header.encryption) json.set("encrypt", {{"format", "luks"}});
  if (!facts.bitmaps.empty()) json.set("bitmaps", bitmaps_json(facts.bitmaps));
  return json;
}

Json bitmaps_json(const std::vector<qcow2::BitmapEntry>& bitmaps) {
  Json list = Json::array();
  for (const qcow2::BitmapEntry& each : bitmaps) {
    std::vector<std::string> flags;
    if (each.in_use) flags.emplace_back("in-use");
    if (each.automatic) flags.emplace_back("auto");
    Json json = Json::object();
    json.set("name", bytes_json(each.name));
    json.set("granularity", uint64_t{1} << each.granularity_bits);
    json.set("flags", flags);
    list.push_back(std::move(json));
  }
  return list;
}

}  // namespace
}  // namespace sluice::cli
