// Reads any bytes as the superblock of a leg of a mirror: they are refused with one printable
// sentence, or written again unchanged. If the first byte is '+', legs are made of the rest, and
// what decide() says of them fits together. If it is '#', the rest is a block of a bitmap.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "core/little_endian.hpp"
#include "spec/shown.hpp"
#include "target/mirror/assembly.hpp"
#include "target/mirror/write_intent_format.hpp"

namespace {

namespace mirror = sluice::mirror;

constexpr uint64_t kLegBytes = 8 << 20;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "mirror_fuzz: %s\n", what);
  std::abort();
}

void require_sentence(const std::string& text) {
  require(!text.empty() && text.size() < 4000, "no sentence, or a long one");
  require(sluice::is_utf8(text) && text.find('\n') == std::string::npos, "not printable");
}

// The size of the leg, and the payload.
void read_record(std::span<const std::byte> input) {
  if (input.size() < 8) return;
  const auto leg_bytes = sluice::load_little_endian<uint64_t>(input, 0);
  const auto payload = input.subspan(8);
  const sluice::Result<mirror::LegRecord> record = mirror::parse(payload, leg_bytes);
  if (!record) return require_sentence(record.error().text);
  require(mirror::fault_of(*record, leg_bytes).empty(), "a fault is accepted");
  require(record->places.data_room(leg_bytes) >= record->data_bytes, "the data lies outside");
  const mirror::IntentLayout bitmap{record->data_bytes, record->region_bytes};
  require(bitmap.bytes() <= record->places.intent_bytes, "the bitmap lies outside");
  std::vector<std::byte> again(mirror::kRecordBytes);
  mirror::encode(*record, again);
  require(std::ranges::equal(again, payload), "it is written in another way");
}

// Takes numbers from the input, and 0 when it is at its end.
class Numbers {
 public:
  explicit Numbers(std::span<const std::byte> bytes) : bytes_(bytes) {}
  bool at_end() const { return bytes_.empty(); }
  unsigned below(unsigned limit) {
    if (bytes_.empty()) return 0;
    const auto number = std::to_integer<unsigned>(bytes_.front());
    bytes_ = bytes_.subspan(1);
    return number % limit;
  }

 private:
  std::span<const std::byte> bytes_;
};

mirror::Uuid small_uuid(unsigned number) {
  mirror::Uuid uuid;
  uuid.bytes[0] = static_cast<std::byte>(number + 1);
  return uuid;
}

mirror::PresentLeg make_leg(Numbers& numbers) {
  mirror::LegRecord record{.array = small_uuid(numbers.below(8) == 7),
                           .leg = small_uuid(numbers.below(6)),
                           .data_bytes = uint64_t{numbers.below(8) == 7 ? 5U : 4U} << 20,
                           .block_bytes = 512,
                           .region_bytes = numbers.below(16) == 15 ? 2U << 20 : 1U << 20,
                           .leg_bytes = kLegBytes};
  record.places = *mirror::place_leg({.placement = mirror::Placement::start,
                                      .leg_bytes = kLegBytes,
                                      .data_bytes = record.data_bytes,
                                      .region_bytes = record.region_bytes});
  std::vector<mirror::Generation> generations;
  for (unsigned left = 1 + numbers.below(4); left > 0; --left) {
    const uint64_t id = 1 + numbers.below(6);
    if (std::ranges::count(generations, id, &mirror::Generation::id) == 0) {
      generations.push_back({.id = id, .seconds = id});
    }
  }
  record.history = mirror::History(generations);
  record.bitmap_since = generations[numbers.below(static_cast<unsigned>(generations.size()))].id;
  for (unsigned leg = 0; leg < 6; ++leg) {
    const unsigned state = numbers.below(8);
    if (state >= 4 && small_uuid(leg) != record.leg) continue;
    record.legs.push_back({.leg = small_uuid(leg),
                           .state = static_cast<mirror::LegState>(state % 4),
                           .label = std::string(leg, 'x')});
  }
  return {.name = "leg", .record = record, .leg_bytes = kLegBytes, .dirty = numbers.below(2) == 1};
}

void decide(std::span<const std::byte> input) {
  Numbers numbers(input);
  std::vector<size_t> discard;
  if (const unsigned chosen = numbers.below(8); chosen < 6) discard.push_back(chosen);
  std::vector<mirror::PresentLeg> legs;
  while (!numbers.at_end() && legs.size() < 6) {
    mirror::PresentLeg leg = make_leg(numbers);
    if (mirror::fault_of(leg.record, kLegBytes).empty()) legs.push_back(std::move(leg));
  }
  const mirror::Decision decision = mirror::decide(legs, discard);
  require(decision.legs.size() == legs.size(), "a leg is forgotten");
  require(decision.winner.has_value() != decision.refusal.has_value(), "neither yes nor no");
  if (decision.refusal) return require_sentence(decision.refusal->text);
  require(legs[*decision.winner].record.state() == mirror::LegState::in_sync, "a stale winner");
  for (size_t leg = 0; leg < legs.size(); ++leg) {
    const mirror::Role role = decision.legs[leg].role;
    require(role != mirror::Role::refused, "refused in part");
    require((role == mirror::Role::winner) == (leg == *decision.winner), "another winner");
    require_sentence(decision.legs[leg].text);
    const bool is_discarded = std::ranges::count(discard, leg) != 0;
    require(!is_discarded || role == mirror::Role::behind_all, "a discarded leg is used");
  }
  mirror::LegRecord next = legs[*decision.winner].record;
  next.legs = decision.table;
  next.data_bytes = decision.data_bytes;
  require(mirror::fault_of(next, kLegBytes).empty(), "the new table cannot be written");
}

// With a checksum that is made right, or as it is.
void read_block(std::span<const std::byte> input) {
  std::vector<uint64_t> words(mirror::kIntentWords);
  if (!mirror::decode_intent_block(small_uuid(0), 1, input, words)) {
    require(std::ranges::count(words, ~uint64_t{0}) == mirror::kIntentWords, "clean by damage");
  }
  for (size_t i = 0; i < words.size() && i * 8 + 8 <= input.size(); ++i) {
    words[i] = sluice::load_little_endian<uint64_t>(input, i * 8);
  }
  std::vector<std::byte> block(mirror::kIntentBlockBytes);
  mirror::encode_intent_block(small_uuid(0), 1, words, block);
  std::vector<uint64_t> again(mirror::kIntentWords);
  require(mirror::decode_intent_block(small_uuid(0), 1, block, again), "a block is damaged");
  require(words == again, "other bits");
  require(!mirror::decode_intent_block(small_uuid(1), 1, block, again), "of another array");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> input(reinterpret_cast<const std::byte*>(data), size);
  if (!input.empty() && input.front() == std::byte{'+'}) {
    decide(input.subspan(1));
  } else if (!input.empty() && input.front() == std::byte{'#'}) {
    read_block(input.subspan(1));
  } else {
    read_record(input);
  }
  return 0;
}
