// `sluice amend`.
#include <fmt/format.h>

#include <array>
#include <optional>

#include "cli/command.hpp"
#include "cli/image/create_options.hpp"
#include "cli/image/resize_image.hpp"
#include "spec/nearest.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/qcow2/offline/amend.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/offline/shrink.hpp"

namespace sluice::cli {
namespace {

struct AmendRequest {
  qcow2::AmendOptions options = {};
  std::optional<uint64_t> size_bytes = {};
  bool is_empty = true;
};

// One value of -o. Returns false if the value is not possible.
struct AmendOption {
  std::string_view name;
  std::string_view values;  // for the message
  bool (*set)(AmendRequest& request, const std::string& value);
};

bool set_text(std::optional<std::string>& text, const std::string& value) {
  text = value;
  return true;
}

bool set_on_off(std::optional<bool>& flag, const std::string& value) {
  flag = value == "on";
  return value == "on" || value == "off";
}

constexpr auto kAmendOptions = std::to_array<AmendOption>({
    {"compat", "0.10 or 1.1",
     [](AmendRequest& request, const std::string& value) {
       return parse_version(value, request.options.version.emplace());
     }},
    {"refcount_bits", "a power of two from 1 to 64",
     [](AmendRequest& request, const std::string& value) {
       uint32_t& order = request.options.refcount_order.emplace();
       return parse_power(value, order) && order <= 6;
     }},
    {"lazy_refcounts", "on or off",
     [](AmendRequest& request, const std::string& value) {
       return set_on_off(request.options.lazy_refcounts, value);
     }},
    {"data_file", "the name of a file",
     [](AmendRequest& request, const std::string& value) {
       return set_text(request.options.data_file_name, value) && !value.empty();
     }},
    {"data_file_raw", "on or off",
     [](AmendRequest& request, const std::string& value) {
       return set_on_off(request.options.data_file_raw, value);
     }},
    {"backing_file", "the name of a file, or nothing",
     [](AmendRequest& request, const std::string& value) {
       return set_text(request.options.backing_name, value);
     }},
    {"backing_fmt", "raw or qcow2",
     [](AmendRequest& request, const std::string& value) {
       return set_text(request.options.backing_format, value) &&
              (value == "raw" || value == "qcow2");
     }},
    {"size", "bytes, or a number with a unit such as 10G",
     [](AmendRequest& request, const std::string& value) {
       const auto bytes = parse_size(value);
       if (bytes) request.size_bytes = *bytes;
       return bytes && *bytes != 0;
     }},
});

// What only a new image can have.
constexpr auto kFixedOptions = std::to_array<std::string_view>(
    {"cluster_size", "extended_l2", "compression_type", "preallocation"});

void declare_amend(CommandLine& line, std::span<const std::string>) {
  line.add_word("FILE");
  declare_format_options(line, "what to change: see the manual");
}

Outcome<void> set_amend_option(AmendRequest& request, const std::string& item) {
  const size_t equals = item.find('=');
  const std::string name = item.substr(0, equals);
  std::vector<std::string_view> names;
  for (const std::string_view fixed : kFixedOptions) {
    if (name != fixed) continue;
    return usage(
        fmt::format("{} of an image never changes: make a new image with sluice convert", fixed));
  }
  for (const AmendOption& option : kAmendOptions) {
    names.push_back(option.name);
    if (option.name != name) continue;
    const bool has_value = equals != std::string::npos;
    request.is_empty = false;
    if (has_value && option.set(request, item.substr(equals + 1))) return {};
    return usage(fmt::format("{} takes {}, found {}", name, option.values,
                             has_value ? shown(item.substr(equals + 1)) : "nothing"));
  }
  const std::string nearest = did_you_mean(name, names);
  return usage(
      fmt::format("unknown option {} of -o: {}", shown(name),
                  nearest.empty() ? fmt::format("there are {}", fmt::join(names, ", ")) : nearest));
}

Outcome<AmendRequest> read_amend_request(const CommandLine& line) {
  if (!line.word() || line.word()->empty()) return usage("'sluice amend' needs a FILE");
  AmendRequest request;
  for (const std::string& list : line.values("options")) {
    for (const std::string& item : items_of(list)) {
      if (auto set = set_amend_option(request, item); !set) return std::unexpected(set.error());
    }
  }
  if (request.is_empty) return usage("nothing to change: give -o NAME=VALUE");
  return request;
}

// The size last: the image is then what the other options make it.
Outcome<void> amend(const CommandLine& line, const Streams&) {
  const auto request = read_amend_request(line);
  if (!request) return std::unexpected(request.error());
  auto file = open_image(*line.word(), ImageAccess::write);
  if (!file) return std::unexpected(file.error());
  if (file->format != "qcow2") {
    return failed(fmt::format("{} is a {} image: only qcow2 images have options to amend",
                              shown(file->path), file->format));
  }
  const auto refuse = [&](const Error& why) {
    return failed(fmt::format("{} cannot be amended: {}", shown(file->path), why.text));
  };
  const int descriptor = file->descriptor.number();
  const auto header = qcow2::read_image_header(descriptor);
  if (!header) return refuse(header.error());
  const uint64_t now = header->size_bytes;
  const uint64_t wanted = request->size_bytes.value_or(now);
  if (wanted < now) {
    return failed(fmt::format("{} has {} bytes: only sluice resize --shrink makes it smaller",
                              shown(file->path), now));
  }
  if (wanted % 512 != 0) {
    return failed(fmt::format("size {} is no multiple of 512: {}", wanted,
                              advise_multiple(wanted, 512, now)));
  }
  if (wanted > now) {
    if (auto may = qcow2::check_may_resize(*header); !may) return refuse(may.error());
  }
  if (auto done = qcow2::amend_image(descriptor, request->options); !done) {
    return refuse(done.error());
  }
  if (wanted == now) return {};
  return grow_qcow2(std::move(*file), now, wanted, qcow2::Preallocation::off);
}

}  // namespace

constinit const Command kAmendCommand = {
    .name = "amend",
    .synopsis = "-o NAME=VALUE[,...] FILE",
    .summary = "Change the options of a qcow2 image that is not in use.",
    .declare = declare_amend,
    .run = amend,
    .has_state = false};

}  // namespace sluice::cli
