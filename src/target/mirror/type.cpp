// mirror: its options, and how it is opened.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <thread>
#include <utility>

#include "core/log.hpp"
#include "spec/duration.hpp"
#include "spec/shown.hpp"
#include "target/mirror/mirror.hpp"
#include "target/mirror/verbs.hpp"
#include "target/open.hpp"

namespace sluice {
namespace mirror {
namespace {

constexpr std::chrono::milliseconds kBetweenLooks{250};
constexpr std::chrono::seconds kWaitMost{600};
constexpr uint64_t kWriteBehindMost = uint64_t{16} << 30;

constexpr OptionSyntax kMirrorOptions[] = {
    {.name = "degraded",
     .kind = OptionKind::flag,
     .fallback = "no",
     .help = "start although a leg is missing that was in sync"},
    {.name = "degraded_after",
     .kind = OptionKind::text,
     .help = "how long to wait for missing legs before it starts without: 30s"},
    {.name = "prefer",
     .kind = OptionKind::count,
     .minimum = 1,
     .maximum = kMostLegs,
     .help = "number of the leg to read from, if it can be"},
    {.name = "write_mostly",
     .kind = OptionKind::text,
     .help = "numbers of legs that are read only if no other can be: 2 or 2+3"},
    {.name = "write_behind",
     .kind = OptionKind::text,
     .help = "numbers of legs that get writes after these were acknowledged: 2 or 2+3"},
    {.name = "write_behind_max",
     .kind = OptionKind::size,
     .fallback = "64M",
     .minimum = 1 << 20,
     .maximum = kWriteBehindMost,
     .help = "bytes of such writes that may wait"},
    {.name = "spare_after",
     .kind = OptionKind::text,
     .fallback = "30s",
     .help = "how long a leg is waited for before a spare takes its place"},
    {.name = "resync_min",
     .kind = OptionKind::size,
     .fallback = "4M",
     .help = "bytes a second that a resync copies at least"},
    {.name = "resync_max",
     .kind = OptionKind::size,
     .help = "bytes a second that a resync copies at most"},
};

// "2+3": the legs 1 and 2, counted from 0.
Result<LegSet> parse_legs(const Spec& spec, std::string_view option) {
  const std::string numbers(spec.text(option));
  std::string_view text = numbers;
  const size_t count = spec.children.size();
  LegSet legs = 0;
  while (true) {
    size_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const auto used = static_cast<size_t>(end - text.data());
    const bool ends = used == text.size();
    if (error != std::errc() || number == 0 || number > count || (!ends && *end != '+')) {
      return fail(EINVAL, fmt::format("mirror: {} has '{}', which is no number of one of its {} "
                                      "legs: give numbers such as 2 or 2+3",
                                      option, printable(text, 32), count));
    }
    legs |= leg_bit(number - 1);
    if (ends) return legs;
    text.remove_prefix(used + 1);
  }
}

Result<std::chrono::nanoseconds> read_time(const Spec& spec, std::string_view option) {
  const auto time = parse_duration(spec.text(option));
  if (time && *time <= kWaitMost) return *time;
  return fail(EINVAL,
              fmt::format("mirror: {} is {}; it needs a time of at most 600s with its unit, "
                          "such as 500ms or 30s",
                          option, shown(spec.text(option))));
}

Result<MirrorOptions> read_options(const Spec& spec) {
  MirrorOptions options;
  options.degraded = spec.flag("degraded");
  const size_t count = spec.children.size();
  if (spec.has("write_mostly")) {
    auto legs = parse_legs(spec, "write_mostly");
    if (!legs) return std::unexpected(legs.error());
    options.write_mostly = *legs;
  }
  if (spec.has("write_behind")) {
    auto legs = parse_legs(spec, "write_behind");
    if (!legs) return std::unexpected(legs.error());
    options.write_behind = *legs;
    if (std::popcount(*legs) == static_cast<int>(count)) {
      return fail(EINVAL,
                  "mirror: write_behind has all legs, and one of them must get a write before"
                  " it is acknowledged: leave one out");
    }
  }
  options.write_behind_most = spec.number("write_behind_max", options.write_behind_most);
  if (spec.has("prefer")) {
    const uint64_t number = spec.number("prefer", 0);
    if (number > count) {
      return fail(EINVAL, fmt::format("mirror: prefer={}, but there are {} legs", number, count));
    }
    options.prefer = number - 1;
  }
  if (spec.has("spare_after")) {
    auto time = read_time(spec, "spare_after");
    if (!time) return std::unexpected(time.error());
    options.spare_after = *time;
  }
  options.least_rate = spec.number("resync_min", options.least_rate);
  options.most_rate = spec.number("resync_max", 0);
  if (options.most_rate != 0 && options.most_rate < options.least_rate) {
    if (spec.has("resync_min")) {
      return fail(EINVAL, "mirror: resync_max is less than resync_min: change one of them");
    }
    options.least_rate = options.most_rate;
  }
  return options;
}

// Until all are there, or the time is over.
Result<void> wait_for(Target::Children& legs, const Spec& spec, OpenContext& context) {
  const auto time = read_time(spec, "degraded_after");
  if (!time) return std::unexpected(time.error());
  const auto end = std::chrono::steady_clock::now() + *time;
  while (true) {
    bool all = true;
    for (size_t index = 0; index < legs.size(); ++index) {
      if (legs[index]->missing() == nullptr) continue;
      if (auto opened = context.open(spec.children[index])) {
        legs[index] = std::move(*opened);
      } else {
        all = false;
      }
    }
    if (all || std::chrono::steady_clock::now() >= end) return {};
    std::this_thread::sleep_for(kBetweenLooks);
  }
}

Result<std::unique_ptr<Target>> open_mirror(const Spec& spec, Target::Children&& legs,
                                            OpenContext& context) {
  auto options = read_options(spec);
  if (!options) return std::unexpected(options.error());
  if (spec.has("degraded_after")) {
    if (!context.inherits()) {
      if (auto waited = wait_for(legs, spec, context); !waited)
        return std::unexpected(waited.error());
    }
    options->degraded = true;
  }
  const auto is_there = [](const auto& each) { return each->missing() == nullptr; };
  if (std::ranges::none_of(legs, is_there)) {
    return fail(ENODEV, fmt::format("mirror: none of its legs can be opened; the first: {}",
                                    legs.front()->missing()->text));
  }
  return std::make_unique<Mirror>(std::move(legs), spec, *options);
}

}  // namespace
}  // namespace mirror

constinit const TargetType kMirrorTarget = {
    .syntax = {.name = "mirror",
               .summary = "the same data on each of its children (RAID 1)",
               .children_minimum = 1,
               .children_maximum = mirror::kMostLegs,
               .options = mirror::kMirrorOptions},
    .open = mirror::open_mirror,
    .verbs = mirror::kVerbs,
    .accepts_missing = true};

}  // namespace sluice
