#include "frontend/nbd/cached_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "core/page.hpp"
#include "target/target.hpp"

namespace sluice::nbd {
namespace {

// The mapping goes on beyond the end of the file: it may grow by so much before it is mapped again,
// and no page there can be in the cache.
constexpr uint64_t kBeyondBytes = uint64_t{1} << 30;
// At a time: the kernel counts the pages of a call in an int.
constexpr uint64_t kUnlockBytes = uint64_t{1} << 42;

}  // namespace

std::unique_ptr<CachedFile> CachedFile::of(const Disk& disk, bool loses_rights) {
  const auto file = disk.target().bare_file();
  if (!file || !file->through_page_cache) return nullptr;
  std::unique_ptr<CachedFile> made(new CachedFile(*file, loses_rights));
  const std::string path = fmt::format("/proc/self/fd/{}", file->descriptor);
  made->reader_ = Descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const uint64_t bytes = file->begin_bytes + disk.geometry().data_bytes();
  const bool is_usable = made->reader_.valid() && made->map(bytes) && made->tells_the_truth();
  return is_usable ? std::move(made) : nullptr;
}

CachedFile::~CachedFile() { unmap(); }

// A locked mapping would keep all pages in memory that it can.
bool CachedFile::map(uint64_t bytes) {
  unmap();
  const uint64_t length = (bytes + kBeyondBytes) / kPageBytes * kPageBytes;
  void* const address =
      mmap(nullptr, length, PROT_NONE, MAP_SHARED | MAP_NORESERVE, reader_.number(), 0);
  if (address == MAP_FAILED) return false;
  for (uint64_t done = 0; done < length; done += kUnlockBytes) {
    munlock(static_cast<std::byte*>(address) + done, std::min(kUnlockBytes, length - done));
  }
  address_ = address;
  mapped_bytes_ = length;
  return true;
}

void CachedFile::unmap() {
  if (address_ != nullptr) munmap(address_, mapped_bytes_);
  address_ = nullptr;
  mapped_bytes_ = 0;
}

// To a process that may not write to the file, mincore() says that everything is in the cache.
bool CachedFile::tells_the_truth() const {
  unsigned char is_here = 1;
  std::byte* const last = static_cast<std::byte*>(address_) + mapped_bytes_ - kPageBytes;
  return mincore(last, kPageBytes, &is_here) == 0 && (is_here & 1) == 0;
}

bool CachedFile::has(uint64_t offset, uint32_t length) {
  const uint64_t begin = (file_.begin_bytes + offset) / kPageBytes * kPageBytes;
  const uint64_t end = file_.begin_bytes + offset + length;
  if (end > mapped_bytes_ && !map(end)) return false;
  if (loses_rights_ && !tells_the_truth()) return false;
  std::array<unsigned char, kRangeBytesMax / kPageBytes + 2> pages;
  const uint64_t count = (end - begin + kPageBytes - 1) / kPageBytes;
  if (count > pages.size()) return false;
  std::byte* const first = static_cast<std::byte*>(address_) + begin;
  if (mincore(first, end - begin, pages.data()) != 0) return false;
  return std::all_of(pages.begin(), pages.begin() + static_cast<ptrdiff_t>(count),
                     [](unsigned char page) { return (page & 1) != 0; });
}

bool CachedFile::add_to(int pipe, uint64_t offset, uint32_t length) const {
  auto position = static_cast<loff_t>(file_.begin_bytes + offset);
  while (length != 0) {
    const ssize_t added =
        splice(reader_.number(), &position, pipe, nullptr, length, SPLICE_F_NONBLOCK);
    if (added <= 0) return false;
    length -= static_cast<uint32_t>(added);
  }
  return true;
}

}  // namespace sluice::nbd
