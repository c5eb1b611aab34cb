#include "cli/image/create_options.hpp"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <utility>

#include "cli/values.hpp"
#include "spec/nearest.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

using qcow2::CreateOptions;
using qcow2::Preallocation;

// One value of -o. Returns false if the value is not possible.
struct FormatOption {
  std::string_view name;
  std::string_view values;  // for the message
  bool (*set)(CreateOptions& options, const std::string& value);
  bool of_raw = false;  // raw files have it, too
};

bool set_flag(const std::string& text, bool& flag);
bool set_version(CreateOptions& options, const std::string& value);
bool set_compression(CreateOptions& options, const std::string& value);
bool set_preallocation(CreateOptions& options, const std::string& value);
bool set_data_file(CreateOptions& options, const std::string& value);
Outcome<void> set_format_option(CreateRequest& request, const std::string& item);

constexpr auto kFormatOptions = std::to_array<FormatOption>({
    {"cluster_size", "a power of two from 512 to 2M",
     [](CreateOptions& options, const std::string& value) {
       return parse_power(value, options.cluster_bits) && options.cluster_bits >= 9 &&
              options.cluster_bits <= 21;
     }},
    {"refcount_bits", "a power of two from 1 to 64",
     [](CreateOptions& options, const std::string& value) {
       return parse_power(value, options.refcount_order) && options.refcount_order <= 6;
     }},
    {"compat", "0.10 or 1.1", set_version},
    {"lazy_refcounts", "on or off",
     [](CreateOptions& options, const std::string& value) {
       return set_flag(value, options.lazy_refcounts);
     }},
    {"extended_l2", "on or off",
     [](CreateOptions& options, const std::string& value) {
       return set_flag(value, options.extended_l2);
     }},
    {"compression_type", "zlib or zstd", set_compression},
    {"data_file", "the name of a file", set_data_file},
    {"data_file_raw", "on or off",
     [](CreateOptions& options, const std::string& value) {
       return set_flag(value, options.data_file_raw);
     }},
    {"preallocation", "off, metadata (not for raw files), falloc or full", set_preallocation, true},
});

}  // namespace

void declare_format_options(CommandLine& line, std::string help) {
  line.add({.letter = 'o',
            .name = "options",
            .value = "NAME=VALUE,...",
            .help = std::move(help),
            .repeated = true});
}

void declare_create(CommandLine& line, std::span<const std::string>) {
  line.add_word("FILE");
  line.add({.name = "size", .value = "SIZE", .help = "of the disk; that of the backing file"});
  line.add({'f', "format", "raw|qcow2", "of the file; raw by default"});
  declare_format_options(line, "of the format: see the manual");
  line.add({'b', "backing", "FILE", "what is not written here is read from this image"});
  line.add({'F', "backing_format", "raw|qcow2", "of the backing file"});
  line.add({.name = "force", .help = "replace FILE if it exists: its content is lost"});
}

Outcome<CreateRequest> read_create_request(const CommandLine& line) {
  if (!line.word() || line.word()->empty()) return usage("'sluice create' needs a FILE");
  CreateRequest request{.path = *line.word(), .force = line.has("force")};
  const std::string format = line.text("format", "raw");
  if (format != "raw" && format != "qcow2") {
    return usage(fmt::format("-f takes 'raw' or 'qcow2', found {}", shown(format)));
  }
  request.is_qcow2 = format == "qcow2";
  CreateOptions& options = request.options;
  const auto size = read_size(line, "size", 0, {0, kSizeMax});
  if (!size) return std::unexpected(size.error());
  options.size_bytes = *size;
  request.has_size = line.has("size");
  if (auto read = read_format_options(line.values("options"), request); !read) {
    return std::unexpected(read.error());
  }
  options.backing_name = line.text("backing");
  options.backing_format = line.text("backing_format");
  if (line.has("backing") != line.has("backing_format")) {
    return usage("-b FILE and -F FORMAT go together");
  }
  if (line.has("backing") && !request.is_qcow2) {
    return usage("a raw file has no backing file: add -f qcow2");
  }
  if (line.has("backing_format") && options.backing_format != "raw" &&
      options.backing_format != "qcow2") {
    return usage(fmt::format("-F takes 'raw' or 'qcow2', found {}", shown(options.backing_format)));
  }
  if (!request.has_size && !line.has("backing"))
    return usage("the size is missing: add --size SIZE");
  if (auto fit = qcow2::check_create_options(options); !fit && request.is_qcow2) {
    return usage(fit.error().text);
  }
  return request;
}

