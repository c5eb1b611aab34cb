#include "cli/image/served_image.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "daemon/state.hpp"
#include "spec/shown.hpp"
#include "target/qcow2/offline/image_io.hpp"

namespace sluice::cli {

const Spec* find_spec(const Spec& root, std::string_view path) {
  const Spec* found = &root;
  path.remove_prefix(1);
  while (!path.empty()) {
    const std::string_view word = path.substr(0, path.find('/'));
    size_t number = 0;
    std::from_chars(word.data(), word.data() + word.size(), number);
    if (number >= found->children.size()) return nullptr;
    found = &found->children[number];
    path.remove_prefix(std::min(word.size() + 1, path.size()));
  }
  return found;
}

std::string file_of_image(const Spec& spec) {
  if (spec.children.empty()) return spec.text("file");
  const Spec& child = spec.children.front();
  return child.target == "loop" && !child.has("offset") ? child.text("file") : std::string();
}

Outcome<qcow2::NamePolicy> policy_of(const Spec& spec) {
  const auto policy = qcow2::parse_policy(spec.has("backing") ? spec.text("backing") : "same-dir");
  if (!policy) return failed("the record of the device is not understood");
  return *policy;
}

Outcome<Descriptor> open_to_look(const std::string& image) {
  Descriptor opened(::open(image.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (opened.valid()) return opened;
  return failed(fmt::format("cannot open {}: {}", shown(image), std::strerror(errno)));
}

Outcome<void> add_backing_file(uint32_t device, std::string_view target_path, Spec& verb) {
  if (!verb.children.empty()) {
    return usage("'commit' takes no file: it writes to the one that the image names");
  }
  if (verb.flag("pivot") || verb.flag("cancel")) return {};
  const auto record = read_record(device);
  if (!record) return failed(record.error());
  const Spec* const spec = find_spec(record->spec, target_path);
  const std::string image = spec == nullptr ? std::string() : file_of_image(*spec);
  if (image.empty()) {
    return failed("the image is no file of its own, so that its backing file cannot be found");
  }
  const auto opened = open_to_look(image);
  if (!opened) return std::unexpected(opened.error());
  const auto header = qcow2::read_image_header(opened->number());
  if (!header) return failed(header.error());
  if (header->backing_name.empty()) {
    return failed(
        fmt::format("{} has no backing file: there is nothing to commit to", shown(image)));
  }
  const auto policy = policy_of(*spec);
  if (!policy) return std::unexpected(policy.error());
  const auto base = qcow2::resolve_name(image, header->backing_name, *policy, "backing file");
  if (!base) return failed(base.error());
  // In blocks of 512 bytes, which is what images are made of.
  Spec file{.target = "loop"};
  file.set("file", *base);
  file.set("block", uint64_t{512});
  file.set("buffered_io", spec->flag("buffered_io"));
  verb.children.push_back(std::move(file));
  return {};
}

}  // namespace sluice::cli
