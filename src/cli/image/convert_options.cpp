#include "cli/image/convert_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "cli/image/image_source.hpp"
#include "cli/values.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

constexpr uint64_t kAtOnceMost = 16;  // as in qemu-img
constexpr uint64_t kSparseMost = 1 << 20;
constexpr uint64_t kSectorBytes = 512;

// What qemu-img convert has, and this does not.
void refuse_others(CommandLine& line) {
  line.refuse('W', "out_of_order", "what is read first is always written first: leave -W out");
  line.refuse('C', "copy_offloading", "there is no copy offloading: leave -C out");
  line.refuse('r', "rate_limit", "there is no limit on the rate: leave -r out");
  line.refuse(0, "bitmaps", "bitmaps are not copied: use qemu-img convert --bitmaps");
  line.refuse(0, "skip_broken_bitmaps", "bitmaps are not copied: use qemu-img convert --bitmaps");
  line.refuse(0, "salvage", "data that cannot be read is never replaced: use qemu-img convert");
  line.refuse(0, "image_opts", "write the source as a SPEC, see sluice help add");
  line.refuse(0, "target_image_opts", "write the target as a SPEC, see sluice help add");
  line.refuse(0, "object", "there are no QEMU objects here: write a SPEC, see sluice help add");
}

Outcome<bool> read_cache(const CommandLine& line, std::string_view option) {
  const std::string mode = line.text(option, "writeback");
  if (mode == "writeback") return true;
  if (mode == "none") return false;
  return usage(fmt::format("{} takes 'none' or 'writeback', found {}", line.find(option)->shown(),
                           shown(mode)));
}

Outcome<void> read_numbers(const CommandLine& line, ConvertRequest& request) {
  const auto at_once = read_number(line, "coroutines", request.at_once, {1, kAtOnceMost});
  if (!at_once) return std::unexpected(at_once.error());
  request.at_once = static_cast<uint16_t>(*at_once);
  const auto sparse = read_size(line, "sparse_size", request.sparse_bytes, {0, kSparseMost});
  if (!sparse) return std::unexpected(sparse.error());
  if (*sparse != 0 && (*sparse < kSectorBytes || !std::has_single_bit(*sparse))) {
    return usage(fmt::format("-S takes 0 or a power of two from 512 to 1M, found {}", *sparse));
  }
  request.sparse_bytes = *sparse;
  const auto begin = read_size(line, "start", 0, {0, kSizeMax});
  if (!begin) return std::unexpected(begin.error());
  request.begin = *begin;
  const auto source_cached = read_cache(line, "source_cache");
  if (!source_cached) return std::unexpected(source_cached.error());
  request.source_cached = *source_cached;
  const auto target_cached = read_cache(line, "cache");
  if (!target_cached) return std::unexpected(target_cached.error());
  request.target_cached = *target_cached;
  return {};
}

Outcome<void> read_target(const CommandLine& line, ConvertRequest& request) {
  auto format = read_format(line, "output_format");
  if (!format) return std::unexpected(format.error());
  request.target_format = *format;
  CreateRequest& target = request.target;
  target.is_qcow2 = *format == "qcow2";
  target.force = line.has("force");
  target.options.backing_name = line.text("backing");
  const auto backing_format = read_format(line, "backing_format");
  if (!backing_format) return std::unexpected(backing_format.error());
  target.options.backing_format = *backing_format;
  return read_format_options(line.values("options"), target);
}

// Which of them go together.
Outcome<void> check_together(const CommandLine& line, const ConvertRequest& request) {
  const auto& options = request.target.options;
  if (request.compress && !request.target.is_qcow2) return usage("-c goes with -O qcow2 only");
  if (line.has("backing") && !request.target.is_qcow2) {
    return usage("a raw disk has no backing file: -B goes with -O qcow2 only");
  }
  if (line.has("backing") != line.has("backing_format")) {
    return usage("-B FILE and -F FORMAT go together");
  }
  if (request.compress && !options.data_file_name.empty()) {
    return usage("clusters in a data file are not compressed: leave out -c or data_file");
  }
  if (request.compress && options.preallocation != qcow2::Preallocation::off) {
    return usage(
        "compressed clusters cannot be allocated in advance: leave out -c or preallocation");
  }
  if (request.exists && line.has("options")) {
    return usage("-n writes to an image that exists already: leave out -o");
  }
  if (request.exists && request.target.force) {
    return usage("-n keeps the target that exists, --force replaces it: give one of them");
  }
  if (!request.exists && request.is_zero) return usage("--target-is-zero goes with -n only");
  if (!request.exists && request.begin != 0) return usage("--start goes with -n only");
  return {};
}

}  // namespace

void declare_convert(CommandLine& line, std::span<const std::string>) {
  line.add_word("SOURCE");
  line.add_word("DESTINATION");
  declare_source(line, "of the source, instead of what its header says");
  line.add({'O', "output_format", "raw|qcow2", "of the target; raw by default"});
  declare_format_options(line, "of the new image: see sluice-create(8)");
  line.add({'B', "backing", "FILE", "the new image has only what differs from this one"});
  line.add({'F', "backing_format", "raw|qcow2", "of the backing file"});
  line.add({'l', "snapshot", "NAME", "copy this internal snapshot of the source: name or id"});
  line.add({.letter = 'c', .name = "compress", .help = "compress the clusters of the target"});
  line.add({'m', "coroutines", "NUMBER", "how many pieces are copied at once, up to 16; 8"});
  line.add({'S', "sparse_size", "SIZE", "leave out zeroes of at least this length; 4k, 0: none"});
  line.add({'t', "cache", "none|writeback", "how the target is written; writeback"});
  line.add({'T', "source_cache", "none|writeback", "how the source is read; writeback"});
  line.add({.letter = 'n', .name = "no_create", .help = "the target exists: a file or a SPEC"});
  line.add({.name = "target_is_zero", .help = "with -n: it has only zeroes"});
  line.add({.name = "start", .value = "OFFSET", .help = "with -n: go on from here"});
  line.add({.name = "force", .help = "replace DESTINATION if it exists: its content is lost"});
  line.add({.letter = 'p', .name = "progress", .help = "show how far it is"});
  line.add({.letter = 'q', .name = "quiet", .help = "do not"});
  refuse_others(line);
}

Outcome<ConvertRequest> read_convert_request(const CommandLine& line) {
  if (line.words().size() < 2 || line.words()[1].empty()) {
    return usage("'sluice convert' needs a SOURCE and a DESTINATION");
  }
  ConvertRequest request{.source = line.words()[0]};
  request.target.path = line.words()[1];
  request.target.has_size = true;
  request.target.any_size = true;
  auto format = read_format(line, kFormat);
  if (!format) return std::unexpected(format.error());
  request.source_format = *format;
  request.snapshot = line.text("snapshot");
  request.unlocked = line.has(kForceShare);
  request.exists = line.has("no_create");
  request.is_zero = line.has("target_is_zero");
  request.compress = line.has("compress");
  request.shows_progress = line.has("progress") && !line.has("quiet");
  if (auto read = read_numbers(line, request); !read) return std::unexpected(read.error());
  if (auto read = read_target(line, request); !read) return std::unexpected(read.error());
  if (auto fit = check_together(line, request); !fit) return std::unexpected(fit.error());
  return request;
}

}  // namespace sluice::cli
