#include "image/compare.hpp"

#include <algorithm>
#include <cstring>
#include <deque>
#include <semaphore>
#include <utility>

#include "core/buffer.hpp"
#include "image/map.hpp"

namespace sluice::image {
namespace {

constexpr size_t kPiecesInFlight = 16;
constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
constexpr uint64_t kBlockBytesMax = 4096;  // of any disk
constexpr uint64_t kToldBytes = 512;       // in which a difference is told, as QEMU does

// A read of some bytes, by the whole blocks that contain them.
class BlockRead final : public direct::Io {
 public:
  void start(OpenDisk& disk, uint64_t begin, uint64_t length) {
    if (room_.bytes().empty()) room_ = Buffer(kPieceBytes + 2 * kBlockBytesMax);
    const uint64_t block = disk.block_bytes();
    const uint64_t first = begin / block * block;
    const uint64_t end = (begin + length + block - 1) / block * block;
    op = Op::read;
    offset = first;
    memory = room_.bytes().first(std::min(end, disk.size_bytes()) - first);
    wanted_ = memory.subspan(begin - first, length);
    disk.submit(0, *this);
  }
  void done(Status status) noexcept override {
    status_ = status;
    ended_.release();
  }
  Status wait() {
    ended_.acquire();
    return status_;
  }
  std::span<const std::byte> bytes() const { return wanted_; }

 private:
  Buffer room_{0};
  std::span<const std::byte> wanted_;
  Status status_;
  std::binary_semaphore ended_{0};
};

// One of the two disks; of the shorter one, what lies behind its end is zero.
struct Side {
  Side(OpenDisk& which, Detail detail) : disk(which), extents(which, detail) {}

