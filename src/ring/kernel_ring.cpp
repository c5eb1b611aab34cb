#include "ring/kernel_ring.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "core/cycle_clock.hpp"
#include "core/log.hpp"
#include "ring/abi.hpp"
#include "ring/probe.hpp"

namespace sluice {
namespace {

// Orders the end of one ring before the start of the next, which may be mapped at the same
// addresses. ThreadSanitizer does not see liburing unmap them, and would report races.
std::atomic<uint32_t> open_rings = 0;

// No argument of a caller leads here: a bad file, buffer or length fails its operation. The ring
// itself is lost, with I/O in flight: it is unknown which pages the kernel still uses, so no
// operation can be reported as done. Another thread may write the log, and gets a moment for it; if
// the log is off, the reason is on the standard error.
[[noreturn]] void give_up(const char* why) {
  log().critical("io_uring_enter: {}", why);
  if (!log().should_log(spdlog::level::critical)) fmt::print(stderr, "io_uring_enter: {}\n", why);
  log().flush();
  std::abort();
}

uint64_t in_cycles(std::chrono::nanoseconds time) {
  return static_cast<uint64_t>(static_cast<double>(time.count()) /
                               CycleScale::process().nanoseconds_per_cycle());
}

// Lets the other thread of this core go first, for some tens of cycles.
void pause_processor() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

constexpr int kPausesOfALook = 8;

}  // namespace

Result<std::unique_ptr<KernelRing>> KernelRing::create(const Options& options) {
  std::unique_ptr<KernelRing> ring(new KernelRing);
  if (auto opened = ring->open(options); !opened) return std::unexpected(opened.error());
  return ring;
}

Result<void> KernelRing::open(const Options& options) {
  if (options.slots > kMaxSlots) {
    return fail(EINVAL, fmt::format("a buffer table has at most {} slots, not {}", kMaxSlots,
                                    options.slots));
  }
  wake_fd_ = eventfd(0, EFD_CLOEXEC);
  zero_fd_ = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  if (wake_fd_ < 0 || zero_fd_ < 0) {
    return fail(errno, fmt::format("cannot open /dev/zero and an eventfd for an I/O ring: {}",
                                   std::strerror(errno)));
  }
  if (auto opened = open_io_uring(options); !opened) return opened;
  if (auto tables = register_tables(options); !tables) return tables;
  warm_up(ring_, options.warm_up);
  for (size_t i = 0; i < options.files.size(); ++i) files_.set(i, options.files[i]);
  // With one processor the client cannot run meanwhile.
  if (std::thread::hardware_concurrency() > 1) {
    idle_poll_.set_max(in_cycles(options.idle_poll));
  }
  set_limits(ring_.cq.ring_entries, options.slots);
  set_abilities(probe(static_cast<int>(options.files.size())));
  count_standing();
  submit(doorbell_);
  return {};
}

// The cheapest way of running completions that this kernel supports.
Result<void> KernelRing::open_io_uring(const Options& options) {
  constexpr uint32_t kFlags[] = {
      // Linux 6.1; the flag tells enter() that completions are pending inside the kernel.
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
          IORING_SETUP_SUBMIT_ALL,
      IORING_SETUP_COOP_TASKRUN,  // Linux 5.19
      0,
  };
  int result = 0;
  for (const uint32_t flags : kFlags) {
    io_uring_params parameters{};
    parameters.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    if (options.wide_sqes) parameters.flags |= IORING_SETUP_SQE128;
    parameters.cq_entries = options.cq_entries != 0 ? options.cq_entries : options.entries * 4;
    result = io_uring_queue_init_params(options.entries, &ring_, &parameters);
    open_ = result == 0;
    if (result != -EINVAL) break;
  }
  if (open_) {
    ++open_rings;
    io_uring_ring_dontfork(&ring_);     // a child that outlives this process must not keep the ring
    io_uring_register_ring_fd(&ring_);  // saves a table lookup per enter; old kernels refuse
    return {};
  }
  const char* advice = result == -EPERM ? "; see /proc/sys/kernel/io_uring_disabled" : "";
  return fail(-result, fmt::format("cannot set up an I/O ring with {} entries: {}{}",
                                   options.entries, std::strerror(-result), advice));
}

Result<void> KernelRing::register_tables(const Options& options) {
  std::vector<int> files(options.files.begin(), options.files.end());
  files.push_back(zero_fd_);
  int result = io_uring_register_files(&ring_, files.data(), static_cast<unsigned>(files.size()));
  if (result == 0 && options.slots != 0) {
    result = io_uring_register_buffers_sparse(&ring_, options.slots);
  }
  if (result == 0) return {};
  return fail(-result,
              fmt::format("cannot register {} files and {} buffer slots with an I/O ring: {}",
                          files.size(), options.slots, std::strerror(-result)));
}

Result<void> KernelRing::set_file(size_t slot, int descriptor) {
  const int result =
      io_uring_register_files_update(&ring_, static_cast<unsigned>(slot), &descriptor, 1);
  if (result < 0) {
    return fail(-result,
                fmt::format("cannot register a file with an I/O ring: {}", std::strerror(-result)));
  }
  files_.set(slot, descriptor);
  return {};
}

void KernelRing::put_file(File slot, int descriptor) {
  const auto set = set_file(static_cast<size_t>(slot.number), descriptor);
  if (!set) log().debug("{}", set.error().text);
}

Result<void> KernelRing::register_memory(int slot, std::span<std::byte> memory) {
  const iovec buffer{memory.data(), memory.size()};
  const __u64 no_tag = 0;
  const int result = slot < 0 ? -EINVAL
                              : io_uring_register_buffers_update_tag(
                                    &ring_, static_cast<unsigned>(slot), &buffer, &no_tag, 1);
  if (result >= 0) return {};
  const char* const advice = result == -ENOMEM ? "; see ulimit -l" : "";
  return fail(-result, fmt::format("cannot register {} bytes in slot {} of an I/O ring: {}{}",
                                   memory.size(), slot, std::strerror(-result), advice));
}

Ring::Abilities KernelRing::probe(int zero_slot) {
  Abilities abilities;
  abilities.zero = {.number = zero_slot, .registered = true};
  io_uring_probe* const found = io_uring_get_probe_ring(&ring_);
  if (found == nullptr) return abilities;
  const auto has = [found](int op) {
    return op <= found->last_op && (found->ops[op].flags & IO_URING_OP_SUPPORTED) != 0;
  };
  abilities.vectored_fixed = has(abi::kOpReadvFixed) && has(abi::kOpWritevFixed);
  io_uring_free_probe(found);
  abilities.socket_fixed = kernel_has_socket_fixed();
  abilities.block_discard = kernel_has_block_discard();
  // Without SUBMIT_ALL a leader that is refused at submission would start its linked command.
  abilities.links =
      (ring_.flags & IORING_SETUP_SUBMIT_ALL) != 0 && (ring_.features & IORING_FEAT_CQE_SKIP) != 0;
  return abilities;
}

KernelRing::~KernelRing() {
  // The kernel frees a ring in the background. Unregister the files now: otherwise a block device
  // would stay claimed for a moment and could not be opened again.
  if (open_) {
    --open_rings;
    io_uring_unregister_files(&ring_);
    io_uring_queue_exit(&ring_);
  }
  if (wake_fd_ >= 0) close(wake_fd_);
  if (zero_fd_ >= 0) close(zero_fd_);
}

io_uring_sqe* KernelRing::next_sqe() {
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) return nullptr;
  std::memset(sqe, 0, sizeof(*sqe));
  ++unsubmitted_;
  return sqe;
}

