// `sluice bitmap`.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "cli/command.hpp"
#include "cli/image/image_file.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/qcow2/bitmap_verbs.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/offline/open_metadata.hpp"
#include "target/stack.hpp"

namespace sluice::cli {
namespace {

// What is done to the bitmap, in the words of the verbs.
struct Action {
  std::string_view option;
  std::string_view verb;
};

constexpr std::string_view kMergeOption = "merge";
constexpr Action kActions[] = {
    {"add", qcow2::kBitmapAdd},         {"remove", qcow2::kBitmapRemove},
    {"clear", qcow2::kBitmapClear},     {"enable", qcow2::kBitmapEnable},
    {"disable", qcow2::kBitmapDisable}, {kMergeOption, qcow2::kBitmapMerge}};

Outcome<std::vector<Spec>> read_actions(const CommandLine& line);
Outcome<void> check_formats(const CommandLine& line);
Outcome<void> check_stored(const std::string& path, const std::string& bitmap);

void declare_bitmap(CommandLine& line, std::span<const std::string>) {
  line.add_word("FILE");
  line.add_word("BITMAP");
  line.add({.name = "add", .help = "add an empty bitmap, which follows all writes"});
  line.add({.name = "remove", .help = "remove the bitmap"});
  line.add({.name = "clear", .help = "clear all its bits"});
  line.add({.name = "enable", .help = "let it follow the writes"});
  line.add({.name = "disable", .help = "freeze it"});
  line.add({.name = "merge",
            .value = "SOURCE",
            .help = "set all bits that bitmap SOURCE has; may be repeated",
            .repeated = true});
  line.add({'g', "granularity", "SIZE", "with --add: bytes of the disk for each bit"});
  line.add({'b', "source_file", "FILE", "with --merge: the image with bitmap SOURCE"});
  line.add({'F', "source_format", "FORMAT", "its format: qcow2"});
  line.add({'f', "format", "FORMAT", "the format of FILE: qcow2"});
}

// One after the other, as they were given.
Outcome<void> bitmap(const CommandLine& line, const Streams&) {
  if (line.words().size() != 2) return failed("'sluice bitmap' needs a FILE and a BITMAP");
  const std::string& path = line.words()[0];
  const std::string& name = line.words()[1];
  if (auto checked = check_formats(line); !checked) return checked;
  const auto actions = read_actions(line);
  if (!actions) return std::unexpected(actions.error());
  auto stack = qcow2::open_metadata(std::filesystem::absolute(path).string());
  if (!stack) return failed(stack.error());
  if (auto started = (*stack)->start(); !started) return failed(started.error());
  for (const Spec& each : *actions) {
    if (auto done = (*stack)->control("/", each); !done) {
      (*stack)->stop();
      return failed(fmt::format("{}: {}", shown(path), done.error().text));
    }
  }
  (*stack)->stop();
  stack->reset();  // with its locks
  if (actions->back().target == qcow2::kBitmapRemove) return {};
  return check_stored(path, name);
}

Outcome<void> check_formats(const CommandLine& line) {
  for (const std::string_view option : {"format", "source_format"}) {
    const std::string format = line.text(option, "qcow2");
    if (format == "qcow2") continue;
    return failed(
        fmt::format("an image of format {} has no bitmaps: only qcow2 has", shown(format)));
  }
  return {};
}

Outcome<std::vector<Spec>> read_actions(const CommandLine& line) {
  std::vector<Spec> actions;
  auto sources = line.values(kMergeOption);
  for (const std::string& option : line.order()) {
    const auto action = std::ranges::find(kActions, option, &Action::option);
    if (action == std::end(kActions)) continue;
    Spec verb{.target = std::string(action->verb)};
    verb.set(qcow2::kBitmapName, line.words()[1]);
    if (option == kMergeOption) {
      verb.set(qcow2::kBitmapSource, sources.front());
      sources = sources.subspan(1);
      if (line.has("source_file")) {
        Spec source{.target = "qcow2"};
        source.set("file", std::filesystem::absolute(line.text("source_file")).string());
        source.set("backing", std::string("any"));
        source.set("read_only", true);
        verb.children.push_back(std::move(source));
      }
    }
    if (option == "add" && line.has("granularity")) {
      const auto granularity = parse_size(line.text("granularity"));
      if (!granularity) return failed(fmt::format("-g: {}", granularity.error().text));
      verb.set(qcow2::kBitmapGranularity, *granularity);
    }
    actions.push_back(std::move(verb));
  }
  if (actions.empty()) {
    return failed("nothing to do: give --add, --remove, --clear, --enable, --disable or --merge");
  }
  if (line.has("granularity") && !line.has("add")) return failed("-g needs --add");
  if (line.has("source_file") && !line.has(kMergeOption)) return failed("-b needs --merge");
  if (line.has("source_format") && !line.has("source_file")) return failed("-F needs -b");
  return actions;
}

// The image stores its bitmaps when it is closed, which cannot fail as a whole.
Outcome<void> check_stored(const std::string& path, const std::string& bitmap) {
  const auto file = open_image(path, ImageAccess::read);
  if (!file) return std::unexpected(file.error());
  const int descriptor = file->descriptor.number();
  const auto header = qcow2::read_image_header(descriptor);
  if (!header) return failed(header.error());
  const auto bitmaps = qcow2::read_bitmaps(descriptor, *header, file->size_bytes);
  if (!bitmaps) return failed(bitmaps.error());
  const auto found = std::ranges::find(*bitmaps, bitmap, &qcow2::BitmapEntry::name);
  if (found != bitmaps->end() && !found->in_use) return {};
  return failed(fmt::format("{}: bitmap {} could not be stored, and is inconsistent: remove it",
                            shown(path), shown(bitmap)));
}

}  // namespace

// The exit codes of qemu-img.
constinit const Command kBitmapCommand = {
    .name = "bitmap",
    .synopsis =
        "--add|--remove|--clear|--enable|--disable [OPTION]... FILE BITMAP\n"
        "--merge SOURCE [OPTION]... FILE BITMAP",
    .summary = "Change a dirty bitmap of a qcow2 image that is not in use.",
    .declare = declare_bitmap,
    .run = bitmap,
    .has_state = false,
    .usage_exit = Exit::failure};

}  // namespace sluice::cli
