// null: accepts writes, reads zeroes. The smallest target, to measure the costs of all but storage.
#include <fmt/format.h>

#include "core/extents.hpp"
#include "ring/ring.hpp"
#include "spec/size.hpp"
#include "target/open.hpp"

namespace sluice {
namespace {

class Null final : public Target {
 public:
  explicit Null(uint64_t size_bytes) {
    geometry_.size_bytes = size_bytes;
    geometry_.can_discard = true;
    geometry_.can_write_zeroes = true;
  }

  bool may_link() const override { return true; }

 private:
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override {
    return wanted.value_or(geometry_.size_bytes);
  }

  // The pages are actually zeroed: a READ never returns unfilled bytes (P-8).
  Task do_submit(Request& request) override {
    if (request.op == Op::read) return read(request);
    return kOk;
  }

  Task do_extents(Request& request, Extents& found) override {
    found.add(request.length, {.hole = true, .zero = true, .place = request.offset});
    return kOk;
  }

  Task read(Request& request) {
    auto clearing = request.ring->zero(request.data);
    clearing.then(request.linked_command);
    co_return co_await clearing;
  }
};

constexpr uint64_t kDefaultBytes = 250ULL << 30;  // the default of ublksrv's null target

constexpr OptionSyntax kNullOptions[] = {
    {.name = "size",
     .kind = OptionKind::size,
     .fallback = "250G",
     .minimum = 512,
     .help = "size of the disk"},
};

// NOLINTNEXTLINE(performance-unnecessary-value-param): all open functions are of one type
Result<std::unique_ptr<Target>> open_null(const Spec& spec, Target::Children&&, OpenContext&) {
  const uint64_t size_bytes = spec.number("size", kDefaultBytes);
  if (size_bytes % 512 != 0) {
    return fail(EINVAL, fmt::format("size {} of null is no multiple of 512 bytes: {}", size_bytes,
                                    advise_multiple(size_bytes, 512, 512)));
  }
  return std::make_unique<Null>(size_bytes);
}

}  // namespace

constinit const TargetType kNullTarget = {
    .syntax =
        {
            .name = "null",
            .summary = "reads zeroes, discards writes",
            .leaf_option = "size",
            .options = kNullOptions,
        },
    .open = open_null,
};

}  // namespace sluice
