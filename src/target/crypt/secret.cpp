#include "target/crypt/secret.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/page.hpp"

namespace sluice::crypt {
namespace {

constexpr size_t kFileBytesMax = 4096;

}  // namespace

// Of all the process: the contexts of OpenSSL and the memory of libcryptsetup hold keys too.
Result<Secret> Secret::map(size_t size, int flags, int file) {
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  const size_t whole = (std::max<size_t>(size, 1) + kPageBytes - 1) / kPageBytes * kPageBytes;
  void* const place = mmap(nullptr, whole, PROT_READ | PROT_WRITE, flags, file, 0);
  if (place == MAP_FAILED) return fail(errno, "there is no memory for a key");
  // Best effort: a user may not be allowed to lock memory.
  [[maybe_unused]] const int locked = mlock(place, whole);
  madvise(place, whole, MADV_DONTDUMP);
  return Secret({static_cast<std::byte*>(place), whole}, size);
}

Result<Secret> Secret::create(size_t size) { return map(size, MAP_PRIVATE | MAP_ANONYMOUS, -1); }

Result<Secret> Secret::copy_of(std::span<const std::byte> bytes) {
  auto copy = create(bytes.size());
  if (copy) std::ranges::copy(bytes, copy->memory_.begin());
  return copy;
}

Result<Secret> Secret::in_file(std::span<const std::byte> bytes, Descriptor& file) {
  file = Descriptor(memfd_create("sluice-key", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.valid() || ftruncate(file.number(), static_cast<off_t>(bytes.size())) != 0) {
    return fail(errno, "there is no memory for a key");
  }
  auto secret = map(bytes.size(), MAP_SHARED, file.number());
  if (!secret) return secret;
  madvise(secret->memory_.data(), secret->memory_.size(), MADV_DONTFORK);
  std::ranges::copy(bytes, secret->memory_.begin());
  fcntl(file.number(), F_ADD_SEALS,
        F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
  return secret;
}

Result<Secret> Secret::from_file(int file) {
  struct stat status{};
  if (fstat(file, &status) != 0 || status.st_size <= 0 ||
      status.st_size > static_cast<off_t>(kFileBytesMax)) {
    return fail(EINVAL, "the server before has passed no key");
  }
  auto copy = create(static_cast<size_t>(status.st_size));
  if (!copy) return copy;
  const ssize_t got = pread(file, copy->memory_.data(), copy->size_, 0);
  if (got != status.st_size) return fail(EINVAL, "the key of the server before cannot be read");
  return copy;
}

Secret::~Secret() {
  if (memory_.empty()) return;
  explicit_bzero(memory_.data(), memory_.size());
  munmap(memory_.data(), memory_.size());
}

void Secret::shorten(size_t size) {
  if (size >= size_) return;
  explicit_bzero(memory_.data() + size, size_ - size);
  size_ = size;
}

}  // namespace sluice::crypt
