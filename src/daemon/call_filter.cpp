#include "daemon/call_filter.hpp"

#include <fmt/format.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <vector>

namespace sluice {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kMachine = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kMachine = AUDIT_ARCH_AARCH64;
#else
constexpr uint32_t kMachine = 0;
#endif

constexpr uint32_t kCallRefused = SECCOMP_RET_ERRNO | EPERM;
constexpr uint32_t kCallUnknown = SECCOMP_RET_ERRNO | ENOSYS;

// With any arguments.
constexpr int kCallsAllowed[] = {
    // data, and the rings that move it
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_preadv,
    SYS_pwritev,
    SYS_preadv2,
    SYS_pwritev2,
    SYS_lseek,
    SYS_splice,
    SYS_tee,
    SYS_vmsplice,
    SYS_sendfile,
    SYS_copy_file_range,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    // files that are open, and those that the user may open
    SYS_close,
    SYS_close_range,
    SYS_dup,
    SYS_dup3,
    SYS_fcntl,
    SYS_flock,
    SYS_fsync,
    SYS_fdatasync,
    SYS_sync_file_range,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_fadvise64,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_fstatfs,
    SYS_statfs,
    SYS_openat,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_readlinkat,
    SYS_getdents64,
    SYS_pipe2,
    SYS_eventfd2,
    SYS_memfd_create,
    // sockets
    SYS_socket,
    SYS_socketpair,
    SYS_connect,
    SYS_accept4,
    SYS_shutdown,
    SYS_sendto,
    SYS_recvfrom,
    SYS_sendmsg,
    SYS_recvmsg,
    SYS_getsockname,
    SYS_getpeername,
    SYS_setsockopt,
    SYS_getsockopt,
    SYS_epoll_create1,  // these and the older ones below: librados
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    // memory
    SYS_mmap,
    SYS_munmap,
    SYS_mremap,
    SYS_mprotect,
    SYS_madvise,
    SYS_mincore,
    SYS_mlock,
    SYS_munlock,
    SYS_brk,
    // threads, signals, time
    SYS_futex,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_exit,
    SYS_exit_group,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigtimedwait,
    SYS_sigaltstack,
    SYS_restart_syscall,
    SYS_ppoll,
    SYS_nanosleep,
    SYS_clock_nanosleep,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_gettimeofday,
    // questions
    SYS_getpid,
    SYS_gettid,
    SYS_getppid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getrusage,
    SYS_getrandom,
    SYS_getcpu,
    SYS_sysinfo,
    SYS_uname,
#if defined(__x86_64__)
    SYS_poll,
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_readlink,
    SYS_dup2,
    SYS_time,
    SYS_pipe,
    SYS_epoll_create,
    SYS_epoll_wait,
#endif
};

// An argument that must have one of these values.
struct ArgumentChoice {
  int call;
  uint32_t argument;
  std::initializer_list<uint32_t> values;
};

class FilterProgram {
 public:
  void load(size_t place) { add({BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<uint32_t>(place)}); }
  void end(uint32_t action) { add({BPF_RET | BPF_K, 0, 0, action}); }
  // Skips as many of the next instructions if the value is another one.
  void skip_unless(uint32_t value, uint8_t count) {
    add({BPF_JMP | BPF_JEQ | BPF_K, 0, count, value});
  }
  void allow_if(uint32_t value) {
    skip_unless(value, 1);
    end(SECCOMP_RET_ALLOW);
  }
  void allow_choice(const ArgumentChoice& choice) {
    const auto count = static_cast<uint8_t>(choice.values.size());
    skip_unless(static_cast<uint32_t>(choice.call), static_cast<uint8_t>(2 * count + 2));
    load_argument(choice.argument);
    for (const uint32_t value : choice.values) allow_if(value);
    end(kCallRefused);
  }
  // The lower half: of those who are asked for, no kernel looks at the upper one.
  void load_argument(uint32_t number) {
    load(offsetof(seccomp_data, args) + number * sizeof(uint64_t));
  }
  void add(const sock_filter& instruction) { instructions_.push_back(instruction); }
  sock_fprog get() {
    return {.len = static_cast<unsigned short>(instructions_.size()),
            .filter = instructions_.data()};
  }

 private:
  std::vector<sock_filter> instructions_;
};

FilterProgram make_filter() {
  const auto self = static_cast<uint32_t>(getpid());
  const ArgumentChoice choices[] = {
      // so that no other process of the user is ended or changed
      {.call = SYS_kill, .argument = 1, .values = {0}},
      {.call = SYS_tgkill, .argument = 0, .values = {self}},
      {.call = SYS_prlimit64, .argument = 0, .values = {0, self}},
      {.call = SYS_prctl, .argument = 0, .values = {PR_SET_NAME, PR_GET_NAME, PR_SET_DUMPABLE}},
      // no terminal, no device but disks
      {.call = SYS_ioctl,
       .argument = 1,
       .values = {FIONREAD, FIONBIO, TCGETS, BLKGETSIZE64, BLKROGET, BLKSSZGET, BLKPBSZGET,
                  BLKIOMIN, BLKIOOPT, BLKALIGNOFF, BLKROTATIONAL, BLKDISCARD, BLKZEROOUT}},
  };
  FilterProgram program;
  program.load(offsetof(seccomp_data, arch));
  program.add({BPF_JMP | BPF_JEQ | BPF_K, 1, 0, kMachine});
  program.end(SECCOMP_RET_KILL_PROCESS);  // there the numbers mean other calls
  program.load(offsetof(seccomp_data, nr));
  for (const int call : kCallsAllowed) program.allow_if(static_cast<uint32_t>(call));
  for (const ArgumentChoice& choice : choices) program.allow_choice(choice);
  // Its flags are in memory: the C library then uses clone, where they can be seen.
  program.skip_unless(SYS_clone3, 1);
  program.end(kCallUnknown);
  program.skip_unless(SYS_clone, 3);  // for threads only
  program.load_argument(0);
  program.add({BPF_JMP | BPF_JSET | BPF_K, 0, 1, CLONE_THREAD});
  program.end(SECCOMP_RET_ALLOW);
  program.end(kCallRefused);
  return program;
}

std::unexpected<Error> cannot_filter(int cause) {
  if (cause == EINVAL || cause == ENOSYS) cause = EOPNOTSUPP;
  return fail(cause,
              fmt::format("system calls cannot be filtered (seccomp): {}", std::strerror(cause)));
}

}  // namespace

Result<void> filter_system_calls() {
  if (kMachine == 0) return fail(EOPNOTSUPP, "system calls of this machine cannot be filtered");
  FilterProgram program = make_filter();
  const sock_fprog code = program.get();
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return cannot_filter(errno);
  const long set = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &code);
  if (set == 0) return {};
  return cannot_filter(set > 0 ? ESRCH : errno);  // greater: a thread that has another filter
}

}  // namespace sluice
