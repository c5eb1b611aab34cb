#include "frontend/keeper/life_line.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace sluice {

struct LifeLine::Shared {
  pthread_mutex_t held;
};

LifeLine& LifeLine::operator=(LifeLine&& other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(shared_, other.shared_);
  std::swap(held_, other.held_);
  return *this;
}

LifeLine::~LifeLine() {
  if (shared_ == nullptr) return;
  if (held_) pthread_mutex_unlock(&shared_->held);
  munmap(shared_, sizeof(Shared));
}

Result<LifeLine> LifeLine::make() {
  LifeLine line;
  line.memory_ = Descriptor(memfd_create("sluice-life", MFD_CLOEXEC));
  if (!line.memory_.valid() || ftruncate(line.memory_.number(), sizeof(Shared)) != 0) {
    return fail(errno, fmt::format("cannot make memory to share: {}", std::strerror(errno)));
  }
  if (auto mapped = line.map(); !mapped) return std::unexpected(mapped.error());
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&line.shared_->held, &attributes);
  pthread_mutexattr_destroy(&attributes);
  pthread_mutex_lock(&line.shared_->held);
  line.held_ = true;
  return line;
}

Result<LifeLine> LifeLine::adopt(Descriptor memory) {
  LifeLine line;
  line.memory_ = std::move(memory);
  if (auto mapped = line.map(); !mapped) return std::unexpected(mapped.error());
  return line;
}

Result<void> LifeLine::map() {
  void* const place =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, memory_.number(), 0);
  if (place == MAP_FAILED) {
    return fail(errno, fmt::format("cannot map shared memory: {}", std::strerror(errno)));
  }
  shared_ = static_cast<Shared*>(place);
  return {};
}

// EOWNERDEAD, or 0 if it was released.
void LifeLine::wait_for_the_end() { pthread_mutex_lock(&shared_->held); }

}  // namespace sluice
