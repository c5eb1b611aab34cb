// linear: the concatenation of its children, or a slice of it.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/child_requests.hpp"
#include "core/extents.hpp"
#include "core/gather.hpp"
#include "spec/size.hpp"
#include "target/open.hpp"

namespace sluice {
namespace {

class Linear final : public Target {
 public:
  Linear(Children members, const Geometry& geometry, uint64_t begin, bool to_the_end)
      : Target(std::move(members)), begin_(begin), to_the_end_(to_the_end) {
    geometry_ = geometry;
    uint64_t end = 0;
    for (const auto& member : children()) {
      begins_.push_back(end);
      // Alignment carries over to a member only up to that of the member's offset.
      geometry_.physical_block_bytes =
          static_cast<uint32_t>(std::gcd(uint64_t{geometry_.physical_block_bytes}, begin_ - end));
      end += member->geometry().size_bytes;
    }
  }

  bool may_link() const override { return true; }

 private:
  Task do_submit(Request& request) override {
    if (request.op == Op::flush) return submit_to_all(request);
    const uint64_t place = begin_ + request.offset;
    const size_t index = member_at(place);
    if (place + request.length > end_of(index)) return spread(request, index);
    return forward(request, child(index), place - begins_[index]);
  }

  Task do_extents(Request& request, Extents& found) override {
    const uint64_t begin = begin_ + request.offset;
    for (uint64_t done = 0; done < request.length;) {
      const size_t index = member_at(begin + done);
      const uint64_t bytes = std::min(end_of(index) - begin - done, request.length - done);
      Request part = request.child(begin + done - begins_[index], bytes);
      Extents there(bytes, found.detail());
      Task finding = child(index).extents(part, there);
      if (const Status status = co_await finding; !status.ok()) co_return status;
      if (!found.add(there) || !there.complete()) co_return kOk;
      done += bytes;
    }
    co_return kOk;
  }

  // Only the last member can grow: otherwise the data of the following members would move.
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override {
    Target& last = *children().back();
    const uint64_t before_last = begins_.back();
    uint64_t end = before_last + last.geometry().size_bytes;
    if (wanted && *wanted <= end - begin_) return *wanted;
    const auto last_wanted = wanted ? std::optional(begin_ + *wanted - before_last) : std::nullopt;
    auto size = last.resize(last_wanted);
    if (!size || wanted) return size ? wanted.value() : size;
    if (!to_the_end_) return geometry_.size_bytes;
    end = before_last + std::min(*size, kSizeMax - before_last);
    return (end - begin_) / geometry_.logical_block_bytes * geometry_.logical_block_bytes;
  }

  // Submits the parts of a request that extends beyond member `first`, in parallel.
  Task spread(Request& request, size_t first) {
    const uint64_t end = begin_ + request.offset + request.length;
    const size_t count = member_at(end - 1) - first + 1;
    ChildRequests parts(request, count);
    Gather children(request, count);
    for (size_t i = first; i < first + count; ++i) {
      const uint64_t part_begin = std::max(begins_[i], begin_ + request.offset);
      const uint64_t part_bytes = std::min(end_of(i), end) - part_begin;
      Request& part = parts.add(request.child(part_begin - begins_[i], part_bytes));
      if (request.has_data()) {
        const uint64_t done = part_begin - begin_ - request.offset;
        part.data = request.data.slice(static_cast<uint32_t>(done),
                                       static_cast<uint32_t>(part_bytes), *request.arena);
      }
      children.add(child(i).submit(part));
    }
    co_return co_await children;
  }

  // The member that contains byte `place` of the concatenation, ignoring the slice.
  size_t member_at(uint64_t place) const {
    return static_cast<size_t>(std::ranges::upper_bound(begins_, place) - begins_.begin()) - 1;
  }
  // The end of a member; that of the last member is the end of the slice.
  uint64_t end_of(size_t index) const {
    return index + 1 == begins_.size() ? UINT64_MAX : begins_[index + 1];
  }

  const uint64_t begin_;          // of the slice
  const bool to_the_end_;         // of the last member, also after growth
  std::vector<uint64_t> begins_;  // of the members
};

constexpr OptionSyntax kLinearOptions[] = {
    {.name = "offset", .kind = OptionKind::size, .fallback = "0", .help = "offset in the children"},
    {.name = "size",
     .kind = OptionKind::size,
     .minimum = 512,
     .help = "size; all the rest if not given"},
};

Result<std::unique_ptr<Target>> open_linear(const Spec& spec, Target::Children&& children,
                                            OpenContext&) {
  Geometry geometry = common_geometry(children);
  const uint64_t block = geometry.logical_block_bytes;
  uint64_t total = 0;
  for (size_t i = 0; i < children.size(); ++i) {
    const uint64_t bytes = children[i]->geometry().size_bytes;
    if (bytes > kSizeMax - total) return fail(EFBIG, "linear: the children exceed 8 EiB together");
    if (bytes % block != 0) {
      return fail(EINVAL, fmt::format("linear: child {} has {} bytes, no multiple of the {}-byte "
                                      "blocks in use here; put linear(..., size={}) around it",
                                      i + 1, bytes, block, bytes - bytes % block));
    }
    total += bytes;
  }
  const uint64_t offset = spec.number("offset", 0);
  const uint64_t size = spec.number("size", total - std::min(offset, total));
  if (offset >= total || size > total - offset || (offset | size) % block != 0) {
    return fail(EINVAL, fmt::format("linear: cannot take {} bytes at offset {} of the {} bytes of "
                                    "the children; both must be multiples of {}",
                                    size, offset, total, block));
  }
  geometry.size_bytes = size;
  return std::make_unique<Linear>(std::move(children), geometry, offset, !spec.has("size"));
}

}  // namespace

constinit const TargetType kLinearTarget = {
    .syntax = {.name = "linear",
               .summary = "the concatenation of its children, or a slice of it",
               .children_minimum = 1,
               .children_maximum = UINT32_MAX,
               .options = kLinearOptions},
    .open = open_linear};

}  // namespace sluice
