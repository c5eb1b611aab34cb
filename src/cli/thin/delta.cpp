// `sluice thin delta`.
#include "persistent/delta.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "cli/thin/thin.hpp"
#include "cli/values.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

using persistent::DeltaRun;
using persistent::Difference;
using persistent::Superblock;
using persistent::ThinDevice;

constexpr size_t kDeltaTextMost = 64 << 10;  // is written then

enum class DeltaForm : uint8_t { text, json, xml };

// thin_delta has names of its own.
const char* name_of(Difference difference, DeltaForm form) {
  switch (difference) {
    case Difference::same:
      return "same";
    case Difference::changed:
      return form == DeltaForm::xml ? "different" : "changed";
    case Difference::removed:
      return form == DeltaForm::xml ? "left_only" : "removed";
    case Difference::added:
      return form == DeltaForm::xml ? "right_only" : "added";
  }
  return "";
}

// Prints the runs as they come.
class DeltaPrinter {
 public:
  DeltaPrinter(std::ostream& out, DeltaForm form, const Superblock& superblock)
      : out_(out), form_(form), superblock_(superblock) {}

  void begin(uint64_t from, uint64_t to) {
    if (form_ == DeltaForm::json) text_ += "[";
    if (form_ != DeltaForm::xml) return;
    text_ =
        fmt::format(R"(<superblock uuid="" time="{}" transaction="{}" data_block_size="{}" )"
                    R"(nr_data_blocks="{}">)"
                    "\n"
                    R"(  <diff left="{}" right="{}">)"
                    "\n",
                    superblock_.time, superblock_.transaction_id, superblock_.data_block_sectors,
                    superblock_.data_space_map.blocks, from, to);
  }

  // False: it is not in a disk of any size.
  bool add(const DeltaRun& run) {
    const uint64_t most = kSizeMax / superblock_.data_block_bytes();
    const char* const name = name_of(run.difference, form_);
    const auto out = std::back_inserter(text_);
    if (form_ == DeltaForm::xml) {
      fmt::format_to(out, "    <{} begin=\"{}\" length=\"{}\"/>\n", name, run.device_block,
                     run.length);
    } else if (run.difference != Difference::same) {
      if (run.device_block > most || run.length > most - run.device_block) return false;
      const uint64_t offset = run.device_block * superblock_.data_block_bytes();
      const uint64_t length = run.length * superblock_.data_block_bytes();
      if (form_ == DeltaForm::text) {
        fmt::format_to(out, "{} {} {}\n", offset, length, name);
      } else {
        fmt::format_to(out, "{}\n  {{\"offset\": {}, \"length\": {}, \"difference\": \"{}\"}}",
                       is_first_ ? "" : ",", offset, length, name);
      }
      is_first_ = false;
    }
    if (text_.size() >= kDeltaTextMost) write();
    return true;
  }

  void end() {
    if (form_ == DeltaForm::json) text_ += is_first_ ? "]\n" : "\n]\n";
    if (form_ == DeltaForm::xml) text_ += "  </diff>\n</superblock>\n";
    write();
  }
  void write() {
    out_ << text_;
    text_.clear();
  }

 private:
  std::ostream& out_;
  const DeltaForm form_;
  const Superblock superblock_;
  std::string text_;
  bool is_first_ = true;
};

Outcome<ThinDevice> find_device(const OpenMetadata& pool, const std::vector<ThinDevice>& devices,
                                uint64_t id) {
  const auto found = std::ranges::find(devices, id, &ThinDevice::id);
  if (found != devices.end()) return *found;
  return failed(fmt::format("{} has no thin device {}", shown(pool.disk->name()), id));
}

}  // namespace

Outcome<void> show_delta(const CommandLine& line, const Streams& streams) {
  if (line.has("json") && line.has("xml"))
    return failed("--json and --xml are two forms: give one");
  const auto from_id = option_device_id(line, "from");
  if (!from_id) return std::unexpected(from_id.error());
  const auto to_id = option_device_id(line, "to");
  if (!to_id) return std::unexpected(to_id.error());
  const auto pool = open_metadata(line);
  if (!pool) return std::unexpected(pool.error());
  const auto devices = persistent::read_devices(*pool->reader, pool->superblock);
  if (!devices) return std::unexpected(blame_metadata(*pool->disk, devices.error()));
  const auto from = find_device(*pool, *devices, *from_id);
  if (!from) return std::unexpected(from.error());
  const auto to = find_device(*pool, *devices, *to_id);
  if (!to) return std::unexpected(to.error());
  const DeltaForm form = line.has("xml")    ? DeltaForm::xml
                         : line.has("json") ? DeltaForm::json
                                            : DeltaForm::text;
  DeltaPrinter printer(streams.out, form, pool->superblock);
  bool fits = true;
  printer.begin(*from_id, *to_id);
  const auto done = persistent::for_each_difference(
      *pool->reader, from->root, to->root,
      [&](const DeltaRun& run) { fits = fits && printer.add(run); });
  if (done && fits) {
    printer.end();
    return {};
  }
  printer.write();  // what could be read; the text is not complete
  if (!done) return std::unexpected(blame_metadata(*pool->disk, done.error()));
  return failed(fmt::format("{} has mappings beyond 8 EiB: only --xml shows them",
                            shown(pool->disk->name())));
}

}  // namespace sluice::cli
