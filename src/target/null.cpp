// null: accepts writes, reads zeroes. The smallest target: it measures everything but storage.
#include <fmt/format.h>

#include "ring/ring.hpp"
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

  // Zeroes are really put there: a READ never returns what was not filled (P-8).
  Task do_submit(Request& request) override {
    if (request.op == Op::read) return read(request);
    return kOk;
  }

  Task read(Request& request) {
    auto clearing = request.ring->zero(request.data);
    clearing.then(request.follower);
    co_return co_await clearing;
  }
};

constexpr uint64_t kDefaultBytes = 250ULL << 30;  // as ublksrv's null target has

constexpr OptionSyntax kOptions[] = {
    {.name = "size",
     .kind = OptionKind::size,
     .fallback = "250G",
     .minimum = 512,
     .help = "how large it is"},
};

// NOLINTNEXTLINE(performance-unnecessary-value-param): all open functions are of one type
Result<std::unique_ptr<Target>> open(const Spec& spec, Target::Children, OpenContext&) {
  const uint64_t size_bytes = spec.number("size", kDefaultBytes);
  if (size_bytes % 512 != 0) {
    return fail(EINVAL, fmt::format("size {} of null is no multiple of 512 bytes: give {}",
                                    size_bytes, (size_bytes / 512 + 1) * 512));
  }
  return std::make_unique<Null>(size_bytes);
}

}  // namespace

constinit const TargetType kNullTarget = {
    .syntax =
        {
            .name = "null",
            .summary = "reads zeroes, forgets writes",
            .leaf_option = "size",
            .options = kOptions,
        },
    .open = open,
};

}  // namespace sluice
