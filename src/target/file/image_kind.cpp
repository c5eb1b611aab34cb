#include "target/file/image_kind.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "core/buffer.hpp"
#include "core/log.hpp"
#include "spec/shown.hpp"

namespace sluice {
namespace {

using Head = std::span<const std::byte>;

bool has(Head head, size_t offset, std::string_view magic) {
  if (head.size() < offset + magic.size()) return false;
  return std::ranges::equal(head.subspan(offset, magic.size()), magic, {}, {},
                            [](char c) { return static_cast<std::byte>(c); });
}

uint64_t little_endian(Head head, size_t offset, size_t bytes) {
  uint64_t value = 0;
  if (head.size() < offset + bytes) return 0;
  for (size_t i = bytes; i-- > 0;) value = value << 8 | static_cast<uint64_t>(head[offset + i]);
  return value;
}

uint64_t big_endian(Head head, size_t offset, size_t bytes) {
  uint64_t value = 0;
  if (head.size() < offset + bytes) return 0;
  for (size_t i = 0; i < bytes; ++i) value = value << 8 | static_cast<uint64_t>(head[offset + i]);
  return value;
}

bool is_between(uint64_t value, uint64_t least, uint64_t most) {
  return value >= least && value <= most;
}

// --- Partition tables.

constexpr size_t kMbrEntries = 446;
constexpr size_t kMbrEntryBytes = 16;
constexpr int kMbrEntryCount = 4;
constexpr uint64_t kMbrProtective = 0xEE;

bool has_boot_signature(Head head) { return has(head, 510, "\x55\xAA"); }

// The header of a GPT is in its second block, and contains its block number.
bool has_gpt_header(Head head, uint32_t block) {
  return has(head, block, std::string_view("EFI PART\0\0\1\0", 12)) &&
         little_endian(head, block + 24, 8) == 1;
}

// An MBR does not contain the block size. But if its partitions exceed the file when counted in
// large blocks, and fit into it in small blocks, it was made for small blocks.
bool is_mbr_of_small_blocks(Head head, uint64_t size_bytes) {
  if (!has_boot_signature(head)) return false;
  uint64_t end = 0;
  for (int i = 0; i < kMbrEntryCount; ++i) {
    const size_t entry = kMbrEntries + static_cast<size_t>(i) * kMbrEntryBytes;
    const uint64_t active = little_endian(head, entry, 1);
    const uint64_t type = little_endian(head, entry + 4, 1);
    const uint64_t first = little_endian(head, entry + 8, 4);
    const uint64_t count = little_endian(head, entry + 12, 4);
    if ((active != 0 && active != 0x80) || type == kMbrProtective) return false;
    if (type == 0) continue;
    if (first == 0 || count == 0) return false;
    end = std::max(end, first + count);
  }
  return end != 0 && end <= size_bytes / 512 && end > size_bytes / 4096;
}

std::optional<MadeFor> partition_table(Head head, uint64_t size_bytes) {
  constexpr std::string_view kTable = "a partition table";
  const bool small = has_gpt_header(head, 512);
  const bool large = has_gpt_header(head, 4096);
  if (small != large) {
    return MadeFor{.what = kTable, .block_bytes = small ? 512U : 4096U, .exactly = true};
  }
  if (!small && is_mbr_of_small_blocks(head, size_bytes)) {
    return MadeFor{.what = kTable, .block_bytes = 512, .exactly = true};
  }
  return std::nullopt;
}

// --- File systems.

std::optional<MadeFor> file_system(Head head) {
  const auto made = [](std::string_view what, uint64_t block) -> std::optional<MadeFor> {
    if (!is_between(block, 512, 4096) || !std::has_single_bit(block)) return std::nullopt;
    return MadeFor{.what = what, .block_bytes = static_cast<uint32_t>(block)};
  };
  if (has(head, 0, "XFSB")) return made("an XFS file system", big_endian(head, 102, 2));
  if (has(head, 1024 + 56, "\x53\xEF") && little_endian(head, 1024 + 24, 4) <= 2) {
    return made("an ext file system", 1024U << little_endian(head, 1024 + 24, 4));
  }
  if (!has_boot_signature(head)) return std::nullopt;
  if (has(head, 3, "EXFAT   ") && little_endian(head, 108, 1) <= 12) {
    return made("an exFAT file system", uint64_t{1} << little_endian(head, 108, 1));
  }
  const uint64_t sector = little_endian(head, 11, 2);
  if (has(head, 3, "NTFS    ")) return made("an NTFS file system", sector);
  if (has(head, 54, "FAT1") || has(head, 82, "FAT32   ")) return made("a FAT file system", sector);
  return std::nullopt;
}

// The reason for the served block size, if it is that of the file.
std::string reason(const BackingFile& file, uint32_t block) {
  if (block == 512 || block != file.geometry.logical_block_bytes) return {};
  return file.block_device ? ", as the disk demands" : ", as direct I/O demands";
}

std::string advice(const MadeFor& made, const BackingFile& file, uint32_t block) {
  const std::string option = fmt::format("give the option block={}", made.block_bytes);
  const bool may_buffer = !file.block_device && file.direct && made.block_bytes < block;
  return may_buffer ? option + ", or buffered_io" : option;
}

}  // namespace

std::string_view image_format(Head head) {
  constexpr uint64_t kVdi = 0xBEDA107F;
  if (has(head, 0, "QFI\xFB")) {
    const uint64_t version = big_endian(head, 4, 4);
    if (version == 1) return "qcow";
    if (version == 2 || version == 3) return "qcow2";
  }
  const bool is_vmdk = has(head, 0, "KDMV") && is_between(little_endian(head, 4, 4), 1, 3);
  if (is_vmdk || has(head, 0, "# Disk DescriptorFile")) return "vmdk";
  if (little_endian(head, 64, 4) == kVdi) return "vdi";
  if (has(head, 0, "vhdxfile")) return "vhdx";
  if (has(head, 0, "conectix")) return "vhd";
  if (has(head, 0, std::string_view("QED\0", 4))) return "qed";
  return {};
}

std::optional<MadeFor> made_for(Head head, uint64_t size_bytes) {
  if (auto table = partition_table(head, size_bytes)) return table;
  return file_system(head);
}

void tell_what_is_in(const BackingFile& file, const std::string& path, const Geometry& served) {
  const Buffer buffer(kImageHeadBytes);
  const ssize_t got = pread(file.descriptor.number(), buffer.bytes().data(), kImageHeadBytes, 0);
  if (got <= 0) return;  // later reads will report the error
  const Head head = buffer.bytes().first(static_cast<size_t>(got));
  if (const std::string_view format = image_format(head); !format.empty()) {
    const std::string advice = format == "qcow2" ? fmt::format("give qcow2:{}", shell_word(path))
                                                 : "convert it with qemu-img convert -O raw first";
    log().warn("{} is a {} image, but its raw bytes are served, not the disk inside: {}",
               shown(path), format, advice);
    return;
  }
  const uint32_t block = served.logical_block_bytes;
  const auto made = made_for(head, file.geometry.size_bytes);
  if (!made || made->block_bytes == block || (!made->exactly && made->block_bytes > block)) return;
  log().warn(
      "{} holds {} for blocks of {} bytes, and is served in blocks of {}{}: {} on a block "
      "device; {}",
      shown(path), made->what, made->block_bytes, block, reason(file, block),
      made->exactly ? "its partitions would be at other offsets" : "it could not be mounted",
      advice(*made, file, block));
}

}  // namespace sluice
