// `sluice resize`: of a device, or of an image file.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "cli/command.hpp"
#include "cli/device_argument.hpp"
#include "cli/devices.hpp"
#include "cli/image/resize_image.hpp"
#include "daemon/device_name.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

constexpr auto kImageOptions =
    std::to_array<std::string_view>({"format", "preallocation", "shrink", "quiet"});

Outcome<void> resize_served(const CommandLine& line, uint32_t id, std::span<const std::string> rest,
                            const Streams& streams);

void declare_resize(CommandLine& line, std::span<const std::string>) {
  line.add({.letter = 'n',
            .name = "number",
            .value = std::string(kDeviceWord),
            .help = "the device: its number, name or path"});
  line.add_word(std::string(kDeviceOrFileWord));
  line.add_word("SIZE");
  line.add({'f', "format", "raw|qcow2", "of the image file; otherwise recognised"});
  line.add({.name = "preallocation",
            .value = "off|metadata|falloc|full",
            .help = "of the new part of an image file"});
  line.add({.name = "shrink", .help = "an image file may lose data behind the new end"});
  line.add({'q', "quiet", "", "do not print the new size of an image file"});
}

const std::string_view* image_option(const CommandLine& line) {
  const auto* const found =
      std::ranges::find_if(kImageOptions, [&](std::string_view each) { return line.has(each); });
  return found == kImageOptions.end() ? nullptr : found;
}

bool is_image_file(const std::string& path) {
  struct stat status{};
  return stat(path.c_str(), &status) == 0 && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
}

// A word that is the number or the name of one thing and the path of another is refused.
Outcome<void> check_not_both(const std::string& word, uint32_t id) {
  if (word.contains('/') || !is_image_file(word)) return {};
  const auto by_path = find_device("./" + word);
  if (by_path && *by_path == id) return {};
  return failed(
      fmt::format("{0} is a device and a file: give -n {1} for the device, or {2} for the"
                  " file",
                  shown(word), shell_word(word), shell_word("./" + word)));
}

Outcome<void> resize(const CommandLine& line, const Streams& streams) {
  const std::string_view* const option = image_option(line);
  const auto words = line.words();
  if (line.has("number") || line.grammar() == Grammar::ublk) {
    if (option != nullptr) {
      return usage(
          fmt::format("{} is for image files, not for devices", line.find(*option)->shown()));
    }
    const auto device = read_device(line);
    if (!device) return std::unexpected(device.error());
    if (!device->id) return needs_device(line);
    return resize_served(line, *device->id, device->rest, streams);
  }
  if (words.empty()) {
    return usage(
        "'sluice resize' needs a DEVICE: its number, name or path ('sluice list' shows"
        " them), or an image FILE");
  }
  if (option != nullptr) return resize_image(line, streams);
  const auto id = find_device(words.front());
  if (!id && words.size() > 1 && is_image_file(words.front())) return resize_image(line, streams);
  if (!id) return failed(id.error());
  if (auto checked = check_not_both(words.front(), *id); !checked) return checked;
  return resize_served(line, *id, words.subspan(1), streams);
}

Outcome<void> resize_served(const CommandLine& line, uint32_t id, std::span<const std::string> rest,
                            const Streams& streams) {
  if (rest.size() > 1) return std::unexpected(line.explain_word(rest[1]));
  std::optional<uint64_t> wanted;
  if (!rest.empty()) {
    const auto size = parse_size(rest.front());
    if (!size) return usage(size.error().text);
    wanted = *size;
  }
  const auto resized = resize_device(id, wanted);
  if (!resized) return failed(resized.error());
  streams.out << *resized << '\n';
  return {};
}

}  // namespace

constinit const Command kResizeCommand = {
    .name = "resize",
    .synopsis =
        "[-n] DEVICE [SIZE]\n"
        "[-f raw|qcow2] [--preallocation MODE] [--shrink] [-q] FILE [+|-]SIZE",
    .summary = "Grow a device that is in use, or change the size of an image file.",
    .declare = declare_resize,
    .run = resize};

}  // namespace sluice::cli
