// Reads any bytes as blocks of the metadata of a thin pool. The first byte says what the rest is:
// 's' a superblock, 'n' a B-tree node, 'b' a bitmap. They are sealed, since mutated bytes would
// never have a valid checksum, and then refused with one printable sentence, or read within their
// bounds and written again unchanged. 'i' is a whole image, a record for each block: kind, length
// (two bytes), and so many bytes of the block. It is checked; what passes can be read, and changed.
// 'x' is the XML of a dump.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "core/little_endian.hpp"
#include "image/pool_xml.hpp"
#include "persistent/check.hpp"
#include "persistent/delta.hpp"
#include "persistent/devices.hpp"
#include "persistent/exclusive.hpp"
#include "persistent/free_runs.hpp"
#include "persistent/node.hpp"
#include "persistent/salvage.hpp"
#include "persistent/superblock.hpp"
#include "persistent/transaction.hpp"
#include "spec/shown.hpp"

namespace {

namespace persistent = sluice::persistent;
using persistent::BlockKind;

constexpr uint64_t kNumber = 5;
using Bytes = std::array<std::byte, persistent::kBlockBytes>;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "thin_fuzz: %s\n", what);
  std::abort();
}

void require_sentence(const sluice::Error& error) {
  require(error.error > 0 && !error.text.empty() && error.text.size() < 1000, "no sentence");
  require(sluice::is_utf8(error.text) && error.text.find('\n') == std::string::npos,
          "not printable");
}

void read_superblock(Bytes& block) {
  persistent::seal(BlockKind::superblock, kNumber, block);
  const auto found = persistent::read_superblock(block, kNumber);
  if (!found) return require_sentence(found.error());
  require(found->data_block_bytes() >= 64 << 10 && found->data_block_bytes() <= 1 << 30,
          "a block size is accepted that no pool has");
  Bytes again{};
  persistent::write_superblock(*found, again, kNumber);
  const auto second = persistent::read_superblock(again, kNumber);
  require(second && *second == *found, "it is written in another way");
}

// All that a reader may ask of a node that was accepted.
void read_node(Bytes& block) {
  const uint32_t value_bytes = std::to_integer<uint32_t>(block[24]) % 32;
  persistent::seal(BlockKind::node, kNumber, block);
  const auto node = persistent::open_node(block, kNumber, value_bytes);
  if (!node) return require_sentence(node.error());
  require(node->entries() <= node->capacity(), "too many entries");
  for (uint32_t i = 0; i < node->entries(); ++i) {
    const auto value = node->value(i);
    require(value.data() >= block.data() && value.data() + value.size() <= block.data() + 4096,
            "a value lies outside");
    require(node->find(node->key(i)) == i, "a key is not found");
    require(node->at_most(node->key(i)) == i, "another key is found");
  }
  persistent::Node changed{persistent::Block(block)};
  while (changed.entries() > 0) changed.erase(changed.entries() / 2);
}

void read_bitmap(Bytes& block) {
  persistent::seal(BlockKind::bitmap, kNumber, block);
  require(persistent::verify(BlockKind::bitmap, kNumber, block).has_value(), "not sealed");
  const auto free = persistent::find_free(block, 0, persistent::kBlocksOfBitmap);
  for (uint32_t i = 0; i < persistent::kBlocksOfBitmap; ++i) {
    const uint32_t count = persistent::bitmap_count(block, i);
    require((count == 0) <= (free && *free <= i), "a free block is not found");
    require(!free || *free != i || count == 0, "a used block is found free");
    persistent::set_bitmap_count(block, i, 3 - count);
    require(persistent::bitmap_count(block, i) == 3 - count, "another count");
  }
}

class Image final : public persistent::BlockReader {
 public:
  explicit Image(std::span<const std::byte> input) {
    while (input.size() >= 3 && blocks_.size() < kBlocksMost) {
      const auto kind = std::to_integer<unsigned>(input[0]);
      const size_t length = sluice::load_little_endian<uint16_t>(input, 1) % 4097;
      input = input.subspan(3);
      Bytes& block = blocks_.emplace_back();
      const auto bytes = input.first(std::min(input.size(), length));
      std::ranges::copy(bytes, block.begin());
      input = input.subspan(bytes.size());
      seal(kind, block);
    }
  }

