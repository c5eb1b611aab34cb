#include "image/foreign_content.hpp"

#include <blkid/blkid.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "core/buffer.hpp"
#include "core/descriptor.hpp"
#include "core/zero.hpp"

namespace sluice::image {
namespace {

// All signatures that libblkid knows lie there.
constexpr uint64_t kLookedAt = 1 << 20;

struct FreeProbe {
  void operator()(blkid_probe probe) const { blkid_free_probe(probe); }
};
using Probe = std::unique_ptr<std::remove_pointer_t<blkid_probe>, FreeProbe>;

Error explain(std::string_view what) {
  return {errno, fmt::format("cannot {}: {}", what, std::strerror(errno))};
}

// A sparse file that has the looked-at parts of the disk.
Result<Descriptor> copy_edges(OpenDisk& disk) {
  const uint64_t size = disk.geometry().size_bytes;
  Descriptor copy(memfd_create("sluice-probe", MFD_CLOEXEC));
  if (!copy.valid() || ftruncate(copy.number(), static_cast<off_t>(size)) != 0) {
    return std::unexpected(explain("make a file in memory"));
  }
  const uint64_t length = std::min(kLookedAt, size);
  const Buffer memory(length);
  for (const uint64_t offset : {uint64_t{0}, (size - length) / 4096 * 4096}) {
    const auto part = memory.bytes().first(std::min(length, size - offset));
    const Status read = disk.read(offset, part);
    if (!read.ok()) return std::unexpected(disk.explain("read", offset, read));
    const ssize_t written =
        pwrite(copy.number(), part.data(), part.size(), static_cast<off_t>(offset));
    if (written != static_cast<ssize_t>(part.size())) {
      return std::unexpected(explain("write to memory"));
    }
  }
  return copy;
}

std::string value_of(blkid_probe probe, const char* name) {
  const char* value = nullptr;
  if (blkid_probe_lookup_value(probe, name, &value, nullptr) != 0 || value == nullptr) return {};
  return value;
}

// Formats of images, which libblkid does not know.
std::string image_format(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with("QFI\xfb")) return "a qcow2 image";
  if (text.starts_with("KDMV") || text.starts_with("# Disk Descriptor")) return "a vmdk image";
  if (text.starts_with("vhdxfile")) return "a vhdx image";
  return {};
}

std::string article(std::string_view word) {
  return std::string_view("aeiou").contains(word.front()) ? "an" : "a";
}

}  // namespace

Result<std::string> find_foreign_content(OpenDisk& disk) {
  const auto copy = copy_edges(disk);
  if (!copy) return std::unexpected(copy.error());
  std::byte first[32]{};
  if (pread(copy->number(), first, sizeof(first), 0) < 0) return std::unexpected(explain("read"));
  if (std::string image = image_format(first); !image.empty()) return image;
  const Probe probe(blkid_new_probe());
  if (!probe || blkid_probe_set_device(probe.get(), copy->number(), 0, 0) != 0) {
    return fail(ENOMEM, "cannot look for file systems: out of memory");
  }
  blkid_probe_enable_superblocks(probe.get(), 1);
  blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE);
  blkid_probe_enable_partitions(probe.get(), 1);
  // -2: more than one thing is there, of which the first is as good an answer as any.
  const int found = blkid_do_safeprobe(probe.get());
  if (found == -2) return std::string("several file systems or partition tables");
  if (found != 0) return std::string();
  const std::string type = value_of(probe.get(), "TYPE");
  const std::string table = value_of(probe.get(), "PTTYPE");
  if (type.empty() && table.empty()) return std::string();
  if (type.empty()) return fmt::format("{} {} partition table", article(table), table);
  if (value_of(probe.get(), "USAGE") == "filesystem") {
    return fmt::format("{} {} file system", article(type), type);
  }
  return fmt::format("a {} superblock", type);
}

Result<bool> is_zero(OpenDisk& disk, uint64_t offset, uint64_t length) {
  const Buffer memory(std::min(length, kLookedAt));
  while (length > 0) {
    const auto part = memory.bytes().first(std::min<uint64_t>(length, memory.bytes().size()));
    const Status read = disk.read(offset, part);
    if (!read.ok()) return std::unexpected(disk.explain("read", offset, read));
    if (!is_all_zero(part)) return false;
    offset += part.size();
    length -= part.size();
  }
  return true;
}

}  // namespace sluice::image
