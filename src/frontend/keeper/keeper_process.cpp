// The requests to a keeper: JSON objects, one per message, with "do" and its arguments; the
// descriptors of each are listed after its name.
//
//   meet                   a LifeLine; before anything else
//   answer                 none: tests that the keeper responds
//   place                  a mount, and the file to mount it on
//   watch                  a mount namespace to enter, and the abort file of a connection:
//     "armed"              aborts the connection when the server dies
//   arm, disarm
//   attach                 a file: attaches a loop device to it, and keeps the device open
//     "block_bytes", ...
//   adopt                  none: opens a loop device that is already attached
//     "path", "sequence"
//   sync, resize, detach   none: for this loop device
//   check_unused           none: EBUSY if it is in use; otherwise the processes not inspected
//   ublk                   see ublk/orders.hpp
//   unmount                see fuse/mounts.hpp
//     "file_system", "by_helper", "lazily"
#include "frontend/keeper/keeper_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <optional>
#include <vector>

#include "core/mount_namespace.hpp"
#include "core/passing.hpp"
#include "core/step.hpp"
#include "core/thread.hpp"
#include "frontend/fuse/connection.hpp"
#include "frontend/fuse/mounts.hpp"
#include "frontend/keeper/life_line.hpp"
#include "frontend/loop/attachment.hpp"
#include "frontend/ublk/orders.hpp"
#include "spec/json_value.hpp"

namespace sluice {
namespace {

class KeeperProcess {
 public:
  // Runs until the server has ended.
  void run();

 private:
  using Descriptors = std::vector<Descriptor>;

  bool take_request();
  Result<JsonValue> carry_out(const JsonValue& request, Descriptors descriptors);
  Result<JsonValue> meet(Descriptors descriptors);
  Result<JsonValue> place(const Descriptors& descriptors) const;
  Result<JsonValue> watch(const JsonValue& request, Descriptors descriptors);
  void await_death();
  Result<JsonValue> attach(const JsonValue& request, const Descriptors& descriptors);
  Result<JsonValue> adopt(const JsonValue& request);

