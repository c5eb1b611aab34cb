// LegRecord: what the superblock of a leg says, of the leg and of its array.
//
// The container is the superblock of docs/formats/superblock.md, the payload is specified in
// docs/formats/mirror.md. Values and pure functions. Nothing that is read is trusted: parse()
// accepts any bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "target/mirror/identity.hpp"
#include "target/mirror/leg_places.hpp"

namespace sluice::mirror {

inline constexpr size_t kLegsMost = 16;
inline constexpr size_t kNameBytesMost = 63;   // of an array, and of an owner's host
inline constexpr size_t kLabelBytesMost = 95;  // of a leg
inline constexpr size_t kRecordBytes = 3328;   // of a payload

enum class LegState : uint8_t {
  in_sync,  // has all acknowledged data, but for the dirty regions after a crash
  stale,    // attached, and lacks what the bitmap says
  out,      // not attached: lacks what was written since
  spare,    // holds no data
};
std::string_view name_of(LegState state);  // "in sync"

// A row of the table of legs, which every leg has.
struct LegEntry {
  Uuid leg;
  LegState state = LegState::in_sync;
  std::string label = {};  // the spec that it was opened by last; for users and messages
  // It is to be replaced, and becomes a spare as soon as others suffice; one that is a spare was
  // replaced, and is not taken by itself.
  bool leaves = false;
  // In sync, but writes come to it later than to others: it may lack acknowledged ones.
  bool follows = false;
  // Not in sync, but it may have this generation and call itself so: nothing was written since it
  // was. The next generation begins before anything is.
  bool is_unaware = false;

  bool operator==(const LegEntry&) const = default;
};

// Who may write: the server, or `sluice mirror promote`, that took the array last. A zero token is
// nobody's.
struct Owner {
  Uuid token;
  std::string host = {};

  static Owner of_this_host();  // with a new token

  bool operator==(const Owner&) const = default;
};

struct LegRecord {
  Uuid array;
  Uuid leg;  // this one, which is in the table
  std::string name = {};
  uint64_t data_bytes = 0;    // of the array
  uint32_t block_bytes = 0;   // the largest logical block of its legs
  uint32_t region_bytes = 0;  // of a bit in the write-intent bitmap
  uint64_t leg_bytes = 0;     // of this leg when this was written
  LegPlaces places = {};      // likewise
  History history{Generation{}};
  // The bitmap has all differences to legs whose current generation is this one or a later one. In
  // the history.
  uint64_t bitmap_since = 0;
  std::vector<LegEntry> legs = {};
  // So many legs are to be in sync: 1 to kLegsMost; 0: all that are no spares.
  uint32_t wanted = 0;
  Owner owner = {};
  bool clean = false;  // the array was stopped with all legs equal and all bits clear

  // Of this leg, and of any.
  LegState state() const;
  const LegEntry* find(const Uuid& leg) const;
  LegEntry* find(const Uuid& leg);
  size_t legs_no_spares() const;

  // Begins the next generation. Legs of a generation that drops out of the history for it are no
  // longer covered by the bitmap.
  void begin_generation(Generation next);

  bool operator==(const LegRecord&) const = default;
};

// Fills `payload`, of kRecordBytes. The record is one that parse() would return: see fault_of().
void encode(const LegRecord& record, std::span<std::byte> payload);

// `leg_bytes`: the size of the leg that it was read from. EILSEQ: what is wrong with it, as one
// sentence that begins with "the mirror superblock".
Result<LegRecord> parse(std::span<const std::byte> payload, uint64_t leg_bytes);

// Why encode() must not write the record on a leg that is so large, as the end of a sentence;
// empty: it may.
std::string fault_of(const LegRecord& record, uint64_t leg_bytes);

// The text as a label or a name, at most `most` bytes of UTF-8 without control characters; of a
// longer one the end, behind "...".
std::string label_of(std::string_view text, size_t most = kLabelBytesMost);

}  // namespace sluice::mirror
