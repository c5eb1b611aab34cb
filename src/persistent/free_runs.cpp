#include "persistent/free_runs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "persistent/tree_walk.hpp"

namespace sluice::persistent {
namespace {

class FreeRuns {
 public:
  using Take = std::function<Result<void>(uint64_t first, uint64_t length)>;

  FreeRuns(BlockReader& reader, const SpaceMapRoot& data, const Take& take)
      : reader_(reader), data_(data), take_(take) {}

  Result<void> add(uint64_t index, const IndexEntry& entry) {
    const uint64_t begin = next_ * kBlocksOfBitmap;
    if (index != next_ || begin >= data_.blocks) {
      return fail(EILSEQ, fmt::format("the data space map has a bitmap {} behind the first {}",
                                      index, next_));
    }
    alignas(8) std::array<std::byte, kBlockBytes> bitmap;
    if (auto read = reader_.read(entry.bitmap, bitmap); !read) return read;
    if (auto verified = verify(BlockKind::bitmap, entry.bitmap, bitmap); !verified) return verified;
    ++next_;
    const auto end =
        static_cast<uint32_t>(std::min<uint64_t>(kBlocksOfBitmap, data_.blocks - begin));
    for (uint32_t bit = 0; bit < end; ++bit) {
      if (bitmap_count(bitmap, bit) == 0) {
        if (length_ == 0) first_ = begin + bit;
        ++length_;
      } else if (auto ended = end_run(); !ended) {
        return ended;
      }
    }
    return {};
  }

  Result<void> end() {
    if (next_ == data_.bitmaps()) return end_run();
    return fail(EILSEQ, fmt::format("the data space map has {} bitmaps, and needs {}", next_,
                                    data_.bitmaps()));
  }

 private:
  Result<void> end_run() {
    if (length_ == 0) return {};
    auto taken = take_(first_, length_);
    length_ = 0;
    return taken;
  }

  BlockReader& reader_;
  const SpaceMapRoot& data_;
  const Take& take_;
  uint64_t next_ = 0;   // the bitmap that comes next
  uint64_t first_ = 0;  // of the run that has not ended
  uint64_t length_ = 0;
};

}  // namespace

Result<void> for_each_free_run(
    BlockReader& reader, const SpaceMapRoot& data,
    const std::function<Result<void>(uint64_t first, uint64_t length)>& take) {
  FreeRuns runs(reader, data, take);
  auto walked = for_each_leaf(
      reader, data.index, IndexEntry::kBytes, [&](const NodeView& leaf) -> Result<void> {
        for (uint32_t i = 0; i < leaf.entries(); ++i) {
          const auto entry = load_index_entry(leaf.value(i).first<IndexEntry::kBytes>());
          if (auto added = runs.add(leaf.key(i), entry); !added) return added;
        }
        return {};
      });
  if (!walked) return walked;
  return runs.end();
}

}  // namespace sluice::persistent
