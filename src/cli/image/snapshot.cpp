// `sluice snapshot`.
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <ctime>

#include "cli/command.hpp"
#include "cli/image/image_facts.hpp"
#include "core/big_endian.hpp"
#include "spec/shown.hpp"
#include "target/control_call.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/stack.hpp"

namespace sluice::cli {
namespace {

using qcow2::Snapshot;

// Nobody waits for the disk meanwhile.
constexpr std::chrono::hours kSnapshotLimit{24};

struct SnapshotAction {
  std::string_view option;
  std::string_view verb;  // of target qcow2
};
constexpr SnapshotAction kSnapshotActions[] = {
    {"create", "snapshot-create"}, {"delete", "snapshot-delete"}, {"apply", "snapshot-apply"}};

void declare_snapshot(CommandLine& line, std::span<const std::string>) {
  line.add_word("FILE");
  line.add({'l', "list", "", "list the snapshots, which is also done without an option"});
  line.add({'c', "create", "NAME", "take a snapshot of the disk"});
  line.add({'d', "delete", "NAME|ID", "delete a snapshot"});
  line.add({'a', "apply", "NAME|ID", "make the disk what it was at the snapshot"});
  line.add({'U', "force_share", "", "list also while another program is writing"});
  line.add({'q', "quiet", "", "print nothing but the list, which is so in any case"});
  line.add({.name = "json", .help = "print the list, or the snapshot, as JSON"});
}

// As QEMU writes it: three digits, and a binary unit.
std::string state_size(uint64_t bytes) {
  constexpr std::array<std::string_view, 7> kUnits{"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
  size_t unit = 0;
  for (uint64_t rest = bytes; rest >= 1000 && unit + 1 < kUnits.size(); rest /= 1024) ++unit;
  return fmt::format("{:.3g} {}B",
                     std::ldexp(static_cast<double>(bytes), -10 * static_cast<int>(unit)),
                     kUnits[unit]);
}

std::string list_line(const Snapshot& snapshot) {
  constexpr uint64_t kMilliseconds = 1'000'000;
  const time_t time = snapshot.date_seconds;
  std::tm parts{};
  localtime_r(&time, &parts);
  std::array<char, 32> date{};
  std::strftime(date.data(), date.size(), "%Y-%m-%d %H:%M:%S", &parts);
  const uint64_t clock = snapshot.vm_clock_nanoseconds / kMilliseconds;
  const std::string run = fmt::format("{:02}:{:02}:{:02}.{:03}", clock / 3'600'000,
                                      clock / 60'000 % 60, clock / 1000 % 60, clock % 1000);
  const auto count = snapshot.extra_data.size() < 24
                         ? UINT64_MAX
                         : load_big_endian<uint64_t>(snapshot.extra_data, 16);
  const std::string instructions =
      count == UINT64_MAX ? "" : fmt::format("{}", static_cast<int64_t>(count));
  return fmt::format("{:<9} {:<16} {:>8}{:>20}{:>13}{:>11}\n",
                     printable(snapshot.id, std::string::npos),
                     printable(snapshot.name, std::string::npos),
                     state_size(snapshot.vm_state_bytes), date.data(), run, instructions);
}

std::string list_text(const std::vector<Snapshot>& snapshots) {
  if (snapshots.empty()) return {};
  std::string text = "Snapshot list:\n";
  text += fmt::format("{:<10}{:<17}{:>8}{:>20}{:>13}{:>11}\n", "ID", "TAG", "VM SIZE", "DATE",
                      "VM CLOCK", "ICOUNT");
  for (const Snapshot& each : snapshots) text += list_line(each);
  return text;
}

// The image with its header, locked as `access` says.
Outcome<qcow2::Header> open_qcow2_image(const std::string& path, ImageAccess access,
                                        ImageFile& file) {
  auto opened = open_image(path, access);
  if (!opened) return std::unexpected(opened.error());
  file = std::move(*opened);
  if (file.format != "qcow2") {
    return failed(
        fmt::format("{} is a {} image, which cannot have snapshots", shown(path), file.format));
  }
  auto header = qcow2::read_image_header(file.descriptor.number());
  if (header) return std::move(*header);
  return failed(fmt::format("{}: {}", shown(path), header.error().text));
}

Outcome<void> list_snapshots(const CommandLine& line, const std::string& path,
                             const Streams& streams) {
  const auto access = line.has("force_share") ? ImageAccess::unlocked : ImageAccess::read;
  ImageFile file;
  const auto header = open_qcow2_image(path, access, file);
  if (!header) return std::unexpected(header.error());
  const int descriptor = file.descriptor.number();
  const auto size = qcow2::image_bytes(descriptor);
  if (!size) return failed(size.error());
  const auto found = qcow2::read_snapshots(descriptor, *header, *size);
  if (!found) return failed(fmt::format("{}: {}", shown(path), found.error().text));
  streams.out << (line.has("json") ? written(snapshots_json(found->snapshots))
                                   : list_text(found->snapshots));
  return {};
}

// Bitmaps that are valid now become invalid when the image is opened for writing.
Outcome<void> check_apply(const std::string& path) {
  ImageFile file;
  const auto header = open_qcow2_image(path, ImageAccess::unlocked, file);
  if (!header) return std::unexpected(header.error());
  if (!qcow2::has_valid_bitmaps(*header)) return {};
  return failed(
      fmt::format("{} has dirty bitmaps, which would not know of the change: remove them"
                  " first, with sluice bitmap --remove",
                  shown(path)));
}

// On a control reactor without the time limit of a disk in use.
Result<JsonValue> carry_out(Stack& stack, std::string_view verb, const std::string& name) {
  auto control = ControlReactor::start();
  if (!control) return std::unexpected(control.error());
  if (auto started = stack.life().start(**control); !started) {
    return std::unexpected(started.error());
  }
  ControlCall call{.verb = {.target = std::string(verb)},
                   .deadline = ControlCall::Clock::now() + kSnapshotLimit};
  call.verb.set("name", name);
  Target& target = stack.root();
  const Status done = (*control)->perform(
      [&](Request& request) { return target.control(request, call); }, call.deadline);
  stack.life().stop(**control);
  if (done.ok()) return std::move(call.answer);
  return fail(done.error(), call.why.empty() ? std::strerror(done.error()) : call.why);
}

// By the target, which does the same while the disk is in use.
Outcome<void> change_snapshots(const CommandLine& line, const SnapshotAction& action,
                               const std::string& path, const Streams& streams) {
  if (line.has("force_share")) return failed("-U is for a list: a change needs the image alone");
  {
    ImageFile file;
    const auto header = open_qcow2_image(path, ImageAccess::unlocked, file);
    if (!header) return std::unexpected(header.error());
  }
  if (action.option == "apply") {
    if (auto may = check_apply(path); !may) return may;
  }
  Spec spec{.target = "qcow2"};
  spec.set("file", path);
  spec.set("backing", std::string("any"));
  auto stack = Stack::open(spec, /*read_only=*/false);
  if (!stack) return failed(stack.error());
  if ((*stack)->geometry().read_only) {
    return failed(fmt::format("{} can only be read", shown(path)));
  }
  const auto answer = carry_out(**stack, action.verb, line.text(action.option));
  if (!answer) return failed(answer.error());
  if (line.has("json")) streams.out << written(Json(*answer));
  return {};
}

Outcome<void> snapshot(const CommandLine& line, const Streams& streams) {
  if (!line.word()) return failed("'sluice snapshot' needs a FILE");
  const SnapshotAction* chosen = nullptr;
  int given = line.has("list") ? 1 : 0;
  for (const SnapshotAction& each : kSnapshotActions) {
    given += static_cast<int>(line.values(each.option).size());
    if (line.has(each.option)) chosen = &each;
  }
  if (given > 1) return failed("give one of -l, -c, -d and -a, once");
  if (chosen == nullptr) return list_snapshots(line, *line.word(), streams);
  return change_snapshots(line, *chosen, *line.word(), streams);
}

}  // namespace

// As for qemu-img, all failures are 1.
constinit const Command kSnapshotCommand = {
    .name = "snapshot",
    .synopsis = "[-l [-U] | -c NAME | -d NAME|ID | -a NAME|ID] [-q] [--json] FILE",
    .summary = "List, take, delete or apply the internal snapshots of a qcow2 image.",
    .declare = declare_snapshot,
    .run = snapshot,
    .has_state = false,
    .usage_exit = Exit::failure};

}  // namespace sluice::cli
