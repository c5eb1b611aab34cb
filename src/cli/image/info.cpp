// `sluice info`.
#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/image/image_facts.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

void declare_info(CommandLine& line, std::span<const std::string>) {
  line.add_word("FILE...");
  line.add({.name = "backing_chain", .help = "also show the backing files, and their own"});
  line.add({'U', "force_share", "", "read also what another program is writing"});
  line.add(
      {.name = "json", .help = "print all values: an object, or an array if there are several"});
}

Outcome<void> info(const CommandLine& line, const Streams& streams) {
  if (line.words().empty()) return usage("'sluice info' needs a FILE");
  const auto access = line.has("force_share") ? ImageAccess::unlocked : ImageAccess::read;
  std::vector<ImageFacts> images;
  for (const std::string& path : line.words()) {
    if (line.has("backing_chain")) {
      if (auto read = read_chain_facts(path, access, images); !read) return read;
      continue;
    }
    auto facts = read_image_facts(path, access);
    if (!facts) return std::unexpected(facts.error());
    images.push_back(std::move(*facts));
  }
  const bool is_list = line.has("backing_chain") || line.words().size() > 1;
  if (line.has("json")) {
    std::vector<Json> list;
    list.reserve(images.size());
    for (const ImageFacts& each : images) list.push_back(image_json(each));
    streams.out << written(is_list ? Json::array(std::move(list)) : list.front());
    return {};
  }
  for (const ImageFacts& each : images) {
    if (&each != &images.front()) streams.out << '\n';
    streams.out << image_text(each);
  }
  return {};
}

}  // namespace

constinit const Command kInfoCommand = {.name = "info",
                                        .synopsis = "[-U] [--backing_chain] [--json] FILE...",
                                        .summary = "Show what an image file holds.",
                                        .declare = declare_info,
                                        .run = info,
                                        .has_state = false};

}  // namespace sluice::cli
