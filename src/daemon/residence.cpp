#include "daemon/residence.hpp"

#include <elf.h>
#include <fmt/format.h>
#include <link.h>
#include <malloc.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <span>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

namespace sluice {
namespace {

constexpr size_t kSpareBytes = 1 << 20;  // of heap
constexpr size_t kSpareBlockBytes = 64 * 1024;
constexpr size_t kTouchBytes = 1024;  // at most a page

// Set once, before the process has threads.
std::vector<std::string> risks;

void add_risk(std::string risk) {
  spdlog::debug("{}", risk);
  risks.push_back(std::move(risk));
}

uintptr_t page_of(uintptr_t address) {
  static const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  return address / page * page;
}

bool populate(uintptr_t begin, uintptr_t end, int advice) {
  begin = page_of(begin);
  return begin >= end || madvise(reinterpret_cast<void*>(begin), end - begin, advice) == 0;
}

// Text and data of the program or of one library. Relocated pages are read-only now, and already
// present.
int populate_object(dl_phdr_info* object, size_t, void* failed) {
  const std::span<const ElfW(Phdr)> headers(object->dlpi_phdr, object->dlpi_phnum);
  uintptr_t relocated_end = 0;
  for (const ElfW(Phdr) & header : headers) {
    if (header.p_type != PT_GNU_RELRO) continue;
    relocated_end = page_of(object->dlpi_addr + header.p_vaddr + header.p_memsz);
  }
  for (const ElfW(Phdr) & header : headers) {
    if (header.p_type != PT_LOAD) continue;
    const uintptr_t begin = object->dlpi_addr + header.p_vaddr;
    const uintptr_t end = begin + header.p_memsz;
    bool done = populate(begin, end, MADV_POPULATE_READ);
    if ((header.p_flags & PF_W) != 0) {
      done = populate(std::clamp(relocated_end, begin, end), end, MADV_POPULATE_WRITE) && done;
    }
    if (!done) *static_cast<int*>(failed) = errno;
  }
  return 0;
}

// All threads use one heap, which never shrinks and has spare memory.
void make_room_in_heap() {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_TRIM_THRESHOLD, INT32_MAX);
  std::array<std::unique_ptr<std::byte[]>, kSpareBytes / kSpareBlockBytes> blocks;
  for (auto& block : blocks) {
    block = std::make_unique_for_overwrite<std::byte[]>(kSpareBlockBytes);
    volatile std::byte* const bytes = block.get();
    for (size_t i = 0; i < kSpareBlockBytes; i += kTouchBytes) bytes[i] = std::byte{};
  }
}

// True without CAP_IPC_LOCK, which cannot be queried with user namespaces. Under MCL_FUTURE a new
// mapping counts against the limit.
bool is_lock_limited() {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return false;
  const size_t more = page_of(limit.rlim_cur) + page_of(UINT16_MAX);
  void* const place =
      mmap(nullptr, more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place != MAP_FAILED) munmap(place, more);
  return place == MAP_FAILED;
}

// MCL_ONFAULT locks used pages only, not reserved address space. With a limit, later mappings must
// not be locked: a thread whose stack cannot be locked cannot be created.
void lock_memory() {
  constexpr int kNow = MCL_CURRENT | MCL_ONFAULT;
  if (mlockall(kNow | MCL_FUTURE) == 0) {
    if (!is_lock_limited()) return;
    munlockall();
  }
  const int cause = mlockall(kNow) == 0 ? EPERM : errno;
  add_risk(
      fmt::format("this server may not lock all of its memory ({}): it needs CAP_IPC_LOCK, or "
                  "ulimit -l unlimited",
                  std::strerror(cause)));
}

}  // namespace

void protect_process() {
  risks.clear();
  if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0) {
    add_risk(fmt::format(
        "this server cannot become an I/O flusher ({}): it needs CAP_SYS_RESOURCE and Linux 5.6",
        std::strerror(errno)));
  }
  lock_memory();
  int failed = 0;
  dl_iterate_phdr(populate_object, &failed);
  if (failed != 0) {
    add_risk(fmt::format(
        "the program and its libraries cannot be kept in memory ({}): it needs Linux 5.14",
        std::strerror(failed)));
  }
  make_room_in_heap();
  std::ofstream score("/proc/self/oom_score_adj");
  score << -1000 << std::flush;
  if (!score) {
    add_risk(
        "this server may be killed when memory runs out: it needs CAP_SYS_RESOURCE to change its "
        "oom_score_adj");
  }
}

const std::vector<std::string>& residence_risks() { return risks; }

}  // namespace sluice