uint32_t KernelRing::free_sqes() const { return io_uring_sq_space_left(&ring_); }

void KernelRing::enter(bool wait) {
  if (unsubmitted_ == 0 && (!wait || io_uring_cq_ready(&ring_) != 0)) {
    // Completions of a DEFER_TASKRUN ring are pending inside the kernel: enter it if the flag says
    // so.
    if (!wait && (ring_.flags & IORING_SETUP_DEFER_TASKRUN) != 0 &&
        (*ring_.sq.kflags & IORING_SQ_TASKRUN) != 0) {
      io_uring_get_events(&ring_);
      ++counters_.enters;
    }
    return;
  }
  int result = 0;
  if (wait) {
    result = submit_and_wait();
  } else {
    result = io_uring_submit_and_get_events(&ring_);
    ++counters_.enters;
  }
  if (result >= 0) {
    unsubmitted_ -= std::min(unsubmitted_, static_cast<uint32_t>(result));
    if (unsubmitted_ == 0 || !link_was_cut()) return;
    give_up("no memory in the midst of a link");
  }
  // EINTR: a signal; EAGAIN, EBUSY: no memory or too many completions now. All are resolved by
  // collecting completions and retrying.
  if (result != -EINTR && result != -EAGAIN && result != -EBUSY) {
    give_up(std::strerror(-result));
  }
}

