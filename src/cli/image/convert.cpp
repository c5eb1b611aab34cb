// `sluice convert`.
#include <fmt/format.h>
#include <poll.h>
#include <spdlog/sinks/base_sink.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <mutex>

#include "cli/command.hpp"
#include "cli/image/convert_options.hpp"
#include "cli/image/image_facts.hpp"
#include "cli/image/image_source.hpp"
#include "cli/image/interrupts.hpp"
#include "cli/image/new_image.hpp"
#include "core/log.hpp"
#include "image/copy.hpp"
#include "image/open_disk.hpp"
#include "spec/shown.hpp"
#include "target/qcow2/offline/trim.hpp"

namespace sluice::cli {
namespace {

using image::Copy;
using image::OpenDisk;

constexpr uint64_t kSector = 512;
constexpr uint64_t kPieceBytes = 1 << 20;
constexpr int kProgressMs = 200;

// Notices that something was logged: targets report only there what fails at their end.
class Notice final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  bool is_given() const { return is_given_; }

 private:
  void sink_it_(const spdlog::details::log_msg&) override { is_given_ = true; }
  void flush_() override {}

  std::atomic<bool> is_given_ = false;
};

// One run of the command.
class Conversion {
 public:
  Conversion(ConvertRequest request, const Streams& streams)
      : request_(std::move(request)), streams_(streams) {}

  Outcome<void> run();

 private:
  Outcome<void> open_source();
  Outcome<void> open_target();
  Outcome<Spec> target_spec();
  Outcome<void> make_target();
  Outcome<void> check_target() const;
  Outcome<bool> has_backing(const std::string& path, ImageAccess access,
                            const std::string& name) const;
  Outcome<Copy::Plan> plan() const;
  Outcome<void> copy();
  Outcome<Copy::Outcome> wait(Copy& copy);
  void show(uint64_t done) const;
  Outcome<void> settle(const Copy::Outcome& outcome);
  Outcome<void> close();
  std::string how_to_go_on(uint64_t good_until) const;
  void trim() const;

