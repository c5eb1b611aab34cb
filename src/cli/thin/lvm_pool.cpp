#include "cli/thin/lvm_pool.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "cli/values.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

using Rows = std::vector<const JsonValue*>;

// A report has sections, each with rows below `name`.
Rows rows_of(const JsonValue& report, std::string_view name) {
  Rows rows;
  for (const JsonValue& section : report.at("report").items) {
    const JsonValue* const list = section.find(name);
    if (list == nullptr) continue;
    for (const JsonValue& row : list->items) rows.push_back(&row);
  }
  return rows;
}

std::string field(const JsonValue& row, std::string_view name) {
  return row.at(name).get<std::string>();
}

uint64_t number(const JsonValue& row, std::string_view name) {
  const auto found = parse_digits(field(row, name));
  if (!found || *found > kSizeMax) throw JsonMismatch();
  return *found;
}

// Hidden volumes are in brackets.
std::string plain_name(std::string name) {
  if (name.starts_with('[') && name.ends_with(']')) return name.substr(1, name.size() - 2);
  return name;
}

// Where a segment begins: "/dev/sda(26)" is extent 26.
struct Place {
  std::string device;
  uint64_t extent;
};

std::vector<Place> places_of(std::string_view devices) {
  std::vector<Place> places;
  while (!devices.empty()) {
    const size_t end = devices.find("),");
    const std::string_view one = devices.substr(0, end == devices.npos ? end : end + 1);
    const size_t open = one.rfind('(');
    if (open == one.npos || !one.ends_with(')')) throw JsonMismatch();
    const auto extent = parse_digits(one.substr(open + 1, one.size() - open - 2));
    if (!extent) throw JsonMismatch();
    places.push_back({std::string(one.substr(0, open)), *extent});
    devices.remove_prefix(end == devices.npos ? devices.size() : end + 2);
  }
  return places;
}

class PoolReader {
 public:
  PoolReader(const JsonValue& segments, const JsonValue& physical_volumes)
      : segments_(rows_of(segments, "seg")) {
    for (const JsonValue* const row : rows_of(physical_volumes, "pv")) {
      starts_[field(*row, "pv_name")] = number(*row, "pe_start");
    }
  }

  Outcome<LvmPool> read(const std::string& name) const {
    const Rows found = segments_of(name);
    if (found.empty()) return failed(fmt::format("LVM has no volume {} there", shown(name)));
    const JsonValue& pool = *found.front();
    if (field(pool, "segtype") != "thin-pool") {
      return failed(
          fmt::format("{} is no thin pool, but {}", shown(name), shown(field(pool, "segtype"))));
    }
    if (!field(pool, "lv_active").empty()) {
      return failed(
          fmt::format("the kernel has pool {}: deactivate it (lvchange -an) first", shown(name)));
    }
    auto data = spec_of(plain_name(field(pool, "data_lv")));
    if (!data) return std::unexpected(data.error());
    auto metadata = spec_of(plain_name(field(pool, "metadata_lv")));
    if (!metadata) return std::unexpected(metadata.error());
    return LvmPool{.metadata = std::move(*metadata),
                   .data = std::move(*data),
                   .block_bytes = number(pool, "chunk_size"),
                   .transaction_id = number(pool, "transaction_id"),
                   .volumes = volumes_of(name)};
  }

 private:
  Rows segments_of(const std::string& name) const {
    Rows found;
    std::ranges::copy_if(segments_, std::back_inserter(found), [&](const JsonValue* row) {
      return plain_name(field(*row, "lv_name")) == name;
    });
    std::ranges::sort(found, {}, [](const JsonValue* row) { return number(*row, "seg_start"); });
    return found;
  }

  std::vector<LvmVolume> volumes_of(const std::string& pool) const {
    std::vector<LvmVolume> volumes;
    for (const JsonValue* const row : segments_) {
      if (field(*row, "segtype") != "thin" || plain_name(field(*row, "pool_lv")) != pool) continue;
      volumes.push_back({.name = plain_name(field(*row, "lv_name")),
                         .id = number(*row, "thin_id"),
                         .size_bytes = number(*row, "lv_size")});
    }
    std::ranges::sort(volumes, {}, &LvmVolume::id);
    return volumes;
  }

  Outcome<Spec> spec_of(const std::string& volume) const {
    std::vector<Spec> parts;
    uint64_t end = 0;
    for (const JsonValue* const row : segments_of(volume)) {
      if (number(*row, "seg_start") != end) throw JsonMismatch();
      end += number(*row, "seg_size");
      auto part = segment_spec(volume, *row);
      if (!part) return part;
      parts.push_back(std::move(*part));
    }
    if (parts.empty()) return failed(fmt::format("LVM has no segments of {}", shown(volume)));
    if (parts.size() == 1) return std::move(parts.front());
    return Spec{.target = "linear", .children = std::move(parts)};
  }

  Outcome<Spec> segment_spec(const std::string& volume, const JsonValue& row) const {
    const std::string type = field(row, "segtype");
    if (type != "linear" && type != "striped") {
      return failed(
          fmt::format("{} has a segment of type {}, which only the kernel can read: "
                      "activate the pool, or convert the volume to a linear one",
                      shown(volume), shown(type)));
    }
    const std::vector<Place> places = places_of(field(row, "devices"));
    const uint64_t size = number(row, "seg_size");
    if (places.empty() || size % places.size() != 0) throw JsonMismatch();
    std::vector<Spec> slices;
    for (const Place& place : places) {
      const auto start = starts_.find(place.device);
      if (start == starts_.end()) {
        return failed(fmt::format("{} lies on {}, which LVM does not find", shown(volume),
                                  shown(place.device)));
      }
      const uint64_t extent = number(row, "vg_extent_size");
      if (extent == 0 || place.extent > (kSizeMax - start->second) / extent) throw JsonMismatch();
      Spec slice{.target = "loop"};
      slice.set("file", place.device);
      slice.set("offset", start->second + place.extent * extent);
      slice.set("size", size / places.size());
      slices.push_back(std::move(slice));
    }
    if (slices.size() == 1) return std::move(slices.front());
    Spec stripe{.target = "stripe", .children = std::move(slices)};
    stripe.set("chunk", number(row, "stripe_size"));
    return stripe;
  }

  Rows segments_;
  std::map<std::string, uint64_t> starts_;  // of the first extent, by physical volume
};

}  // namespace

Outcome<LvmPool> find_lvm_pool(const JsonValue& segments, const JsonValue& physical_volumes,
                               const std::string& pool) {
  try {
    return PoolReader(segments, physical_volumes).read(pool);
  } catch (const JsonMismatch&) {
    return failed("the report of LVM has another form than this program knows");
  }
}

}  // namespace sluice::cli