  void begin() { reads_ = 0; }
  uint64_t blocks() const override { return blocks_.size(); }
  sluice::Result<void> read(uint64_t number, persistent::Block block) override {
    if (number >= blocks_.size()) return sluice::fail(EINVAL, "there is no such block");
    require(++reads_ < 100'000, "it reads without an end");
    std::ranges::copy(blocks_[number], block.begin());
    return {};
  }

 private:
  static constexpr size_t kBlocksMost = 64;

  void seal(unsigned kind, Bytes& block) const {
    constexpr std::array kKinds = {BlockKind::superblock, BlockKind::node, BlockKind::index,
                                   BlockKind::bitmap};
    if (kind < kKinds.size()) persistent::seal(kKinds[kind], blocks_.size() - 1, block);
  }

  std::vector<Bytes> blocks_;
  unsigned reads_ = 0;
};

void check_image(Image& image) {
  const auto result = persistent::check(image, {});
  if (!result) return require_sentence(result.error());
  for (const std::string& sentence : result->sentences) require_sentence({EILSEQ, sentence});
  require(result->clean() == result->sentences.empty(), "a fault is not told");
  const auto superblock = persistent::load_superblock(image);
  require(superblock.has_value(), "the superblock is lost");
  const auto devices = persistent::read_devices(image, *superblock);
  require(devices.has_value() || !result->clean(), "devices that were checked cannot be read");
  if (!devices) return require_sentence(devices.error());
  uint64_t mapped = 0;
  for (const persistent::ThinDevice& device : *devices) {
    const auto done =
        persistent::for_each_run(image, device.root, [&](const persistent::MappedRun& run) {
          require(run.length > 0, "an empty run");
          mapped += run.length;
        });
    require(done.has_value() || !result->clean(), "mappings that were checked cannot be read");
  }
  require(mapped == result->mapped_blocks || !result->clean(), "other mappings are read");
}

// What devices have alone, and what differs between the first and the others.
void compare_devices(Image& image) {
  const auto superblock = persistent::load_superblock(image);
  if (!superblock) return;
  const auto devices = persistent::read_devices(image, *superblock);
  if (!devices) return;
  const auto exclusive = persistent::count_exclusive(image, *devices);
  if (!exclusive) require_sentence(exclusive.error());
  constexpr size_t kComparedMost = 20;
  for (const persistent::ThinDevice& device :
       std::span(*devices).first(std::min(devices->size(), kComparedMost))) {
    uint64_t end = 0;
    const auto done = persistent::for_each_difference(
        image, devices->front().root, device.root, [&](const persistent::DeltaRun& run) {
          require(run.length > 0 && (end == 0 || run.device_block >= end), "out of order");
          require(&device != devices->data() || run.difference == persistent::Difference::same,
                  "a device differs from itself");
          end = run.device_block + run.length;
        });
    if (!done) require_sentence(done.error());
  }
}

// What is salvaged can be made a pool of; from a pool without faults it is everything.
void salvage_image(Image& image) {
  const auto salvage = persistent::find_salvage(image, {.data_block_sectors = 128}, {});
  if (!salvage) return require_sentence(salvage.error());
  for (const std::string& sentence : salvage->sentences) require_sentence({EILSEQ, sentence});
  require(salvage->time <= persistent::kTimeMost, "a time that no pool has");
  for (const persistent::ThinDevice& device : salvage->devices) {
    uint64_t mapped = 0;
    const auto take = [&](const persistent::MappedRun& run) -> sluice::Result<void> {
      require(run.length > 0 && run.data_block + run.length <= salvage->data_blocks,
              "there is no such data block");
      mapped += run.length;
      return {};
    };
    const auto done = persistent::for_each_salvaged_run(image, *salvage, device, take);
    require(done && mapped == device.details.mapped_blocks, "another number of mappings");
  }
}

void list_free(Image& image) {
  const auto superblock = persistent::load_superblock(image);
  if (!superblock) return;
  persistent::SpaceMapRoot data = superblock->data_space_map;
  data.blocks = std::min<uint64_t>(data.blocks, 1'000'000);
  uint64_t end = 0;
  const auto listed =
      persistent::for_each_free_run(image, data, [&](uint64_t first, uint64_t length) {
        require(first >= end && length > 0 && first + length <= data.blocks, "no such blocks");
        end = first + length + 1;
        return sluice::Result<void>();
      });
  if (!listed) require_sentence(listed.error());
}

// Steps that are done leave what they should; others leave no trace. Nothing is written.
void change_image(Image& image) {
  auto opened = persistent::Transaction::open(image);
  if (!opened) return require_sentence(opened.error());
  persistent::Transaction& pool = **opened;
  if (auto made = pool.create_device(77); !made) require_sentence(made.error());
  if (auto taken = pool.create_snapshot(78, 5); !taken) require_sentence(taken.error());
  for (const uint64_t device : {0UL, 5UL, 78UL}) {
    for (const uint64_t block : {uint64_t{3}, uint64_t{700}, UINT64_MAX}) {
      const auto before = pool.details(device);
      const auto mapped = pool.provision(device, block);
      if (!mapped) {
        require_sentence(mapped.error());
        require(!before || *pool.details(device) == *before, "an operation leaves a trace");
        continue;
      }
      const auto found = pool.find(device, block);
      require(found && *found && (*found)->data_block == *mapped, "another mapping is found");
      if (auto unmapped = pool.unmap(device, block); !unmapped) require_sentence(unmapped.error());
    }
  }
  if (auto rolled = pool.roll_back(0, 5); !rolled) require_sentence(rolled.error());
  const uint64_t data_blocks = pool.superblock().data_space_map.blocks;
  if (auto grown = pool.grow_metadata(image.blocks()); !grown) require_sentence(grown.error());
  if (auto grown = pool.grow_data(std::min(data_blocks, persistent::kDataBlocksMost) + 20'000);
      !grown) {
    require_sentence(grown.error());
  }
  if (auto removed = pool.remove_device(5); !removed) require_sentence(removed.error());
}

class XmlTaker final : public sluice::image::PoolXmlTaker {
 public:
  sluice::Result<void> pool(const sluice::image::PoolXmlFacts&) override {
    require(!pool_, "two pools");
    pool_ = true;
    return {};
  }
  sluice::Result<void> device(uint64_t, const persistent::DeviceDetails&) override {
    require(pool_, "a device without a pool");
    device_ = true;
    return {};
  }
  sluice::Result<void> run(const persistent::MappedRun& run) override {
    require(device_, "a mapping without a device");
    require(run.device_block + run.length >= run.device_block, "a range overflows");
    require(run.data_block + run.length >= run.data_block, "a range overflows");
    return {};
  }

 private:
  bool pool_ = false;
  bool device_ = false;
};

void read_xml(std::span<const std::byte> input) {
  std::istringstream text(std::string(reinterpret_cast<const char*>(input.data()), input.size()));
  XmlTaker taker;
  const auto read = sluice::image::read_pool_xml(text, taker);
  if (!read) require_sentence(read.error());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::span<const std::byte> input(reinterpret_cast<const std::byte*>(data), size);
  if (input.empty()) return 0;
  const auto kind = std::to_integer<char>(input.front());
  input = input.subspan(1);
  if (kind == 'x') read_xml(input);
  if (kind == 'i') {
    Image image(input);
    check_image(image);
    image.begin();
    compare_devices(image);
    image.begin();
    salvage_image(image);
    list_free(image);
    image.begin();
    change_image(image);
  }
  Bytes block{};
  std::copy_n(input.begin(), std::min(input.size(), block.size()), block.begin());
  if (kind == 's') read_superblock(block);
  if (kind == 'n') read_node(block);
  if (kind == 'b') read_bitmap(block);
  return 0;
}
