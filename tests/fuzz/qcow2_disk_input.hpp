// The input of qcow2_disk_fuzz: an image, changes of its tables, and a script of requests.
//
//   flags, number of changes, number of steps      a byte each
//   changes      table, entry, kind of value, value; a byte each
//   steps        operation, offset (2), length, choice, pause; a byte each but the offset
//   image        records: sectors of zeroes (1), sectors of data (1), the data
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "core/big_endian.hpp"
#include "target/qcow2/l2_entry.hpp"

namespace sluice::fuzz {

inline constexpr size_t kSectorBytes = 512;
inline constexpr size_t kImageBytesMax = 1 << 20;

enum Flag : uint8_t {
  kReadOnly = 1,
  kOfSnapshot = 2,  // named "1"
  kHasBacking = 4,
  kCannotGrow = 8,
  kCutsShort = 16,   // the image ends within its last cluster
  kFailsLater = 32,  // so do some writes to the storage
  kStartsTwice = 64,
};

struct Step {
  uint8_t op = 0;
  uint16_t offset = 0;
  uint8_t length = 0;
  uint8_t choice = 0;
  uint8_t pause = 0;
};

class Input {
 public:
  explicit Input(std::span<const uint8_t> bytes) : bytes_(bytes) {
    flags = next();
    const size_t changes = next() % 9;
    const size_t count = next() % 40;
    const auto edits = take(changes * 4);
    for (size_t i = 0; i < count; ++i) steps.push_back(next_step());
    read_image();
    for (size_t i = 0; i + 4 <= edits.size(); i += 4) {
      change(edits[i], edits[i + 1], edits[i + 2], edits[i + 3]);
    }
    if ((flags & kCutsShort) != 0 && image.size() > kSectorBytes) {
      image.resize(image.size() - kSectorBytes);
    }
  }

  uint8_t flags = 0;
  std::vector<Step> steps;
  std::vector<std::byte> image;

 private:
  uint8_t next() {
    const auto first = take(1);
    return first.empty() ? uint8_t{0} : first.front();
  }
  std::span<const uint8_t> take(size_t count) {
    const auto taken = bytes_.first(std::min(count, bytes_.size()));
    bytes_ = bytes_.subspan(taken.size());
    return taken;
  }
  Step next_step() {
    Step step{.op = next()};
    step.offset = static_cast<uint16_t>(next() << 8);
    step.offset = static_cast<uint16_t>(step.offset | next());
    step.length = next();
    step.choice = next();
    step.pause = next();
    return step;
  }
  void read_image() {
    while (!bytes_.empty() && image.size() < kImageBytesMax) {
      image.resize(image.size() + next() * kSectorBytes);
      const auto data = std::as_bytes(take(next() * kSectorBytes));
      image.insert(image.end(), data.begin(), data.end());
    }
    image.resize((image.size() + kSectorBytes - 1) / kSectorBytes * kSectorBytes);
  }

  // --- Changes of tables.
  uint64_t number(uint64_t place) const {
    if (place > image.size() || image.size() - place < 8) return 0;
    return load_big_endian<uint64_t>(image, place);
  }
  void change(uint8_t table, uint8_t entry, uint8_t kind, uint8_t value) {
    if (image.size() < kSectorBytes) return;
    const auto bits = std::to_integer<uint32_t>(image[23]) % 32;
    const uint64_t place = place_of(table, entry, bits);
    if (place > image.size() || image.size() - place < 8) return;
    const uint64_t cluster = uint64_t{value} << bits;
    const uint64_t old = number(place);
    const std::array<uint64_t, 12> values = {value,
                                             cluster,
                                             cluster | qcow2::kCopied,
                                             old ^ uint64_t{1} << value % 64,
                                             number(place + 8),
                                             number(40),
                                             number(40) | qcow2::kCopied,
                                             number(48) | qcow2::kCopied,
                                             number(number(48)) | qcow2::kCopied,
                                             number(64) | qcow2::kCopied,
                                             qcow2::kCompressed | (cluster + value * 3),
                                             (old & ~uint64_t{0xffff}) | value * uint64_t{257}};
    store_big_endian(image, place, values[kind % values.size()]);
  }
  uint64_t place_of(uint8_t table, uint8_t entry, uint32_t bits) const {
    const uint64_t l1 = number(40);
    const uint64_t refcounts = number(48);
    switch (table % 7) {
      case 0:
        return entry % 14 * uint64_t{8};
      case 1:
        return l1 + entry % 4 * uint64_t{8};
      case 2:
        return refcounts + entry % 4 * uint64_t{8};
      case 3:
        return (number(l1) & qcow2::kOffsetMask) + entry * uint64_t{8};
      case 4:
        return (number(l1 + 8) & qcow2::kOffsetMask) + entry * uint64_t{8};
      case 5:
        return number(refcounts) + entry % (uint64_t{1} << std::clamp(bits, 9U, 20U) >> 3) * 8;
      default:
        return number(64) + entry;
    }
  }

  std::span<const uint8_t> bytes_;
};

}  // namespace sluice::fuzz
