// stripe: RAID 0. Consecutive chunks go to consecutive members.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/child_requests.hpp"
#include "core/extents.hpp"
#include "core/gather.hpp"
#include "core/log.hpp"
#include "spec/size.hpp"
#include "target/open.hpp"

namespace sluice {
namespace {

class Stripe final : public Target {
 public:
  Stripe(Children members, const Geometry& geometry, uint64_t chunk_bytes)
      : Target(std::move(members)), count_(children().size()), chunk_(chunk_bytes) {
    geometry_ = geometry;
  }

  bool may_link() const override { return true; }

 private:
  Task do_submit(Request& request) override {
    if (request.op == Op::flush) return submit_to_all(request);
    if (request.offset % chunk_ + request.length > chunk_ && count_ > 1) return spread(request);
    const uint64_t member = request.offset / chunk_ % count_;
    return forward(request, child(member), place_on(member, request.offset));
  }

  // Builds the list chunk by chunk, from the extents of each member's part of the range.
  Task do_extents(Request& request, Extents& found) override {
    const uint64_t length = std::min(request.length, kExtentChunks * chunk_);
    const uint64_t end = request.offset + length;
    std::vector<Answer> answers;
    for (uint64_t member = 0; member < count_; ++member) {
      const uint64_t begin = place_on(member, request.offset);
      answers.emplace_back(request.child(begin, place_on(member, end) - begin), found.detail());
      if (answers.back().part.length == 0) continue;
      Task finding = child(member).extents(answers.back().part, answers.back().found);
      if (const Status status = co_await finding; !status.ok()) co_return status;
    }
    for (uint64_t place = request.offset; place < end;) {
      Answer& answer = answers[place / chunk_ % count_];
      const uint64_t in_chunk = std::min(chunk_ - place % chunk_, end - place);
      const Extent next = answer.take(in_chunk);
      if (next.length == 0 || !found.add(next.length, next)) break;
      place += next.length;
    }
    co_return kOk;
  }

  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override {
    const uint64_t row = chunk_ * count_;
    if (wanted && *wanted % row != 0) {
      return fail(EINVAL, fmt::format("size {} is no multiple of {} bytes, a chunk on each of {} "
                                      "members: {}",
                                      *wanted, row, count_,
                                      advise_multiple(*wanted, row, geometry_.size_bytes)));
    }
    uint64_t smallest = UINT64_MAX;
    for (const auto& member : children()) {
      const uint64_t has = member->geometry().size_bytes;
      const bool large_enough = wanted && *wanted / count_ <= has;
      auto size = large_enough
                      ? has
                      : member->resize(wanted ? std::optional(*wanted / count_) : std::nullopt);
      if (!size) return size;
      smallest = std::min(smallest, *size);
    }
    return wanted.value_or(std::min(smallest - smallest % chunk_, kSizeMax / count_) * count_);
  }

  // The extents of a member's part of a range, and the position of the next unused one.
  struct Answer {
    Answer(const Request& of, Detail detail) : part(of), found(of.length, detail) {}

    // Returns at most `bytes` of the next extent; length 0 if there is none.
    Extent take(uint64_t bytes) {
      if (index == found.list().size()) return {};
      const Extent& whole = found.list()[index];
      const Extent next = whole.part(used, std::min(whole.length - used, bytes));
      used += next.length;
      if (used == found.list()[index].length) {
        used = 0;
        ++index;
      }
      return next;
    }

    Request part;
    Extents found;
    size_t index = 0;
    uint64_t used = 0;
  };

  // The maximum of one request for extents: bounds its work.
  static constexpr uint64_t kExtentChunks = 4096;

