#include "daemon/version_0.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

#include "core/file_id.hpp"
#include "core/step.hpp"
#include "daemon/device_name.hpp"
#include "daemon/server_end.hpp"
#include "frontend/registry.hpp"
#include "spec/shown.hpp"
#include "target/registry.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

// An open file of another process.
struct OpenFile {
  int number = -1;
  FileId id;
  int flags = 0;
  bool locked = false;
  bool taken = false;
};

bool is_same_file(const FileId& one, const FileId& other) {
  if (one.is_block_device() != other.is_block_device()) return false;
  if (one.is_block_device()) return one.number == other.number;
  return one.device == other.device && one.inode == other.inode;
}

// Copies of the files that a server has open for its stack.
class FilesOfServer {
 public:
  explicit FilesOfServer(const DeviceRecord& record) : record_(record) {}
  // In the order in which the server opened them.
  Result<std::vector<Descriptor>> copy();

 private:
  Result<void> list();
  Result<void> copy_for(const Spec& spec);
  Result<void> copy_file(const std::string& path, bool read_only);

  const DeviceRecord& record_;
  Descriptor process_;
  std::vector<OpenFile> open_;  // by number
  std::vector<Descriptor> copies_;
};

Result<std::vector<Descriptor>> FilesOfServer::copy() {
  process_ = Descriptor(static_cast<int>(syscall(SYS_pidfd_open, record_.pid, 0)));
  if (!process_.valid()) {
    return fail(errno,
                fmt::format("cannot access process {}: {}", record_.pid, std::strerror(errno)));
  }
  if (auto listed = list(); !listed) return std::unexpected(listed.error());
  if (auto copied = copy_for(record_.spec); !copied) return std::unexpected(copied.error());
  return std::move(copies_);
}

// Sends no request to any file system.
Result<void> FilesOfServer::list() {
  const std::string process = fmt::format("/proc/{}", record_.pid);
  std::error_code error;
  const fs::directory_iterator end;
  for (fs::directory_iterator at(process + "/fd", error); !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename();
    const auto id = identify(at->path().string());
    OpenFile file;
    std::from_chars(name.data(), name.data() + name.size(), file.number);
    if (!id) continue;  // closed meanwhile
    file.id = *id;
    std::ifstream info(fmt::format("{}/fdinfo/{}", process, name));
    for (std::string line; std::getline(info, line);) {
      if (line.starts_with("flags:")) file.flags = std::stoi(line.substr(6), nullptr, 8);
      if (line.starts_with("lock:")) file.locked = true;
    }
    open_.push_back(file);
  }
  if (error) {
    return fail(error.value(), fmt::format("cannot see the open files of process {}: {}",
                                           record_.pid, error.message()));
  }
  std::ranges::sort(open_, {}, &OpenFile::number);
  return {};
}

// Children first.
Result<void> FilesOfServer::copy_for(const Spec& spec) {
  for (const Spec& child : spec.children) {
    if (auto copied = copy_for(child); !copied) return copied;
  }
  if (spec.target == "mem") {
    return fail(EOPNOTSUPP,
                "the data of target mem is in the memory of its server, which is of "
                "the first release of sluice and does not pass it");
  }
  const bool read_only = record_.read_only || spec.flag("read_only");
  for (const OptionSyntax& option : find_target_type(spec.target)->syntax.options) {
    if (option.kind != OptionKind::path || !spec.has(option.name)) continue;
    if (auto copied = copy_file(spec.text(option.name), read_only); !copied) return copied;
  }
  return {};
}

// With `passthrough` the server has the file open a second time, without a lock.
Result<void> FilesOfServer::copy_file(const std::string& path, bool read_only) {
  const auto wanted = identify(path);
  if (!wanted) {
    return fail(errno, fmt::format("cannot find {}: {}", shown(path), std::strerror(errno)));
  }
  const int access = read_only ? O_RDONLY : O_RDWR;
  OpenFile* best = nullptr;
  for (OpenFile& file : open_) {
    const bool fits = !file.taken && (file.flags & (O_ACCMODE | O_PATH)) == access &&
                      is_same_file(file.id, *wanted);
    if (fits && (best == nullptr || (file.locked && !best->locked))) best = &file;
  }
  if (best == nullptr) {
    return fail(ESTALE,
                fmt::format("{} is not the file that is served: put that back", shown(path)));
  }
  best->taken = true;
  Descriptor copy(static_cast<int>(syscall(SYS_pidfd_getfd, process_.number(), best->number, 0)));
  if (!copy.valid()) {
    return fail(errno, fmt::format("the open files of process {} cannot be copied ({}): it needs "
                                   "Linux 5.6, and CAP_SYS_PTRACE or kernel.yama.ptrace_scope=0",
                                   record_.pid, std::strerror(errno)));
  }
  const auto got = identify(copy.number());
  if (!got || !is_same_file(*got, *wanted)) {
    return fail(EAGAIN, fmt::format("the server has just closed {}: try again", shown(path)));
  }
  copies_.push_back(std::move(copy));
  return {};
}

const FrontendType& type_of(const DeviceRecord& record) { return *find_frontend(record.frontend); }

}  // namespace

// It finds its successor by the number of its process, in its own pid namespace.
Result<DeviceOffer> offer_of_version_0(uint32_t id) {
  auto record = read_record(id);
  if (!record) return std::unexpected(record.error());
  if (life_of(mark_of(*record)) != Life::alive) {
    return fail(EOPNOTSUPP,
                fmt::format("the server of {} is of the first release of sluice, and process {} "
                            "cannot be seen from here: upgrade it from its own pid namespace",
                            described(*record), record->pid));
  }
  auto files = FilesOfServer(*record).copy();
  if (!files) return std::unexpected(files.error());
  step("files copied");
  const bool state_comes_later = type_of(*record).from_version_0 != nullptr;
  DeviceOffer offer{.record = std::move(*record), .frontend_state = {}, .files = std::move(*files)};
  if (!state_comes_later) offer.frontend_state.emplace();
  return offer;
}

Result<DeviceHandover> handover_of_version_0(const DeviceRecord& record, ControlReply reply,
                                             std::string& manager) {
  DeviceHandover handover{.frontend = {}, .files_unlocked = true};
  try {
    handover.frontend.state = reply.body.value("state", std::string());
    manager = reply.body.value("manager", std::string());
  } catch (const JsonMismatch&) {
    return fail(EPROTO, "it hands over in a way that this sluice does not understand");
  }
  handover.frontend.descriptors = std::move(reply.descriptors);
  const auto now = read_record(record.id);
  if (!now || to_json(*now) != to_json(record)) {
    return fail(EAGAIN, fmt::format("{} has changed meanwhile: try again", described(record)));
  }
  const auto translate = type_of(record).from_version_0;
  if (translate == nullptr) return handover;
  auto translated = translate(std::move(handover.frontend));
  if (!translated) return std::unexpected(translated.error());
  handover.frontend = std::move(*translated);
  return handover;
}

// It looks at the record every 10 ms.
void await_end_of_version_0(const DeviceRecord& record) {
  if (wait_for_server(record)) return;
  spdlog::warn("process {}, the old server of {}, has not ended", record.pid, described(record));
}

}  // namespace sluice