int KernelRing::submit_and_wait() {
  const uint64_t begin = idle_poll_.is_on() ? cycles() : 0;
  int result = 0;
  bool found = false;
  if (idle_poll_.budget() != 0) {
    if (unsubmitted_ != 0) {
      result = io_uring_submit(&ring_);
      ++counters_.enters;
      if (result < static_cast<int>(unsubmitted_)) return result;
    }
    found = poll_until(begin + idle_poll_.budget());
  }
  if (!found) {
    const int waited = io_uring_submit_and_wait(&ring_, 1);
    ++counters_.enters;
    if (result == 0) result = waited;
  }
  if (begin != 0) idle_poll_.note(cycles() - begin);
  return result;
}

// Looks for completions until then at the latest; true if there are some. If they are pending
// inside the kernel, as a flag of DEFER_TASKRUN rings says, it returns false: entering brings them.
bool KernelRing::poll_until(uint64_t end) const {
  const bool is_deferred = (ring_.flags & IORING_SETUP_DEFER_TASKRUN) != 0;
  while (io_uring_cq_ready(&ring_) == 0) {
    if (is_deferred && (IO_URING_READ_ONCE(*ring_.sq.kflags) & IORING_SQ_TASKRUN) != 0)
      return false;
    if (cycles() >= end) return false;
    for (int i = 0; i < kPausesOfALook; ++i) pause_processor();
  }
  return true;
}

// True if the kernel consumed a leader but not its linked command. The next submission would start
// the command alone, and complete a request that was not served. It happens only if the kernel has
// no memory for a single request.
bool KernelRing::link_was_cut() const {
  const unsigned next = *ring_.sq.khead;
  const unsigned slots_each = (ring_.flags & IORING_SETUP_SQE128) != 0 ? 2 : 1;
  const io_uring_sqe& last = ring_.sq.sqes[((next - 1) & (ring_.sq.ring_entries - 1)) * slots_each];
  return (last.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)) != 0;
}

uint32_t KernelRing::reap(std::span<Cqe> batch) {
  uint32_t count = 0;
  io_uring_cqe* cqe = nullptr;
  unsigned head = 0;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    if (count == batch.size()) break;
    batch[count++] = {cqe->user_data, cqe->res, cqe->flags};
  }
  io_uring_cq_advance(&ring_, count);
  return count;
}

void KernelRing::wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof(one));
}

void KernelRing::Doorbell::prepare(io_uring_sqe& sqe) {
  io_uring_prep_read(&sqe, ring_.wake_fd_, &rings_, sizeof(rings_), 0);
}

void KernelRing::Doorbell::complete(int32_t, uint32_t) { ring_.submit(*this); }

}  // namespace sluice
