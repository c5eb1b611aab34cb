// `sluice commit`.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "cli/command.hpp"
#include "cli/image/chain_options.hpp"
#include "cli/image/progress.hpp"
#include "image/chain_data.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

void declare_commit(CommandLine& line, std::span<const std::string>) {
  line.add({'d', "keep", "", "leave the image as it is, instead of emptying it"});
  line.add({'p', "progress", "", "show how far it is"});
  declare_backing_policy(line);
  line.add_word("FILE");
}

// Of the backing file.
Outcome<Spec> find_base(const CommandLine& line, const std::string& path,
                        const qcow2::Header& header, qcow2::NamePolicy policy) {
  if (header.backing_name.empty()) {
    return failed(
        fmt::format("{} has no backing file: there is nothing to commit to", shown(path)));
  }
  const std::string& format = header.backing_format;
  if (format.empty()) {
    return failed(
        fmt::format("{} does not record the format of its backing file, which is never"
                    " guessed: record it with sluice rebase -u -b {} -F FORMAT {}",
                    shown(path), shell_word(header.backing_name), shell_word(path)));
  }
  if (format != "raw" && format != "qcow2") {
    return failed(
        fmt::format("the backing file of {} has the format {}: only raw and qcow2 are"
                    " written",
                    shown(path), shown(format)));
  }
  const auto base = qcow2::resolve_name(path, header.backing_name, policy, "backing file");
  if (!base) return failed(base.error());
  return disk_spec(*base, format, line);
}

// What is in both may go: the base has it, durably.
Outcome<void> empty_overlay(image::OpenDisk& overlay) {
  Status status = overlay.discard(0, overlay.size_bytes());
  if (status.ok()) status = overlay.flush();
  if (status.ok()) return {};
  return failed(fmt::format("{}; its data is in the backing file, and both are in order",
                            overlay.explain("empty", 0, status).text));
}

Outcome<void> commit(const CommandLine& line, const Streams& streams) {
  if (!line.word()) return usage("'sluice commit' needs a FILE");
  const std::string path = *line.word();
  const auto policy = read_backing_policy(line);
  if (!policy) return std::unexpected(policy.error());
  qcow2::Header header;
  {
    const auto file = open_chain_image(path, header);
    if (!file) return std::unexpected(file.error());
  }
  if (header.has(qcow2::kExternalData) && !line.has("keep")) {
    return failed(fmt::format("{} has its data in another file, and cannot be emptied: give -d",
                              shown(path)));
  }
  const auto base_spec = find_base(line, path, header, *policy);
  if (!base_spec) return std::unexpected(base_spec.error());
  spdlog::set_level(spdlog::level::warn);  // not how the files are opened
  const auto overlay = image::OpenDisk::open(disk_spec(path, "qcow2", line),
                                             {.writable = true, .without_backing = true});
  if (!overlay) return failed(overlay.error());
  const auto base = image::OpenDisk::open(*base_spec, {.writable = true});
  if (!base) return failed(base.error());
  {
    Progress progress(streams.out, line.has("progress"));
    const auto tell = [&](uint64_t done, uint64_t all) { progress.tell(done, all); };
    if (auto done = image::commit_data(**overlay, **base, tell); !done) return failed(done.error());
  }
  return line.has("keep") ? Outcome<void>() : empty_overlay(**overlay);
}

}  // namespace

constinit const Command kCommitCommand = {
    .name = "commit",
    .synopsis = "[-d] [-p] [--backing same-dir|any] FILE",
    .summary = "Write the data of a qcow2 image into its backing file.",
    .declare = declare_commit,
    .run = commit,
    .has_state = false};

}  // namespace sluice::cli
