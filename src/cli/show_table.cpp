#include "cli/show_table.hpp"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "cli/show.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/registry.hpp"

namespace sluice::cli {
namespace {

constexpr size_t kLineColumns = 80;
constexpr size_t kGap = 2;

struct Column {
  std::string_view title;
  size_t longest = SIZE_MAX;
  bool keeps_end = false;  // when truncated: the end of a path is more informative
};
constexpr std::array<Column, 7> kColumns = {{{.title = "ID"},
                                             {.title = "NAME", .longest = 12},
                                             {.title = "DEVICE", .longest = 18, .keeps_end = true},
                                             {.title = "SIZE"},
                                             {.title = "STATE"},
                                             {.title = "MODE"},
                                             {.title = "STACK"}}};
constexpr size_t kLastColumn = kColumns.size() - 1;
using Row = std::array<std::string, kColumns.size()>;

Row row_of(const DeviceListing& device);
std::string written_row(const Row& row, const std::array<size_t, kColumns.size()>& widths);
size_t width_of(std::string_view text);
std::string cut(const std::string& text, size_t width, bool keeps_end);

}  // namespace

std::string device_table(std::span<const DeviceListing> devices) {
  std::vector<Row> rows(1);
  for (size_t i = 0; i < kColumns.size(); ++i) rows[0][i] = kColumns[i].title;
  for (const DeviceListing& device : devices) rows.push_back(row_of(device));
  std::array<size_t, kColumns.size()> widths{};
  size_t left = kLineColumns;
  for (size_t i = 0; i < kLastColumn; ++i) {
    for (Row& row : rows) {
      row[i] = cut(row[i], kColumns[i].longest, kColumns[i].keeps_end);
      widths[i] = std::max(widths[i], width_of(row[i]));
    }
    left -= std::min(left, widths[i] + kGap);
  }
  widths[kLastColumn] = left;
  std::string text;
  for (const Row& row : rows) text += written_row(row, widths);
  return text;
}

std::string owner_of(const DeviceListing& device) {
  const uint32_t owner = device.driver->info.owner_uid;
  if (owner == geteuid()) return "another program";
  const passwd* const user = getpwuid(owner);
  return user != nullptr ? fmt::format("user {} ({})", printable(user->pw_name, 32), owner)
                         : fmt::format("user {}", owner);
}

namespace {

Row row_of(const DeviceListing& device) {
  Row row = {fmt::format("{}", device.id),
             "-",
             printable(path_of(device), std::string::npos),
             short_size(size_of(device)),
             std::string(state_of(device)),
             "-",
             fmt::format("of {}", device.record ? "" : owner_of(device))};
  if (!device.record) return row;
  const DeviceRecord& record = *device.record;
  if (!record.name.empty()) row[1] = record.name;
  if (record.path.empty() && !device.driver) row[2] = "-";
  if (is_unhealthy(device)) row[4] += fmt::format(", {}", to_string(record.health));
  if (!record.mode.empty()) row[5] = record.mode;
  row[kLastColumn] = printable(to_text(record.spec, target_vocabulary()), std::string::npos);
  if (record.read_only) row[kLastColumn] += " (read-only)";
  return row;
}

std::string written_row(const Row& row, const std::array<size_t, kColumns.size()>& widths) {
  std::string line;
  for (size_t i = 0; i < kLastColumn; ++i) {
    line += row[i] + std::string(widths[i] - width_of(row[i]) + kGap, ' ');
  }
  line += cut(row[kLastColumn], widths[kLastColumn], false);
  return line + '\n';
}

bool continues_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

size_t width_of(std::string_view text) {
  return text.size() - static_cast<size_t>(std::ranges::count_if(text, continues_character));
}

std::string cut(const std::string& text, size_t width, bool keeps_end) {
  constexpr std::string_view kDots = "...";
  if (width_of(text) <= width) return text;
  const size_t kept = width - std::min(width, kDots.size());
  const size_t skipped = width_of(text) - kept;
  // The byte offset after the first `characters` of the text.
  const auto end_of = [&](size_t characters) {
    size_t end = 0;
    for (; characters > 0; --characters) {
      do ++end;
      while (end < text.size() && continues_character(text[end]));
    }
    return end;
  };
  if (keeps_end) return fmt::format("{}{}", kDots, text.substr(end_of(skipped)));
  return fmt::format("{}{}", text.substr(0, end_of(kept)), kDots);
}

}  // namespace
}  // namespace sluice::cli