  ConvertRequest request_;
  const Streams& streams_;
  Interrupts interrupts_;
  NewImage made_;
  std::unique_ptr<OpenDisk> source_;
  std::unique_ptr<OpenDisk> target_;
  bool source_has_backing_ = false;
};

// As qemu-img does, unless the spec says something else.
void use_page_cache(Spec& spec) {
  const bool has_option = spec.target == "loop" || spec.target == "qcow2";
  if (has_option && !spec.has("buffered_io")) spec.set("buffered_io", true);
  for (Spec& child : spec.children) use_page_cache(child);
}

Outcome<void> Conversion::run() {
  log().set_level(spdlog::level::off);  // what fails is reported once, at the end
  if (auto opened = open_source(); !opened) return opened;
  if (auto opened = open_target(); !opened) return opened;
  if (target_ != nullptr) {
    if (auto copied = copy(); !copied) return copied;
  }
  made_.keep();
  return {};
}

Outcome<void> Conversion::open_source() {
  auto spec = source_spec(request_.source, request_.source_format, request_.unlocked);
  if (!spec) return std::unexpected(spec.error());
  if (!request_.snapshot.empty()) {
    if (spec->target != "qcow2") {
      return failed(
          fmt::format("-l goes with a qcow2 image, which {} is not", shown(request_.source)));
    }
    spec->set("snapshot", request_.snapshot);
  }
  if (spec->target == "qcow2" && spec->has("file")) {
    const ImageAccess access = request_.unlocked ? ImageAccess::unlocked : ImageAccess::read;
    const auto found = has_backing(spec->text("file"), access, {});
    if (!found) return std::unexpected(found.error());
    source_has_backing_ = *found;
  }
  if (request_.source_cached) use_page_cache(*spec);
  auto opened = OpenDisk::open(*spec, {.name = request_.source, .unlocked = request_.unlocked});
  if (!opened) return failed(opened.error());
  source_ = std::move(*opened);
  return {};
}

// Whether the image has a backing file, of this name if there is one.
Outcome<bool> Conversion::has_backing(const std::string& path, ImageAccess access,
                                      const std::string& name) const {
  const auto facts = read_image_facts(path, access);
  if (!facts) return std::unexpected(facts.error());
  if (!facts->qcow2 || facts->qcow2->header.backing_name.empty()) return false;
  return name.empty() || facts->qcow2->header.backing_name == name;
}

// No target is opened for a disk without data.
Outcome<void> Conversion::open_target() {
  if (!request_.exists) {
    if (auto made = make_target(); !made) return made;
    if (source_->size_bytes() == 0) return {};
  }
  auto spec = target_spec();
  if (!spec) return std::unexpected(spec.error());
  if (request_.target_cached) use_page_cache(*spec);
  if (request_.compress) spec->set("compress", true);
  auto opened = OpenDisk::open(*spec, {.name = request_.target.path, .writable = true});
  if (!opened) return failed(opened.error());
  target_ = std::move(*opened);
  return check_target();
}

Outcome<Spec> Conversion::target_spec() {
  const std::string& path = request_.target.path;
  const std::string& backing = request_.target.options.backing_name;
  if (request_.exists && backing.empty()) return destination_spec(path, request_.target_format);
  if (request_.exists) {
    const auto found = has_backing(path, ImageAccess::read, backing);
    if (!found) return std::unexpected(found.error());
    if (!*found) {
      return failed(fmt::format("{} is no image with the backing file {}, as -B says", shown(path),
                                shown(backing)));
    }
  }
  Spec spec{.target = request_.target.is_qcow2 ? "qcow2" : "loop"};
  spec.set("file", path);
  // The files were named by the user.
  if (request_.target.is_qcow2) spec.set("backing", std::string("any"));
  return spec;
}

Outcome<void> Conversion::make_target() {
  const uint64_t size = source_->size_bytes();
  CreateRequest& target = request_.target;
  target.options.size_bytes = target.is_qcow2 ? (size + kSector - 1) / kSector * kSector : size;
  if (auto checked = check_other_file(target.path, request_.source); !checked) return checked;
  if (auto made = made_.make(target); !made) return made;
  made_.release();
  return {};
}

Outcome<void> Conversion::check_target() const {
  if (target_->size_bytes() >= source_->size_bytes()) return {};
  return failed(fmt::format("{} has {} bytes, and {} has {}: make the target that large first",
                            shown(target_->name()), target_->size_bytes(), shown(source_->name()),
                            source_->size_bytes()));
}

Outcome<Copy::Plan> Conversion::plan() const {
  const bool is_new = !request_.exists;
  const bool has_backing = !request_.target.options.backing_name.empty();
  // What the target maps as one is written as one.
  const uint64_t unit = request_.target.is_qcow2 ? target_->geometry().io_opt_bytes : 0;
  const uint64_t align =
      std::max({uint64_t{source_->block_bytes()}, uint64_t{target_->block_bytes()},
                request_.sparse_bytes, std::bit_floor(std::max<uint64_t>(unit, 1))});
  const uint64_t size = source_->size_bytes();
  if (request_.begin % align != 0 || request_.begin > size) {
    return failed(fmt::format("--start takes a multiple of {} up to {}, found {}", align, size,
                              request_.begin));
  }
  return Copy::Plan{.pieces = {.begin = request_.begin,
                               .end = size,
                               .align_bytes = align,
                               .piece_bytes = std::max(kPieceBytes, align),
                               .reads_all = request_.sparse_bytes == 0,
                               .target_is_zero = (is_new || request_.is_zero) && !has_backing,
                               .skips_unallocated = has_backing && source_has_backing_},
                    .grain_bytes = request_.sparse_bytes == 0 ? 0 : align,
                    .at_once = request_.at_once};
}

Outcome<void> Conversion::copy() {
  const auto wanted = plan();
  if (!wanted) return std::unexpected(wanted.error());
  auto copy = Copy::begin(*source_, *target_, *wanted);
  if (!copy) return failed(copy.error());
  const auto outcome = wait(**copy);
  copy->reset();
  return outcome ? settle(*outcome) : std::unexpected(outcome.error());
}

Outcome<Copy::Outcome> Conversion::wait(Copy& copy) {
  pollfd events[] = {{.fd = copy.ended_descriptor(), .events = POLLIN, .revents = 0},
                     {.fd = interrupts_.descriptor(), .events = POLLIN, .revents = 0}};
  while ((events[0].revents & POLLIN) == 0) {
    if (request_.shows_progress) show(copy.done_bytes());
    poll(events, std::size(events), request_.shows_progress ? kProgressMs : -1);
    if ((events[1].revents & POLLIN) == 0) continue;
    copy.stop();
    events[1].fd = -1;
  }
  const Copy::Outcome outcome = copy.finish();
  if (request_.shows_progress) {
    show(outcome.good_until);
    streams_.out << '\n' << std::flush;
  }
  return outcome;
}

void Conversion::show(uint64_t done) const {
  const double percent =
      100 * static_cast<double>(done) / static_cast<double>(source_->size_bytes());
  streams_.out << fmt::format("    ({:.2f}/100%)\r", percent) << std::flush;
}

// Nothing counts that is not on the target.
Outcome<void> Conversion::settle(const Copy::Outcome& outcome) {
  const Status flushed = target_->flush();
  const bool failed_before = outcome.error.error != 0 || outcome.stopped;
  if (!failed_before) {
    if (!flushed.ok()) return failed(target_->explain("flush", 0, flushed));
    if (auto closed = close(); !closed) return closed;
    trim();
    return {};
  }
  const std::string why =
      outcome.error.error != 0 ? outcome.error.text : "the copy was interrupted";
  if (flushed.ok() && outcome.good_until > request_.begin) {
    made_.keep();
    return failed(why + how_to_go_on(outcome.good_until));
  }
  const bool is_removed = !request_.exists && made_.is_new();
  return failed(why + (is_removed ? fmt::format("; {} is removed", shown(request_.target.path))
                                  : fmt::format("; what {} has now is not a copy",
                                                shown(request_.target.path))));
}

std::string Conversion::how_to_go_on(uint64_t good_until) const {
  return fmt::format(
      "; {} has the first {} bytes of {} bytes: to go on, repeat the command with "
      "{}--start {}{}",
      shown(request_.target.path), good_until, source_->size_bytes(), request_.exists ? "" : "-n ",
      good_until, request_.exists ? "" : ", without -o and --force");
}

Outcome<void> Conversion::close() {
  const auto notice = std::make_shared<Notice>();
  log().sinks().push_back(notice);
  log().set_level(spdlog::level::warn);
  target_.reset();
  log().set_level(spdlog::level::off);
  log().sinks().pop_back();
  if (!notice->is_given()) return {};
  return failed(fmt::format("{} was not closed as it should{}", shown(request_.target.path),
                            request_.exists ? ": check it" : "; it is removed"));
}

// The file has grown in large steps. A longer one than necessary is not wrong.
void Conversion::trim() const {
  if (request_.exists || !request_.target.is_qcow2) return;
  const auto file = open_image(request_.target.path, ImageAccess::write);
  if (!file || file->is_block_device) return;
  std::ignore = qcow2::trim_image(file->descriptor.number());
}

Outcome<void> convert(const CommandLine& line, const Streams& streams) {
  auto request = read_convert_request(line);
  if (!request) return std::unexpected(request.error());
  return Conversion(std::move(*request), streams).run();
}

}  // namespace

constinit const Command kConvertCommand = {
    .name = "convert",
    .synopsis =
        "[-f FORMAT] [-O FORMAT] [-o NAME=VALUE] [-c] [OPTION]... SOURCE DESTINATION\n"
        "-n [-f FORMAT] [-O FORMAT] [--start OFFSET] [OPTION]... SOURCE DESTINATION",
    .summary = "Copy a disk to a new image, or to a disk that exists.",
    .declare = declare_convert,
    .run = convert,
    .has_state = false};

}  // namespace sluice::cli
