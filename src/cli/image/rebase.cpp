// `sluice rebase`.
#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "cli/command.hpp"
#include "cli/image/chain_options.hpp"
#include "cli/image/image_facts.hpp"
#include "cli/image/progress.hpp"
#include "core/file_id.hpp"
#include "image/chain_data.hpp"
#include "spec/shown.hpp"
#include "target/qcow2/offline/set_backing.hpp"

namespace sluice::cli {
namespace {

void declare_rebase(CommandLine& line, std::span<const std::string>) {
  line.add({'b', "backing_file", "FILE", "the new backing file; empty: none"});
  line.add({'F', "backing_format", "raw|qcow2", "its format"});
  line.add(
      {'u', "unsafe", "", "change the name only, and copy nothing: the data must be the same"});
  line.add({'p', "progress", "", "show how far it is"});
  declare_backing_policy(line);
  line.add_word("FILE");
}

struct RebaseRequest {
  std::string path;
  std::string name;  // of the new backing file; empty: none
  std::string format;
  std::string backing;  // its path
};

Outcome<RebaseRequest> read_rebase_request(const CommandLine& line) {
  if (!line.word()) return usage("'sluice rebase' needs a FILE");
  if (!line.has("backing_file")) {
    return usage("'sluice rebase' needs -b FILE, the new backing file, or -b '' for none");
  }
  RebaseRequest request{.path = *line.word(),
                        .name = line.text("backing_file"),
                        .format = line.text("backing_format"),
                        .backing = {}};
  if (request.name.empty()) {
    if (line.has("backing_format")) return usage("-F is the format of a backing file: give -b");
    return request;
  }
  if (request.format != "raw" && request.format != "qcow2") {
    return usage(
        fmt::format("-F takes 'raw' or 'qcow2', the format of the backing file, which is"
                    " never guessed; found {}",
                    shown(request.format)));
  }
  if (request.name.size() > qcow2::kBackingNameMax) {
    return usage(
        fmt::format("the name of a backing file has at most {} bytes", qcow2::kBackingNameMax));
  }
  request.backing = backing_path(request.path, request.name);
  if (!request.backing.empty()) return request;
  return failed(
      fmt::format("{} is no file for QEMU, which takes what precedes the ':' for a "
                  "protocol: write {}",
                  shown(request.name), shell_word("./" + request.name)));
}

Outcome<void> check_rebase(const RebaseRequest& request, const qcow2::Header& header,
                           bool is_unsafe) {
  if (!request.name.empty() && (header.autoclear & qcow2::kRawExternalData) != 0) {
    return failed(fmt::format("{} has its data in a raw file, and can have no backing file",
                              shown(request.path)));
  }
  const auto own = identify(request.path);
  const auto other = identify(request.backing);
  if (!request.name.empty() && own && other && own->shares_data(*other)) {
    return failed(fmt::format("{} cannot be its own backing file", shown(request.path)));
  }
  if (is_unsafe || header.snapshots == 0) return {};
  return failed(
      fmt::format("{} has internal snapshots, which need its present backing file: delete"
                  " them first",
                  shown(request.path)));
}

Outcome<void> change_header(int descriptor, const RebaseRequest& request) {
  const auto changed = qcow2::set_backing(descriptor, request.name, request.format);
  if (changed) return {};
  return failed(fmt::format("{}: {}", shown(request.path), changed.error().text));
}

// The lock of the image lasts until its header has changed.
Outcome<void> close_and_change(std::unique_ptr<image::OpenDisk> disk,
                               const RebaseRequest& request) {
  const int file = disk->stack().files().front();
  const Descriptor held(fcntl(file, F_DUPFD_CLOEXEC, 0));
  // Without O_DIRECT.
  const std::string path = fmt::format("/proc/self/fd/{}", file);
  const Descriptor image(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!held.valid() || !image.valid()) {
    return failed(
        fmt::format("cannot open {} again: {}", shown(request.path), std::strerror(errno)));
  }
  disk->stack().own_files(false);
  disk.reset();
  return change_header(image.number(), request);
}

Outcome<void> rebase_safely(const CommandLine& line, const RebaseRequest& request,
                            const Streams& streams) {
  spdlog::set_level(spdlog::level::warn);  // not how the files are opened
  std::unique_ptr<image::OpenDisk> next;
  if (!request.name.empty()) {
    auto opened = image::OpenDisk::open(disk_spec(request.backing, request.format, line), {});
    if (!opened) return failed(opened.error());
    next = std::move(*opened);
  }
  auto disk = image::OpenDisk::open(disk_spec(request.path, "qcow2", line), {.writable = true});
  if (!disk) return failed(disk.error());
  {
    Progress progress(streams.out, line.has("progress"));
    const auto tell = [&](uint64_t done, uint64_t all) { progress.tell(done, all); };
    if (auto kept = image::keep_data(**disk, next.get(), tell); !kept) return failed(kept.error());
  }
  return close_and_change(std::move(*disk), request);
}

Outcome<void> rebase(const CommandLine& line, const Streams& streams) {
  const auto request = read_rebase_request(line);
  if (!request) return std::unexpected(request.error());
  if (auto policy = read_backing_policy(line); !policy) return std::unexpected(policy.error());
  {
    qcow2::Header header;
    const auto file = open_chain_image(request->path, header);
    if (!file) return std::unexpected(file.error());
    const bool is_unsafe = line.has("unsafe");
    if (auto fits = check_rebase(*request, header, is_unsafe); !fits) return fits;
    if (is_unsafe) return change_header(file->descriptor.number(), *request);
  }
  return rebase_safely(line, *request, streams);
}

}  // namespace

constinit const Command kRebaseCommand = {
    .name = "rebase",
    .synopsis = "-b FILE -F FORMAT [-u] [-p] [--backing same-dir|any] FILE",
    .summary = "Give a qcow2 image another backing file.",
    .declare = declare_rebase,
    .run = rebase,
    .has_state = false};

}  // namespace sluice::cli
