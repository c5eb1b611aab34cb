#include "target/qcow2/bitmap/bitmap.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kWordBits = 64;

uint64_t words_for(uint64_t bits) { return (bits + kWordBits - 1) / kWordBits; }

uint64_t bits_for(uint64_t disk_bytes, uint32_t granularity_bits) {
  const uint64_t rest = disk_bytes & ((uint64_t{1} << granularity_bits) - 1);
  return (disk_bytes >> granularity_bits) + (rest != 0 ? 1 : 0);
}

}  // namespace

static_assert(std::endian::native == std::endian::little, "words of bits are those of the image");

uint64_t Bitmap::bytes_for(uint64_t disk_bytes, uint32_t granularity_bits) {
  return (bits_for(disk_bytes, granularity_bits) + 7) / 8;
}

void Bitmap::mark(uint64_t offset, uint64_t length) {
  if (length == 0) return;
  const uint64_t first = offset >> entry_.granularity_bits;
  const uint64_t end = std::min(((offset + length - 1) >> entry_.granularity_bits) + 1, count_);
  for (uint64_t bit = first; bit < end;) {
    const uint64_t in_word = bit % kWordBits;
    const uint64_t here = std::min(end - bit, kWordBits - in_word);
    set_bits(bit / kWordBits, UINT64_MAX >> (kWordBits - here) << in_word);
    bit += here;
  }
}

// Usually they are set already: then nothing is written, and no cache line taken from others.
void Bitmap::set_bits(uint64_t index, uint64_t wanted) {
  if ((word(index) & wanted) == wanted) return;
  Word(bits_[index]).fetch_or(wanted, std::memory_order_relaxed);
  if (!changed()) set_changed(true);
}

uint64_t Bitmap::first_run(uint64_t offset, uint64_t length, bool& dirty) const {
  const uint64_t first = offset >> entry_.granularity_bits;
  const uint64_t end = std::min(((offset + length - 1) >> entry_.granularity_bits) + 1, count_);
  dirty = false;
  if (first >= end) return length;
  dirty = (word(first / kWordBits) >> first % kWordBits & 1) != 0;
  const uint64_t unlike = dirty ? UINT64_MAX : 0;
  uint64_t bit = first;
  while (bit < end) {
    const uint64_t other = (word(bit / kWordBits) ^ unlike) >> bit % kWordBits;
    if (other != 0) {
      bit += static_cast<uint64_t>(std::countr_zero(other));
      break;
    }
    bit += kWordBits - bit % kWordBits;
  }
  return std::min((std::min(bit, end) << entry_.granularity_bits) - offset, length);
}

Status Bitmap::resize(uint64_t disk_bytes) {
  const uint64_t count = bits_for(disk_bytes, entry_.granularity_bits);
  if (bytes_for(disk_bytes, entry_.granularity_bits) > kBitmapBytesMax) {
    return Status::from_errno(EFBIG);
  }
  // What is not touched takes no memory.
  const uint64_t words = std::max<uint64_t>(words_for(count), 1);
  std::unique_ptr<uint64_t[], Free> bits(
      static_cast<uint64_t*>(std::calloc(words, sizeof(uint64_t))));
  if (bits == nullptr) return Status::from_errno(ENOMEM);
  if (bits_ != nullptr) {
    const uint64_t kept = std::min(words_for(count_), words);
    for (uint64_t i = 0; i < kept; ++i) {
      if (bits_[i] != 0) bits[i] = bits_[i];
    }
  }
  bits_ = std::move(bits);
  count_ = count;
  bytes_ = words * sizeof(uint64_t);
  trim();
  set_changed(true);
  return kOk;
}

void Bitmap::trim() {
  if (count_ % kWordBits != 0)
    bits_[count_ / kWordBits] &= UINT64_MAX >> (kWordBits - count_ % kWordBits);
}

// New memory takes no time, and no space until it is used.
void Bitmap::clear() {
  void* const fresh = std::calloc(bytes_, 1);
  if (fresh != nullptr) {
    bits_.reset(static_cast<uint64_t*>(fresh));
  } else {
    std::memset(bits_.get(), 0, bytes_);
  }
  set_changed(true);
}

}  // namespace sluice::qcow2
