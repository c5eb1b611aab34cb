#include "target/qcow2/bitmap/extension_edit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "core/big_endian.hpp"
#include "target/qcow2/header_extensions.hpp"

namespace sluice::qcow2 {
namespace {

constexpr size_t kBackingOffsetPlace = 8;
constexpr size_t kBackingBytesPlace = 16;
constexpr size_t kAutoclearPlace = kFeaturesPlace + 16;
constexpr size_t kHeaderBytesPlace = 100;
constexpr size_t kHeadBytes = 8;  // of an extension
constexpr size_t kDataBytes = 24;
constexpr size_t kMarkBytes = 8;
constexpr size_t kSector = 512;

// Takes the place of an extension that is gone, and that others follow. Ignored, as all unknown
// ones.
constexpr uint32_t kUnusedExtension = 0x756e7573;  // "unus"

constexpr size_t aligned(size_t place) { return (place + 7) / 8 * 8; }

class ExtensionPlan {
 public:
  explicit ExtensionPlan(std::span<const std::byte> start) : start_(start) {}

  Result<std::vector<HeaderStep>> plan(const std::optional<BitmapsExtension>& wanted);

 private:
  Result<void> find_places();
  void remove();
  void replace(const BitmapsExtension& wanted);
  Result<void> append(const BitmapsExtension& wanted);
  Result<void> move_name(size_t end);

  template <std::unsigned_integral Number>
  void put(size_t place, Number number) {
    std::vector<std::byte> bytes(sizeof(number));
    store_big_endian(std::span(bytes), 0, number);
    steps_.push_back({.place = place, .bytes = std::move(bytes)});
  }
  void put_head(uint32_t type, uint32_t length) { put(place_, uint64_t{type} << 32 | length); }
  void put_data(const BitmapsExtension& wanted, bool with_mark);
  void validate(bool valid) {
    const uint64_t now = valid ? autoclear_ | kBitmapsValid : autoclear_ & ~kBitmapsValid;
    if (now != autoclear_) put(kAutoclearPlace, now);
    autoclear_ = now;
  }

  const std::span<const std::byte> start_;
  uint64_t autoclear_ = 0;
  uint64_t backing_offset_ = 0;
  uint32_t type_ = 0;  // of the extension at place_; 0: there is none yet
  size_t place_ = 0;   // of the extension, or 0
  bool is_last_ = false;
  size_t mark_ = 0;  // the place of the end mark
  std::vector<HeaderStep> steps_;
};

Result<std::vector<HeaderStep>> ExtensionPlan::plan(const std::optional<BitmapsExtension>& wanted) {
  autoclear_ = load_big_endian<uint64_t>(start_, kAutoclearPlace);
  backing_offset_ = load_big_endian<uint64_t>(start_, kBackingOffsetPlace);
  if (auto found = find_places(); !found) return std::unexpected(found.error());
  if (!wanted) {
    remove();
  } else if (type_ != 0) {
    replace(*wanted);
  } else if (auto appended = append(*wanted); !appended) {
    return std::unexpected(appended.error());
  }
  return std::move(steps_);
}

Result<void> ExtensionPlan::find_places() {
  const uint64_t end = backing_offset_ != 0 ? backing_offset_ : start_.size();
  if (end > start_.size()) {
    return fail(ENOSPC, fmt::format("the extensions of the header go on behind byte {}, where"
                                    " they are not changed",
                                    start_.size()));
  }
  const auto area = start_.first(static_cast<size_t>(end));
  mark_ = load_big_endian<uint32_t>(start_, kHeaderBytesPlace);
  ExtensionArea extensions(area, mark_);
  for (;;) {
    const auto extension = extensions.next();
    if (!extension) return std::unexpected(extension.error());
    if (extension->type == 0) break;
    const auto begin = static_cast<size_t>(extension->data.data() - start_.data()) - kHeadBytes;
    mark_ = begin + kHeadBytes + aligned(extension->data.size());
    is_last_ = false;
    const bool is_bitmaps = extension->type == kBitmapsExtensionType;
    const bool is_free = extension->type == kUnusedExtension && type_ == 0;
    if (extension->data.size() != kDataBytes || (!is_bitmaps && !is_free)) continue;
    type_ = extension->type;
    place_ = begin;
    is_last_ = true;
  }
  if (mark_ + kMarkBytes > area.size()) {
    return fail(EINVAL,
                "the extensions of the header have no end mark, behind which another"
                " one would be added");
  }
  return {};
}

void ExtensionPlan::remove() {
  validate(false);
  if (type_ != kBitmapsExtensionType) return;
  if (is_last_) {
    put_head(0, 0);
  } else {
    put_head(kUnusedExtension, kDataBytes);
  }
}

void ExtensionPlan::replace(const BitmapsExtension& wanted) {
  const size_t data = place_ + kHeadBytes;
  const bool at_once = data / kSector == (data + kDataBytes - 1) / kSector;
  if (!at_once || type_ != kBitmapsExtensionType) validate(false);
  put_data(wanted, false);
  if (type_ != kBitmapsExtensionType) put_head(kBitmapsExtensionType, kDataBytes);
  validate(true);
}

// Behind the end mark first, which the extension then replaces.
Result<void> ExtensionPlan::append(const BitmapsExtension& wanted) {
  validate(false);
  place_ = mark_;
  const size_t end = place_ + kHeadBytes + kDataBytes + kMarkBytes;
  if (auto moved = move_name(end); !moved) return moved;
  put_data(wanted, true);
  put_head(kBitmapsExtensionType, kDataBytes);
  validate(true);
  return {};
}

// The backing file's name out of the way of extensions that end at `end`: a copy first, then the
// place of the name.
Result<void> ExtensionPlan::move_name(size_t end) {
  size_t needed = end;
  const auto name_bytes = load_big_endian<uint32_t>(start_, kBackingBytesPlace);
  const bool is_in_the_way = backing_offset_ != 0 && backing_offset_ < end;
  if (is_in_the_way) {
    const size_t to = aligned(std::max<size_t>(end, backing_offset_ + name_bytes));
    needed = to + name_bytes;
    if (needed <= start_.size()) {
      const auto name = start_.subspan(backing_offset_, name_bytes);
      steps_.push_back({.place = to, .bytes = {name.begin(), name.end()}});
      put(kBackingOffsetPlace, uint64_t{to});
    }
  }
  if (needed <= start_.size()) return {};
  return fail(ENOSPC, fmt::format("the header needs {} bytes with bitmaps, and has room for {}:"
                                  " choose larger clusters",
                                  needed, start_.size()));
}

void ExtensionPlan::put_data(const BitmapsExtension& wanted, bool with_mark) {
  std::vector<std::byte> data(kDataBytes + (with_mark ? kMarkBytes : 0));
  store_big_endian(std::span(data), 0, wanted.count);
  store_big_endian(std::span(data), 8, wanted.directory_bytes);
  store_big_endian(std::span(data), 16, wanted.directory_offset);
  steps_.push_back({.place = place_ + kHeadBytes, .bytes = std::move(data)});
}

}  // namespace

Result<std::vector<HeaderStep>> plan_extension(std::span<const std::byte> start,
                                               const std::optional<BitmapsExtension>& wanted) {
  return ExtensionPlan(start).plan(wanted);
}

}  // namespace sluice::qcow2