  OpenDisk& disk;
  ExtentCursor extents;
  Extent here{};  // at the present offset
};

// A range that is compared by its bytes: those of both, or of one, which are to be zero.
struct Piece {
  uint64_t begin = 0;
  uint64_t length = 0;
  OpenDisk* read[2] = {};  // null: zeroes
  BlockRead data[2];
};

// The first byte that is not zero, or not that of the other one; none: the length.
uint64_t first_nonzero(std::span<const std::byte> bytes) {
  const auto found =
      std::ranges::find_if(bytes, [](std::byte each) { return each != std::byte{}; });
  return static_cast<uint64_t>(found - bytes.begin());
}

bool all_zero(std::span<const std::byte> bytes) {
  return bytes.empty() || (bytes[0] == std::byte{} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

class Comparing {
 public:
  using Failed = std::unexpected<CompareFailure>;

  Comparing(OpenDisk& one, OpenDisk& other, const CompareOptions& options)
      : options_(options),
        detail_(options.strict ? Detail::places : Detail::content),
        sides_{{one, detail_}, {other, detail_}},
        size_(std::max(one.size_bytes(), other.size_bytes())) {
    while (idle_.size() < kPiecesInFlight) idle_.push_back(&pieces_.emplace_back());
  }
  // Memory is not left to reads that are still in flight.
  ~Comparing() {
    for (Piece* const each : busy_) wait(*each);
  }
  Comparing(const Comparing&) = delete;
  Comparing& operator=(const Comparing&) = delete;

  std::expected<Comparison, CompareFailure> run() {
    const bool same_size = sides_[0].disk.size_bytes() == sides_[1].disk.size_bytes();
    if (options_.strict && !same_size) return Comparison{.difference = Difference::size};
    for (uint64_t offset = 0; offset < size_;) {
      auto length = look(offset);
      if (!length) return Failed(CompareFailure{.error = length.error()});
      if (options_.strict && !alike()) {
        // A difference of contents may come before it.
        while (!busy_.empty()) {
          if (auto end = settle_oldest()) return *end;
        }
        return Comparison{.difference = Difference::status, .offset = offset};
      }
      for (uint64_t begin = offset; begin < offset + *length;) {
        const bool nothing = sides_[0].here.zero && sides_[1].here.zero;
        const uint64_t bytes = nothing ? *length : std::min(offset + *length - begin, kPieceBytes);
        if (!nothing) {
          if (idle_.empty()) {
            if (auto end = settle_oldest()) return *end;
          }
          begin_piece(begin, bytes);
        }
        begin += bytes;
        if (options_.progress) options_.progress(begin, size_);
      }
      offset += *length;
    }
    while (!busy_.empty()) {
      if (auto end = settle_oldest()) return *end;
    }
    return Comparison{.is_longer_with_zeroes = !same_size};
  }

 private:
  using End = std::expected<Comparison, CompareFailure>;

  // What both have at the offset, and how far.
  Result<uint64_t> look(uint64_t offset) {
    uint64_t length = size_ - offset;
    for (Side& side : sides_) {
      if (offset >= side.disk.size_bytes()) {
        side.here = kNothingExtent;
        continue;
      }
      auto found = side.extents.at(offset);
      if (!found) return std::unexpected(found.error());
      side.here = *found;
      length = std::min(length, side.here.length);
    }
    return length;
  }

  bool alike() const {
    const Extent& one = sides_[0].here;
    const Extent& other = sides_[1].here;
    return one.hole == other.hole && one.zero == other.zero && one.allocated == other.allocated &&
           (one.place == Extent::kNoPlace) == (other.place == Extent::kNoPlace);
  }

  void begin_piece(uint64_t begin, uint64_t length) {
    Piece& piece = *idle_.back();
    idle_.pop_back();
    piece.begin = begin;
    piece.length = length;
    for (size_t i = 0; i < 2; ++i) {
      piece.read[i] = sides_[i].here.zero ? nullptr : &sides_[i].disk;
      if (piece.read[i] != nullptr) piece.data[i].start(*piece.read[i], begin, length);
    }
    busy_.push_back(&piece);
  }

  static std::optional<Failed> wait(Piece& piece) {
    std::optional<Failed> failed;
    for (size_t i = 0; i < 2; ++i) {
      if (piece.read[i] == nullptr) continue;
      const Status status = piece.data[i].wait();
      if (status.ok() || failed) continue;
      failed = Failed(CompareFailure{.is_read = true,
                                     .error = piece.read[i]->explain("read", piece.begin, status)});
    }
    return failed;
  }

  // Waits for the oldest piece; the end, if it ends the comparison.
  std::optional<End> settle_oldest() {
    Piece& piece = *busy_.front();
    busy_.pop_front();
    idle_.push_back(&piece);
    if (auto failed = wait(piece)) return End(std::move(*failed));
    const auto differs = first_difference(piece);
    if (!differs) return std::nullopt;
    return End(Comparison{.difference = Difference::content,
                          .offset = (piece.begin + *differs) / kToldBytes * kToldBytes});
  }

  static std::optional<uint64_t> first_difference(const Piece& piece) {
    if (piece.read[0] != nullptr && piece.read[1] != nullptr) {
      const auto one = piece.data[0].bytes();
      const auto other = piece.data[1].bytes();
      if (std::memcmp(one.data(), other.data(), piece.length) == 0) return std::nullopt;
      const auto at = std::ranges::mismatch(one, other).in1;
      return static_cast<uint64_t>(at - one.begin());
    }
    const auto bytes = piece.data[piece.read[0] != nullptr ? 0 : 1].bytes();
    if (all_zero(bytes)) return std::nullopt;
    return first_nonzero(bytes);
  }

  const CompareOptions& options_;
  const Detail detail_;
  Side sides_[2];
  const uint64_t size_;
  std::deque<Piece> pieces_;
  std::vector<Piece*> idle_;
  std::deque<Piece*> busy_;  // in order
};

}  // namespace

std::expected<Comparison, CompareFailure> compare_disks(OpenDisk& one, OpenDisk& other,
                                                        const CompareOptions& options) {
  return Comparing(one, other, options).run();
}

}  // namespace sluice::image