Outcome<void> read_format_options(std::span<const std::string> lists, CreateRequest& request) {
  for (const std::string& list : lists) {
    for (const std::string& item : items_of(list)) {
      if (auto set = set_format_option(request, item); !set) return set;
    }
  }
  return {};
}

namespace {

Outcome<void> set_format_option(CreateRequest& request, const std::string& item) {
  const size_t equals = item.find('=');
  const std::string name = item.substr(0, equals);
  std::vector<std::string_view> names;
  for (const FormatOption& option : kFormatOptions) {
    names.push_back(option.name);
    if (option.name != name) continue;
    if (!request.is_qcow2 && !option.of_raw) {
      return usage(fmt::format("a raw file has no {}: add -f qcow2", name));
    }
    const bool has_value = equals != std::string::npos;
    if (has_value && option.set(request.options, item.substr(equals + 1))) {
      const bool fits =
          request.is_qcow2 || request.options.preallocation != Preallocation::metadata;
      if (fits) return {};
    }
    return usage(fmt::format("{} takes {}, found {}", name, option.values,
                             has_value ? shown(item.substr(equals + 1)) : "nothing"));
  }
  const std::string nearest = did_you_mean(name, names);
  return usage(
      fmt::format("unknown option {} of -o: {}", shown(name),
                  nearest.empty() ? fmt::format("there are {}", fmt::join(names, ", ")) : nearest));
}

bool set_flag(const std::string& text, bool& flag) {
  flag = text == "on";
  return text == "on" || text == "off";
}

bool set_version(CreateOptions& options, const std::string& value) {
  return parse_version(value, options.version);
}

bool set_compression(CreateOptions& options, const std::string& value) {
  using qcow2::Compression;
  options.compression = value == "zstd" ? Compression::zstd : Compression::zlib;
  return value == "zstd" || value == "zlib";
}

bool set_data_file(CreateOptions& options, const std::string& value) {
  options.data_file_name = value;
  return !value.empty();
}

bool set_preallocation(CreateOptions& options, const std::string& value) {
  return parse_preallocation(value, options.preallocation);
}

}  // namespace

std::vector<std::string> items_of(std::string_view list) {
  std::vector<std::string> items(1);
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i] != ',') {
      items.back() += list[i];
    } else if (i + 1 < list.size() && list[i + 1] == ',') {
      items.back() += list[i++];
    } else {
      items.emplace_back();
    }
  }
  return items;
}

bool parse_power(const std::string& text, uint32_t& bits) {
  const auto number = parse_size(text);
  if (!number || !std::has_single_bit(*number)) return false;
  bits = static_cast<uint32_t>(std::countr_zero(*number));
  return true;
}

bool parse_version(const std::string& text, uint32_t& version) {
  const bool is_old = text == "0.10" || text == "v2";
  version = is_old ? 2 : 3;
  return is_old || text == "1.1" || text == "v3";
}

bool parse_preallocation(const std::string& text, qcow2::Preallocation& how) {
  constexpr std::pair<std::string_view, Preallocation> kNames[] = {
      {"off", Preallocation::off},
      {"metadata", Preallocation::metadata},
      {"falloc", Preallocation::falloc},
      {"full", Preallocation::full},
  };
  for (const auto& [name, each] : kNames) {
    if (text != name) continue;
    how = each;
    return true;
  }
  return false;
}

}  // namespace sluice::cli
