#include "target/fault_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <random>
#include <string>

#include "spec/duration.hpp"

namespace sluice {
namespace {

struct ErrnoName {
  std::string_view name;
  int error;
};
constexpr ErrnoName kErrnoNames[] = {
    {"EIO", EIO},
    {"ENOSPC", ENOSPC},
    {"ENOMEM", ENOMEM},
    {"ETIMEDOUT", ETIMEDOUT},
    {"EAGAIN", EAGAIN},
    {"EBUSY", EBUSY},
    {"EINVAL", EINVAL},
    {"EPERM", EPERM},
    {"EROFS", EROFS},
    {"ENODEV", ENODEV},
    {"ENODATA", ENODATA},
    {"EILSEQ", EILSEQ},
    {"ENOLINK", ENOLINK},
    {"EREMOTEIO", EREMOTEIO},
    {"EOPNOTSUPP", EOPNOTSUPP},
};

constexpr std::chrono::seconds kLongestDelay{1'000'000};

// Splits a decimal number from the text after it; nullopt without a number.
bool split_number(std::string_view text, double& number, std::string_view& rest) {
  const char* const end = std::to_address(text.end());
  const auto [stop, error] =
      std::from_chars(std::to_address(text.begin()), end, number, std::chars_format::fixed);
  rest = std::string_view(stop, end);
  return error == std::errc() && number >= 0;
}

Result<void> read_rate(const Spec& spec, std::string_view option, double& rate) {
  if (!spec.has(option)) return {};
  const std::string text = spec.text(option);
  std::string_view unit;
  const bool is_number = split_number(text, rate, unit);
  if (is_number && unit == "%") rate /= 100;
  if (is_number && rate <= 1 && (unit.empty() || unit == "%")) return {};
  return fail(EINVAL,
              fmt::format("fault: {} is '{}'; it can be 0 to 1, or 0% to 100%", option, text));
}

Result<void> read_delay(const Spec& spec, FaultOptions& options) {
  if (!spec.has("delay")) return {};
  const std::string text = spec.text("delay");
  const auto delay = parse_duration(text);
  if (!delay) {
    return fail(
        EINVAL,
        fmt::format(
            "fault: delay is '{}'; it needs a number with a unit, such as 10ms, 500us or 1s",
            text));
  }
  if (*delay > kLongestDelay) {
    return fail(EINVAL, fmt::format("fault: delay is '{}'; {}s is the longest", text,
                                    kLongestDelay.count()));
  }
  options.delay = *delay;
  return {};
}

Result<void> read_errno(const Spec& spec, FaultOptions& options) {
  if (!spec.has("errno")) return {};
  const std::string text = spec.text("errno");
  const auto* known = std::ranges::find(kErrnoNames, text, &ErrnoName::name);
  if (known != std::end(kErrnoNames)) {
    options.error = known->error;
    return {};
  }
  std::string names;
  for (const ErrnoName& each : kErrnoNames) names += fmt::format(" {}", each.name);
  return fail(EINVAL, fmt::format("fault: errno is '{}'; it can be one of{}", text, names));
}

Result<void> read_ops(const Spec& spec, FaultOptions& options) {
  const std::string text = spec.text("ops");
  if (text.empty() || text == "all") return {};
  options.ops = 0;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('+', begin), text.size());
    const std::string_view word = std::string_view(text).substr(begin, end - begin);
    uint32_t bit = 0;
    for (int op = 0; op < kOpCount; ++op) {
      if (word == to_string(static_cast<Op>(op))) bit = 1U << op;
    }
    if (bit == 0) {
      return fail(EINVAL, fmt::format("fault: ops has '{}'; it can be all, or some of read, write, "
                                      "flush, discard, write_zeroes and prefetch with + between "
                                      "them",
                                      word));
    }
    options.ops |= bit;
    begin = end + 1;
  }
  return {};
}

Result<void> read_cache(const Spec& spec, FaultOptions& options) {
  const std::string text = spec.text("cache");
  options.volatile_cache = text == "volatile";
  options.torn = spec.flag("torn");
  options.fua = !spec.has("fua") || spec.flag("fua");
  options.cache_bytes = spec.number("cache_size", options.cache_bytes);
  if (!options.volatile_cache && !text.empty() && text != "none") {
    return fail(EINVAL, fmt::format("fault: cache is '{}'; it can be volatile or none", text));
  }
  if (options.torn && !options.volatile_cache) {
    return fail(EINVAL, "fault: torn=yes tears what a cache holds; give cache=volatile with it");
  }
  return {};
}

}  // namespace

Result<FaultOptions> read_fault_options(const Spec& spec) {
  FaultOptions options;
  options.begin = spec.number("offset", 0);
  const uint64_t length = spec.number("length", UINT64_MAX);
  options.end = length > UINT64_MAX - options.begin ? UINT64_MAX : options.begin + length;
  options.after = spec.number("after", options.after);
  options.count = spec.number("count", options.count);
  options.power_cut_after = spec.number("power_cut_after", options.power_cut_after);
  options.seed = spec.has("seed") ? spec.number("seed", 0) : std::random_device()();

  Result<void> read = read_rate(spec, "errors", options.error_rate);
  if (read) read = read_rate(spec, "short", options.short_rate);
  if (read) read = read_rate(spec, "delay_rate", options.delay_rate);
  if (read) read = read_errno(spec, options);
  if (read) read = read_delay(spec, options);
  if (read) read = read_ops(spec, options);
  if (read) read = read_cache(spec, options);
  if (!read) return std::unexpected(read.error());
  return options;
}

bool FaultOptions::includes(const Request& request) const {
  if ((ops & (1U << static_cast<uint32_t>(request.op))) == 0) return false;
  if (begin == 0 && end == UINT64_MAX) return true;
  if (request.op == Op::flush) return false;
  return request.offset < end && begin < request.offset + request.length;
}

bool FaultOptions::random() const {
  const auto uncertain = [](double rate) { return rate > 0 && rate < 1; };
  return uncertain(error_rate) || short_rate > 0 || torn ||
         (delay.count() != 0 && uncertain(delay_rate));
}

}  // namespace sluice
