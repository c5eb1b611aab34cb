// thin: opens a volume of a thin pool, and with the first one the pool.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "spec/duration.hpp"
#include "spec/shown.hpp"
#include "target/open.hpp"
#include "target/thin/thin_target.hpp"
#include "target/thin/verbs.hpp"

namespace sluice {
namespace thin {
namespace {

constexpr std::chrono::hours kTimeoutMost{24};

constexpr OptionSyntax kThinOptions[] = {
    {.name = "volume",
     .kind = OptionKind::count,
     .required = true,
     .maximum = persistent::kDeviceIdMost,
     .help = "the id of the volume in the pool"},
    {.name = "size",
     .kind = OptionKind::size,
     .required = true,
     .minimum = 512,
     .help = "of the volume, which the pool does not record"},
    {.name = "pool",
     .kind = OptionKind::text,
     .help = "a name by which other volumes of the stack find the pool"},
    {.name = "discards",
     .kind = OptionKind::text,
     .fallback = "passdown",
     .help = "passdown, nopassdown (free blocks, but not on the data device) or ignore"},
    {.name = "zero",
     .kind = OptionKind::flag,
     .fallback = "yes",
     .help = "zero what a write does not cover of a new block; no: it shows what was there"},
    {.name = "no_space_timeout",
     .fallback = "60s",
     .help = "how long writes wait for space in a full pool; 0s: they fail at once"},
    {.name = "low_water",
     .kind = OptionKind::count,
     .fallback = "20",
     .maximum = 99,
     .help = "free blocks in percent, below which the pool is degraded"},
    {.name = "autogrow",
     .kind = OptionKind::size,
     .help = "by so much the data file grows when the pool is low, and its metadata as needed"},
    {.name = "cache",
     .kind = OptionKind::size,
     .fallback = "32M",
     .minimum = 1 << 20,
     .maximum = uint64_t{4} << 30,
     .help = "memory for blocks of the metadata, at most twice as much"},
    {.name = "read_only", .kind = OptionKind::flag, .fallback = "no", .help = "refuse writes"},
};

Result<void> add_pool(const std::string& name, const std::shared_ptr<Pool>& pool,
                      OpenContext& context) {
  if (context.pools().try_emplace(name, pool).second) return {};
  return fail(EEXIST, fmt::format("thin: there is a pool {} in this stack already: give this one "
                                  "another name",
                                  shown(name)));
}

Result<std::shared_ptr<Pool>> find_pool(const std::string& name, OpenContext& context) {
  const auto found = context.pools().find(name);
  if (found != context.pools().end()) return found->second;
  return fail(ENOENT, fmt::format("thin: there is no pool {} in this stack: the first volume that "
                                  "has pool={} needs its devices, thin(METADATA, DATA, ...)",
                                  shown(name), shown(name)));
}

Result<PoolOptions> read_options(const Spec& spec) {
  PoolOptions options;
  options.name = spec.has("pool") ? fmt::format("thin({})", printable(spec.text("pool"), 64))
                                  : fmt::format("thin({})", spec.number("volume", 0));
  options.cache_bytes = spec.number("cache", options.cache_bytes);
  options.zeroes_blocks = !spec.has("zero") || spec.flag("zero");
  options.low_water_percent =
      static_cast<uint32_t>(spec.number("low_water", options.low_water_percent));
  options.autogrow_bytes = spec.number("autogrow", 0);
  if (spec.has("discards")) {
    const std::string text = spec.text("discards");
    if (text == "passdown") {
      options.discards = Discards::pass;
    } else if (text == "nopassdown") {
      options.discards = Discards::unmap;
    } else if (text == "ignore") {
      options.discards = Discards::ignore;
    } else {
      return fail(EINVAL, fmt::format("thin: discards is {}: give passdown, nopassdown or ignore",
                                      shown(text)));
    }
  }
  if (spec.has("no_space_timeout")) {
    const auto time = parse_duration(spec.text("no_space_timeout"));
    if (!time || *time > kTimeoutMost) {
      return fail(EINVAL, fmt::format("thin: no_space_timeout is {}; it needs a time of at most "
                                      "24h with its unit, such as 0s or 60s",
                                      shown(spec.text("no_space_timeout"))));
    }
    options.no_space_timeout = *time;
  }
  return options;
}

// Such targets grow on the control path only.
bool has_living(const Target& target) {
  return target.is_living() ||
         std::ranges::any_of(target.children(), [](const auto& each) { return has_living(*each); });
}

Result<std::shared_ptr<Pool>> open_pool(const Spec& spec, Target::Children& children,
                                        OpenContext& context) {
  auto options = read_options(spec);
  if (!options) return std::unexpected(options.error());
  Target& metadata = *children[0];
  Target& data = *children[1];
  // Others may use a pool with a name.
  const bool only_reads = spec.flag("read_only") && !spec.has("pool");
  options->writable = !only_reads && !context.read_only() && !metadata.geometry().read_only &&
                      !data.geometry().read_only;
  if (options->autogrow_bytes != 0 && (has_living(metadata) || has_living(data))) {
    return fail(EINVAL,
                "thin: autogrow needs a pool on plain files: let the devices grow, and use "
                "sluice resize");
  }
  options->outlives_server = context.outlives_server();
  auto pool = std::make_shared<Pool>(std::move(*options), metadata, data);
  if (spec.has("pool")) {
    if (auto added = add_pool(spec.text("pool"), pool, context); !added) {
      return std::unexpected(added.error());
    }
  }
  return pool;
}

Result<std::unique_ptr<Target>> open_thin(const Spec& spec, Target::Children&& children,
                                          OpenContext& context) {
  if (children.size() == 1) {
    return fail(EINVAL,
                "thin needs two devices, its metadata and its data: thin(METADATA, DATA, "
                "volume=ID, size=SIZE)");
  }
  for (const std::string_view option :
       {"discards", "zero", "no_space_timeout", "low_water", "autogrow", "cache"}) {
    if (!children.empty() || !spec.has(option)) continue;
    return fail(EINVAL, fmt::format("thin: {} is the pool's: give it to the volume that has the "
                                    "pool's devices",
                                    option));
  }
  if (children.empty() && !spec.has("pool")) {
    return fail(EINVAL,
                "thin has no devices: give thin(METADATA, DATA, ...), or pool=NAME if "
                "another volume of the stack has that pool");
  }
  auto pool =
      children.empty() ? find_pool(spec.text("pool"), context) : open_pool(spec, children, context);
  if (!pool) return std::unexpected(pool.error());
  const auto id = static_cast<uint32_t>(spec.number("volume", 0));
  auto target = std::make_unique<ThinTarget>(
      std::move(children), std::move(*pool),
      ThinTarget::Shape{
          .id = id, .size_bytes = spec.number("size", 0), .read_only = spec.flag("read_only")});
  target->set_name(fmt::format("thin({})", id));
  return target;
}

}  // namespace
}  // namespace thin

constinit const TargetType kThinTarget = {.syntax = {.name = "thin",
                                                     .summary = "a volume of a thin pool",
                                                     .children_maximum = 3,
                                                     .options = thin::kThinOptions},
                                          .open = thin::open_thin,
                                          .verbs = thin::kVerbs};

}  // namespace sluice