  std::optional<LifeLine> life_line_;
  bool watching_ = false;
  std::mutex mutex_;
  fuse::Connection connection_;  // under mutex_
  std::atomic<bool> armed_ = false;
  Descriptor death_{eventfd(0, EFD_CLOEXEC)};  // readable: the server's control thread has ended
  loop::Attachment loop_;
};

Result<JsonValue> nothing(const Result<void>& done) {
  if (!done) return std::unexpected(done.error());
  return JsonValue::object();
}

std::unexpected<Error> cannot(const char* what) {
  return fail(errno, fmt::format("cannot {}: {}", what, std::strerror(errno)));
}

void KeeperProcess::run() {
  while (true) {
    std::array<pollfd, 2> files = {
        pollfd{.fd = kKeeperSocket, .events = POLLIN, .revents = 0},
        pollfd{.fd = death_.number(), .events = POLLIN, .revents = 0},
    };
    if (poll(files.data(), files.size(), -1) < 0 && errno != EINTR) return;
    if (files[1].revents != 0) return;
    if (files[0].revents != 0 && !take_request()) return;
  }
}

// False: the server has closed the socket.
bool KeeperProcess::take_request() {
  std::vector<char> text(kKeeperMessageBytes);
  Descriptors descriptors;
  const ssize_t length = receive_passed(kKeeperSocket, text, descriptors);
  if (length < 0 && errno == EINTR) return true;
  if (length <= 0) return false;
  const std::string_view message(text.data(), static_cast<size_t>(length));
  const auto parsed = parse_json_tree(message, kMessageNestingMax);
  if (!parsed) return false;  // not a request of this program
  const JsonValue& request = *parsed;
  JsonValue reply;
  try {
    const auto word = request.at("do").get<std::string>();
    step("keeper: " + word);
    auto done = carry_out(request, std::move(descriptors));
    step("keeper: done " + word);
    if (done) {
      reply = std::move(*done);
    } else {
      reply = {{"errno", done.error().error}, {"error", done.error().text}};
    }
    reply.set("number", request.at("number"));
  } catch (const JsonMismatch&) {
    return false;
  }
  const std::string line = to_text(reply);
  return send_passing(kKeeperSocket, line, {}) >= 0;
}

Result<JsonValue> KeeperProcess::carry_out(const JsonValue& request, Descriptors descriptors) {
  const auto word = request.at("do").get<std::string>();
  if (word == "meet") return meet(std::move(descriptors));
  if (word == "answer") return JsonValue::object();
  if (word == "place") return place(descriptors);
  if (word == "watch") return watch(request, std::move(descriptors));
  if (word == "arm" || word == "disarm") {
    armed_ = word == "arm";
    return JsonValue::object();
  }
  if (word == "attach") return attach(request, descriptors);
  if (word == "adopt") return adopt(request);
  if (word == "sync") return nothing(loop_.sync());
  if (word == "resize") return nothing(loop_.resize());
  if (word == "detach") {
    loop_ = loop::Attachment();
    return JsonValue::object();
  }
  if (word == "check_unused") {
    const auto unseen = loop_.check_unused();
    if (!unseen) return std::unexpected(unseen.error());
    return JsonValue{{"unseen", *unseen}};
  }
  if (word == "ublk") return nothing(ublk::carry_out(request));
  if (word == "unmount") {
    return nothing(fuse::unmount(request.at("file_system").get<std::string>(),
                                 request.at("by_helper").get<bool>(),
                                 request.at("lazily").get<bool>()));
  }
  return fail(ENOSYS, fmt::format("unknown request '{}' to a keeper", word));
}

Result<JsonValue> KeeperProcess::meet(Descriptors descriptors) {
  if (descriptors.size() != 1) return fail(EINVAL, "a keeper was met without a life line");
  auto line = LifeLine::adopt(std::move(descriptors[0]));
  if (!line) return std::unexpected(line.error());
  life_line_ = std::move(*line);
  return nothing(MountNamespace::keep_thread());  // so that unmounting never fails for lack of a
                                                  // thread
}

Result<JsonValue> KeeperProcess::place(const Descriptors& descriptors) const {
  if (descriptors.size() != 2) return fail(EINVAL, "a mount and where it belongs are two things");
  if (move_mount(descriptors[0].number(), "", descriptors[1].number(), "",
                 MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0) {
    return JsonValue::object();
  }
  return cannot("mount there");
}

Result<JsonValue> KeeperProcess::watch(const JsonValue& request, Descriptors descriptors) {
  if (descriptors.empty() || !life_line_) return fail(EINVAL, "a keeper has nothing to watch");
  // A thread that shares its current directory with others cannot change its namespace.
  const auto move = [&] {
    return unshare(CLONE_FS) == 0 && setns(descriptors[0].number(), CLONE_NEWNS) == 0;
  };
  if (!watching_ && !move() && errno != EPERM) {
    return cannot("go to the mount namespace of the server");
  }
  if (auto followed = MountNamespace::keep_thread(); !followed) return nothing(followed);
  if (descriptors.size() > 1) {
    const std::scoped_lock guard(mutex_);
    connection_ = fuse::Connection(std::move(descriptors[1]));
  }
  armed_ = request.value("armed", false);
  if (std::exchange(watching_, true)) return JsonValue::object();
  auto thread = start_thread("sluice-watch", [this] { await_death(); });
  if (!thread) return std::unexpected(thread.error());
  thread->detach();
  return JsonValue::object();
}

// Must not block: the other thread may hang until this is done.
void KeeperProcess::await_death() {
  life_line_->wait_for_the_end();
  if (armed_) {
    const std::scoped_lock guard(mutex_);
    connection_.abort();
  }
  eventfd_write(death_.number(), 1);
}

Result<JsonValue> KeeperProcess::attach(const JsonValue& request, const Descriptors& descriptors) {
  if (descriptors.size() != 1) return fail(EINVAL, "there is no file to attach");
  loop::AttachOptions options;
  options.block_bytes = request.at("block_bytes").get<uint32_t>();
  options.read_only = request.at("read_only").get<bool>();
  options.direct_io = request.at("direct_io").get<bool>();
  options.number = request.value("loop", -1);
  const std::string path = fmt::format("/proc/self/fd/{}", descriptors[0].number());
  const Descriptor file(open(path.c_str(), (options.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
  if (!file.valid()) return cannot("open the file that FUSE serves");
  auto attached = loop::Attachment::make(file.number(), options);
  if (!attached) return std::unexpected(attached.error());
  loop_ = std::move(*attached);
  return JsonValue{{"path", loop_.path()}, {"sequence", loop_.sequence()}};
}

Result<JsonValue> KeeperProcess::adopt(const JsonValue& request) {
  auto adopted = loop::Attachment::adopt(request.at("path").get<std::string>(),
                                         request.at("sequence").get<uint64_t>());
  if (!adopted) return std::unexpected(adopted.error());
  loop_ = std::move(*adopted);
  return JsonValue::object();
}

}  // namespace

bool is_for_keeper(std::span<const std::string> arguments) {
  return !arguments.empty() && arguments.front() == kKeeperWord;
}

int run_keeper() {
  for (const int each : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) signal(each, SIG_IGN);
  close_range(kKeeperSocket + 1, ~0U, 0);
  fcntl(kKeeperSocket, F_SETFD, FD_CLOEXEC);
  prctl(PR_SET_NAME, "sluice-keeper");
  [[maybe_unused]] const int moved = chdir("/");
  [[maybe_unused]] const int locked = mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
  static KeeperProcess keeper;  // for its thread
  keeper.run();
  return 0;
}

}  // namespace sluice