  // One request for each member, because the part of a range on one member is contiguous there.
  Task spread(Request& request) {
    const uint64_t end = request.offset + request.length;
    const uint64_t chunks = (end - 1) / chunk_ - request.offset / chunk_ + 1;
    const uint64_t members = std::min(chunks, count_);
    // A request with data has few pieces. A request without data needs none: a discard may span
    // billions of chunks.
    const std::span<Segment> pieces =
        request.arena->array<Segment>(request.has_data() ? (chunks - 1) / count_ + 1 : 0);
    ChildRequests parts(request, members);
    Gather children(request, members);
    for (uint64_t i = 0; i < members; ++i) {
      const uint64_t member = (request.offset / chunk_ + i) % count_;
      const uint64_t begin = place_on(member, request.offset);
      Request& part = parts.add(request.child(begin, place_on(member, end) - begin));
      if (request.has_data()) part.data = data_of(request, member, part, pieces);
      children.add(child(member).submit(part));
    }
    co_return co_await children;
  }

  View data_of(const Request& request, uint64_t member, const Request& part,
               std::span<Segment> pieces) const {
    size_t count = 0;
    for (uint64_t done = 0; done < part.length;) {
      const uint64_t place = part.offset + done;
      const uint64_t whole = (place / chunk_ * count_ + member) * chunk_ + place % chunk_;
      const uint64_t bytes = std::min(chunk_ - place % chunk_, part.length - done);
      pieces[count++] = {uint32_t(whole - request.offset), uint32_t(bytes)};
      done += bytes;
    }
    return request.data.select(pieces.first(count), *request.arena);
  }

  // How many of the first `offset` bytes are on `member`: the next offset on that member.
  uint64_t place_on(uint64_t member, uint64_t offset) const {
    const uint64_t row = chunk_ * count_;
    const uint64_t in_row = std::min(offset % row, (member + 1) * chunk_);
    return offset / row * chunk_ + in_row - std::min(in_row, member * chunk_);
  }

  const uint64_t count_;  // of members
  const uint64_t chunk_;  // in bytes
};

constexpr OptionSyntax kStripeOptions[] = {
    {.name = "chunk",
     .kind = OptionKind::size,
     .fallback = "64k",
     .minimum = 512,
     .maximum = 1 << 30,
     .help = "bytes on one child before the next"},
};

Result<std::unique_ptr<Target>> open_stripe(const Spec& spec, Target::Children&& children,
                                            OpenContext&) {
  Geometry geometry = common_geometry(children);  // size_bytes is that of the smallest
  const auto chunk = static_cast<uint32_t>(spec.number("chunk", 64 << 10));
  const uint64_t count = children.size();
  if (chunk % geometry.logical_block_bytes != 0) {
    return fail(EINVAL, fmt::format("stripe: chunk {} is no multiple of the {}-byte blocks in use",
                                    chunk, geometry.logical_block_bytes));
  }
  const uint64_t used = geometry.size_bytes - geometry.size_bytes % chunk;
  if (used == 0 || used > kSizeMax / count) {
    return fail(EINVAL,
                fmt::format("stripe: {} children of {} bytes in chunks of {} make {}", count,
                            geometry.size_bytes, chunk, used == 0 ? "nothing" : "more than 8 EiB"));
  }
  for (size_t i = 0; i < count; ++i) {
    const uint64_t unused = children[i]->geometry().size_bytes - used;
    if (unused != 0) log().info("stripe: {} bytes of child {} stay unused", unused, i + 1);
  }
  geometry.size_bytes = used * count;
  geometry.physical_block_bytes = std::gcd(geometry.physical_block_bytes, chunk);
  geometry.io_min_bytes = chunk;
  geometry.io_opt_bytes = count <= UINT32_MAX / chunk ? uint32_t(chunk * count) : 0;
  return std::make_unique<Stripe>(std::move(children), geometry, chunk);
}

}  // namespace

constinit const TargetType kStripeTarget = {
    .syntax = {.name = "stripe",
               .summary = "chunks spread over its children (RAID 0)",
               .children_minimum = 1,
               .children_maximum = UINT32_MAX,
               .options = kStripeOptions},
    .open = open_stripe};

}  // namespace sluice
