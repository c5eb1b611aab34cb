#include "target/mirror/leg_record.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cerrno>
#include <climits>
#include <cstring>
#include <optional>

#include "core/little_endian.hpp"
#include "core/zero.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/mirror/write_intent_format.hpp"

namespace sluice::mirror {
namespace {

// Offsets in the payload.
constexpr size_t kArrayAt = 0;
constexpr size_t kLegAt = 16;
constexpr size_t kOwnerAt = 32;
constexpr size_t kDataBytesAt = 48;
constexpr size_t kLegBytesAt = 56;
constexpr size_t kDataOffsetAt = 64;
constexpr size_t kIntentOffsetAt = 72;
constexpr size_t kIntentBytesAt = 80;
constexpr size_t kBitmapSinceAt = 88;
constexpr size_t kBlockBytesAt = 96;
constexpr size_t kRegionBytesAt = 100;
constexpr size_t kPlacementAt = 104;
constexpr size_t kFlagsAt = 105;
constexpr size_t kLegCountAt = 106;
constexpr size_t kGenerationCountAt = 107;
constexpr size_t kWantedAt = 108;
constexpr size_t kNameAt = 128;  // 64 bytes
constexpr size_t kHostAt = 192;  // 64 bytes
constexpr size_t kHistoryAt = 256;
constexpr size_t kLegsAt = 1280;

constexpr size_t kGenerationBytes = 16;  // id, seconds
constexpr size_t kLegEntryBytes = 128;   // UUID, label at 16 in 96 bytes, state, flags
constexpr size_t kLabelAt = 16;
constexpr size_t kStateAt = 112;
constexpr size_t kLegFlagsAt = 113;
static_assert(kHistoryAt + History::kMost * kGenerationBytes == kLegsAt);
static_assert(kLegsAt + kLegsMost * kLegEntryBytes == kRecordBytes);

constexpr uint8_t kCleanFlag = 1 << 0;
constexpr uint8_t kLeavesFlag = 1 << 0;  // of a leg, as the next
constexpr uint8_t kFollowsFlag = 1 << 1;
constexpr uint8_t kUnawareFlag = 1 << 2;
constexpr uint64_t kSecondsMost = 253'402'300'799;  // the end of the year 9999

Uuid load_uuid(std::span<const std::byte> bytes, size_t place) {
  Uuid uuid;
  std::ranges::copy(bytes.subspan(place, uuid.bytes.size()), uuid.bytes.begin());
  return uuid;
}

void store_uuid(std::span<std::byte> bytes, size_t place, const Uuid& uuid) {
  std::ranges::copy(uuid.bytes, bytes.subspan(place).begin());
}

// A text and zeroes up to the end of its room; nullopt: it is no text.
std::optional<std::string> load_text(std::span<const std::byte> bytes, size_t place, size_t most) {
  const auto room = bytes.subspan(place, most + 1);
  const auto end = std::ranges::find(room, std::byte{0});
  const auto length = static_cast<size_t>(end - room.begin());
  if (length > most || !is_all_zero(room.subspan(length))) return std::nullopt;
  std::string text(reinterpret_cast<const char*>(room.data()), length);
  if (label_of(text, most) != text) return std::nullopt;
  return text;
}

void store_text(std::span<std::byte> bytes, size_t place, size_t most, std::string_view text) {
  std::memcpy(bytes.subspan(place).data(), text.data(), std::min(text.size(), most));
}

// Empty: the generations can be a history, and the bitmap one since `since`.
std::string fault_of_history(std::span<const Generation> generations, uint64_t since) {
  if (generations.empty() || generations.size() > History::kMost) {
    return fmt::format("has a history of {} generations", generations.size());
  }
  bool since_found = false;
  for (size_t i = 0; i < generations.size(); ++i) {
    const Generation& one = generations[i];
    if (one.id == 0 || one.seconds > kSecondsMost ||
        std::ranges::count(generations, one.id, &Generation::id) != 1) {
      return fmt::format("has an impossible generation {:016x} in its history", one.id);
    }
    since_found = since_found || one.id == since;
  }
  if (since_found) return {};
  return fmt::format("has a bitmap since generation {:016x}, which is not in its history", since);
}

std::string fault_of_legs(const LegRecord& record) {
  if (record.legs.empty() || record.legs.size() > kLegsMost) {
    return fmt::format("has a table of {} legs", record.legs.size());
  }
  bool in_sync = false;
  for (const LegEntry& entry : record.legs) {
    if (entry.leg.is_zero() || std::ranges::count(record.legs, entry.leg, &LegEntry::leg) != 1) {
      return fmt::format("has leg {} twice in its table, or no UUID for it", entry.leg.text());
    }
    if (entry.state > LegState::spare) {
      return fmt::format("has a leg in the unknown state {}", static_cast<int>(entry.state));
    }
    if (label_of(entry.label) != entry.label) return "has a label that is no text";
    in_sync = in_sync || entry.state == LegState::in_sync;
  }
  if (record.wanted > kLegsMost) return fmt::format("wants {} legs in sync", record.wanted);
  if (record.find(record.leg) == nullptr) return "has no row for the leg itself in its table";
  return in_sync ? "" : "has no leg that is in sync in its table";
}

std::string fault_of_sizes(const LegRecord& record, uint64_t leg_bytes) {
  if (!std::has_single_bit(record.block_bytes) || record.block_bytes < 512 ||
      record.block_bytes > kBlockBytesMost) {
    return fmt::format("has blocks of {} bytes", record.block_bytes);
  }
  if (!is_region_size(record.region_bytes)) {
    return fmt::format("has regions of {} bytes", record.region_bytes);
  }
  if (record.data_bytes == 0 || record.data_bytes > kSizeMax ||
      record.data_bytes % record.block_bytes != 0) {
    return fmt::format("has {} bytes of data in blocks of {}", record.data_bytes,
                       record.block_bytes);
  }
  if (std::string fault = fault_of(record.places, leg_bytes); !fault.empty()) return fault;
  const uint64_t end_block = record.leg_bytes / kBlockBytesMost;
  if (record.places.placement == Placement::end && end_block != leg_bytes / kBlockBytesMost) {
    return fmt::format("is at the end of a leg of {} bytes, and this one has {}", record.leg_bytes,
                       leg_bytes);
  }
  const uint64_t bitmap = IntentLayout{record.data_bytes, record.region_bytes}.bytes();
  if (bitmap > record.places.intent_bytes) {
    return fmt::format("has {} bytes for a bitmap of {}", record.places.intent_bytes, bitmap);
  }
  const uint64_t room = record.places.data_room(leg_bytes);
  if (record.data_bytes <= room) return {};
  return fmt::format(
      "has {} bytes of data, and the leg has room for {} only: it was larger when "
      "the superblock was written ({} bytes, and now {})",
      record.data_bytes, room, record.leg_bytes, leg_bytes);
}

// Empty: all bytes that the record does not use are zero.
std::string fault_of_padding(std::span<const std::byte> payload, const LegRecord& record) {
  const size_t history_end = kHistoryAt + record.history.generations().size() * kGenerationBytes;
  const size_t legs_end = kLegsAt + record.legs.size() * kLegEntryBytes;
  bool zero = is_all_zero(payload.subspan(kWantedAt + 1, kNameAt - kWantedAt - 1)) &&
              is_all_zero(payload.subspan(history_end, kLegsAt - history_end)) &&
              is_all_zero(payload.subspan(legs_end));
  for (size_t i = 0; i < record.legs.size(); ++i) {
    zero = zero && is_all_zero(payload.subspan(kLegsAt + i * kLegEntryBytes + kLegFlagsAt + 1,
                                               kLegEntryBytes - kLegFlagsAt - 1));
  }
  return zero ? "" : "has bytes that mean nothing and are not zero";
}

std::unexpected<Error> refuse(std::string_view fault) {
  return fail(EILSEQ, fmt::format("the mirror superblock {}", fault));
}

// The fields of fixed place, but for the texts. Checked later.
LegRecord load_fixed(std::span<const std::byte> payload) {
  LegRecord record{
      .array = load_uuid(payload, kArrayAt),
      .leg = load_uuid(payload, kLegAt),
      .data_bytes = load_little_endian<uint64_t>(payload, kDataBytesAt),
      .block_bytes = load_little_endian<uint32_t>(payload, kBlockBytesAt),
      .region_bytes = load_little_endian<uint32_t>(payload, kRegionBytesAt),
      .leg_bytes = load_little_endian<uint64_t>(payload, kLegBytesAt),
      .places = {.placement = static_cast<Placement>(payload[kPlacementAt]),
                 .data_offset = load_little_endian<uint64_t>(payload, kDataOffsetAt),
                 .intent_offset = load_little_endian<uint64_t>(payload, kIntentOffsetAt),
                 .intent_bytes = load_little_endian<uint64_t>(payload, kIntentBytesAt)},
      .bitmap_since = load_little_endian<uint64_t>(payload, kBitmapSinceAt),
      .wanted = std::to_integer<uint32_t>(payload[kWantedAt]),
      .clean = (std::to_integer<uint8_t>(payload[kFlagsAt]) & kCleanFlag) != 0};
  record.owner.token = load_uuid(payload, kOwnerAt);
  return record;
}

std::string load_history(std::span<const std::byte> payload, LegRecord& record) {
  const size_t count = std::to_integer<size_t>(payload[kGenerationCountAt]);
  std::vector<Generation> generations;
  for (size_t i = 0; i < std::min(count, History::kMost + 1); ++i) {
    const size_t place = kHistoryAt + i * kGenerationBytes;
    generations.push_back({.id = load_little_endian<uint64_t>(payload, place),
                           .seconds = load_little_endian<uint64_t>(payload, place + 8)});
  }
  std::string fault = fault_of_history(generations, record.bitmap_since);
  if (fault.empty()) record.history = History(generations);
  return fault;
}

std::string load_legs(std::span<const std::byte> payload, LegRecord& record) {
  const size_t count = std::to_integer<size_t>(payload[kLegCountAt]);
  if (count > kLegsMost) return fmt::format("has a table of {} legs", count);
  for (size_t i = 0; i < count; ++i) {
    const auto entry = payload.subspan(kLegsAt + i * kLegEntryBytes, kLegEntryBytes);
    std::optional<std::string> label = load_text(entry, kLabelAt, kLabelBytesMost);
    if (!label) return "has a label that is no text";
    const auto flags = std::to_integer<uint8_t>(entry[kLegFlagsAt]);
    if ((flags & ~(kLeavesFlag | kFollowsFlag | kUnawareFlag)) != 0)
      return fmt::format("has a leg with unknown flags ({:#x})", flags);
    record.legs.push_back({.leg = load_uuid(entry, 0),
                           .state = static_cast<LegState>(entry[kStateAt]),
                           .label = std::move(*label),
                           .leaves = (flags & kLeavesFlag) != 0,
                           .follows = (flags & kFollowsFlag) != 0,
                           .is_unaware = (flags & kUnawareFlag) != 0});
  }
  return {};
}

}  // namespace

std::string_view name_of(LegState state) {
  switch (state) {
    case LegState::in_sync:
      return "in sync";
    case LegState::stale:
      return "stale";
    case LegState::out:
      return "out";
    case LegState::spare:
      return "spare";
  }
  return "unknown";
}

Owner Owner::of_this_host() {
  char host[HOST_NAME_MAX + 1] = "";
  gethostname(host, sizeof(host) - 1);
  return {.token = Uuid::random(), .host = label_of(host, kNameBytesMost)};
}

LegState LegRecord::state() const {
  const LegEntry* const own = find(leg);
  return own == nullptr ? LegState::out : own->state;
}

const LegEntry* LegRecord::find(const Uuid& id) const {
  const auto found = std::ranges::find(legs, id, &LegEntry::leg);
  return found == legs.end() ? nullptr : &*found;
}

LegEntry* LegRecord::find(const Uuid& id) {
  return const_cast<LegEntry*>(std::as_const(*this).find(id));
}

size_t LegRecord::legs_no_spares() const {
  return legs.size() -
         static_cast<size_t>(std::ranges::count(legs, LegState::spare, &LegEntry::state));
}

void LegRecord::begin_generation(Generation next) {
  history.begin(next);
  for (LegEntry& entry : legs) entry.is_unaware = false;
  if (!history.has(bitmap_since)) bitmap_since = history.generations().back().id;
}

void encode(const LegRecord& record, std::span<std::byte> payload) {
  assert(payload.size() == kRecordBytes && record.legs.size() <= kLegsMost);
  std::ranges::fill(payload, std::byte{0});
  store_uuid(payload, kArrayAt, record.array);
  store_uuid(payload, kLegAt, record.leg);
  store_uuid(payload, kOwnerAt, record.owner.token);
  store_little_endian(payload, kDataBytesAt, record.data_bytes);
  store_little_endian(payload, kLegBytesAt, record.leg_bytes);
  store_little_endian(payload, kDataOffsetAt, record.places.data_offset);
  store_little_endian(payload, kIntentOffsetAt, record.places.intent_offset);
  store_little_endian(payload, kIntentBytesAt, record.places.intent_bytes);
  store_little_endian(payload, kBitmapSinceAt, record.bitmap_since);
  store_little_endian(payload, kBlockBytesAt, record.block_bytes);
  store_little_endian(payload, kRegionBytesAt, record.region_bytes);
  payload[kPlacementAt] = static_cast<std::byte>(record.places.placement);
  payload[kFlagsAt] = std::byte{record.clean ? kCleanFlag : uint8_t{0}};
  payload[kLegCountAt] = static_cast<std::byte>(record.legs.size());
  const auto generations = record.history.generations();
  payload[kGenerationCountAt] = static_cast<std::byte>(generations.size());
  payload[kWantedAt] = static_cast<std::byte>(record.wanted);
  store_text(payload, kNameAt, kNameBytesMost, record.name);
  store_text(payload, kHostAt, kNameBytesMost, record.owner.host);
  for (size_t i = 0; i < generations.size(); ++i) {
    store_little_endian(payload, kHistoryAt + i * kGenerationBytes, generations[i].id);
    store_little_endian(payload, kHistoryAt + i * kGenerationBytes + 8, generations[i].seconds);
  }
  for (size_t i = 0; i < record.legs.size(); ++i) {
    const auto entry = payload.subspan(kLegsAt + i * kLegEntryBytes, kLegEntryBytes);
    store_uuid(entry, 0, record.legs[i].leg);
    store_text(entry, kLabelAt, kLabelBytesMost, record.legs[i].label);
    entry[kStateAt] = static_cast<std::byte>(record.legs[i].state);
    entry[kLegFlagsAt] = std::byte{record.legs[i].leaves ? kLeavesFlag : uint8_t{0}} |
                         std::byte{record.legs[i].follows ? kFollowsFlag : uint8_t{0}} |
                         std::byte{record.legs[i].is_unaware ? kUnawareFlag : uint8_t{0}};
  }
}

Result<LegRecord> parse(std::span<const std::byte> payload, uint64_t leg_bytes) {
  if (payload.size() != kRecordBytes) {
    return refuse(fmt::format("has {} bytes, and version 1 has {}", payload.size(), kRecordBytes));
  }
  LegRecord record = load_fixed(payload);
  const auto flags = std::to_integer<uint8_t>(payload[kFlagsAt]);
  if ((flags & ~kCleanFlag) != 0) return refuse(fmt::format("has unknown flags ({:#x})", flags));
  std::optional<std::string> name = load_text(payload, kNameAt, kNameBytesMost);
  std::optional<std::string> host = load_text(payload, kHostAt, kNameBytesMost);
  if (!name || !host) return refuse("has a name that is no text");
  record.name = std::move(*name);
  record.owner.host = std::move(*host);
  if (const auto fault = load_history(payload, record); !fault.empty()) return refuse(fault);
  if (const auto fault = load_legs(payload, record); !fault.empty()) return refuse(fault);
  if (const auto fault = fault_of_padding(payload, record); !fault.empty()) return refuse(fault);
  if (const auto fault = fault_of(record, leg_bytes); !fault.empty()) return refuse(fault);
  return record;
}

std::string fault_of(const LegRecord& record, uint64_t leg_bytes) {
  if (record.array.is_zero() || record.leg.is_zero()) return "has no UUID";
  if (record.places.placement > Placement::end) {
    return fmt::format("has its metadata at the unknown place {}",
                       static_cast<int>(record.places.placement));
  }
  if (label_of(record.name, kNameBytesMost) != record.name ||
      label_of(record.owner.host, kNameBytesMost) != record.owner.host) {
    return "has a name that is no text";
  }
  std::string fault = fault_of_history(record.history.generations(), record.bitmap_since);
  if (fault.empty()) fault = fault_of_legs(record);
  if (fault.empty()) fault = fault_of_sizes(record, leg_bytes);
  return fault;
}

std::string label_of(std::string_view text, size_t most) {
  const std::string whole = printable(text, std::string_view::npos);
  if (whole.size() <= most) return whole;
  constexpr std::string_view kCut = "...";
  size_t begin = whole.size() - (most - kCut.size());
  while (begin < whole.size() && utf8_length(std::string_view(whole).substr(begin)) == 0) ++begin;
  return std::string(kCut) + whole.substr(begin);
}

}  // namespace sluice::mirror
