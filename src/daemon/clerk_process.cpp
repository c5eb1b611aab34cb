// The requests to a clerk: JSON objects, one per line, with "do" and its arguments; each gets an
// answer.
//
//   meet                         before anything else, once
//     "id", "name"               of the device
//   log                          a line of the log in the state directory
//     "time_us", "level", "text"
//   event                        an event of this device, as a line of JSON
//   take_charge                  once: the record, as JSON; before the requests that follow
//   write                        the record, with changes; only some of them count
//   read                         the record of this device, perhaps of another server
//   remove                       the device
//   end_next                     tells the server that the record names to end, if it is another
#include "daemon/clerk_process.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <spdlog/details/log_msg.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>

#include "core/own_program.hpp"
#include "core/passing.hpp"
#include "daemon/device_event.hpp"
#include "daemon/event_file.hpp"
#include "daemon/frontends.hpp"
#include "daemon/log.hpp"
#include "spec/json_value.hpp"

namespace sluice {
namespace {

constexpr size_t kLineBytesMax = 16 << 20;  // a record in JSON in JSON
constexpr size_t kReasonBytesMax = 4096;

class ClerkProcess {
 public:
  // Runs until the server has ended.
  void run();

 private:
  bool answer(std::string_view line);
  Result<JsonValue> carry_out(const JsonValue& request);
  Result<void> meet(const JsonValue& request);
  Result<void> take_charge(const JsonValue& request);
  Result<void> write(const JsonValue& request);
  Result<void> remove() const;
  Result<void> end_next_server() const;
  Result<void> add_event(const JsonValue& request) const;
  Result<void> log(const JsonValue& request);

  std::optional<uint32_t> id_;
  std::string name_;
  std::optional<DeviceRecord> record_;  // once in charge
  spdlog::sink_ptr log_;
};

Result<JsonValue> without_answer(const Result<void>& done) {
  if (!done) return std::unexpected(done.error());
  return JsonValue::object();
}

void ClerkProcess::run() {
  std::string received;
  std::array<char, 16384> bytes;
  while (true) {
    const ssize_t count = recv(kHelperSocket, bytes.data(), bytes.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    received.append(bytes.data(), static_cast<size_t>(count));
    for (size_t end = 0; (end = received.find('\n')) != std::string::npos;) {
      if (!answer(std::string_view(received).substr(0, end))) return;
      received.erase(0, end + 1);
    }
    if (received.size() > kLineBytesMax) return;
  }
}

// False: this is no request of the program, and nothing that comes from there can be trusted.
bool ClerkProcess::answer(std::string_view line) {
  const auto request = parse_json_tree(line, kMessageNestingMax);
  if (!request) return false;
  JsonValue reply;
  try {
    auto done = carry_out(*request);
    reply = done ? std::move(*done)
                 : JsonValue{{"errno", done.error().error}, {"error", done.error().text}};
  } catch (const JsonMismatch&) {
    return false;
  }
  std::string text = to_text(reply) + "\n";
  while (!text.empty()) {
    const ssize_t sent = send_passing(kHelperSocket, text, {});
    if (sent < 0 && errno != EINTR) return false;
    if (sent > 0) text.erase(0, static_cast<size_t>(sent));
  }
  return true;
}

Result<JsonValue> ClerkProcess::carry_out(const JsonValue& request) {
  const auto word = request.at("do").get<std::string>();
  if (word == "meet") return without_answer(meet(request));
  if (!id_) return fail(EINVAL, "a clerk was asked before it was met");
  if (word == "log") return without_answer(log(request));
  if (word == "event") return without_answer(add_event(request));
  if (word == "take_charge") return without_answer(take_charge(request));
  if (!record_) return fail(EINVAL, fmt::format("a clerk was asked to {} too early", word));
  if (word == "write") return without_answer(write(request));
  if (word == "remove") return without_answer(remove());
  if (word == "end_next") return without_answer(end_next_server());
  if (word == "read") {
    const auto record = read_record(*id_);
    if (!record) return std::unexpected(record.error());
    return JsonValue{{"record", to_json(*record)}};
  }
  return fail(ENOSYS, fmt::format("unknown request '{}' to a clerk", word));
}

Result<void> ClerkProcess::meet(const JsonValue& request) {
  if (id_) return fail(EINVAL, "a clerk was met twice");
  name_ = request.at("name").get<std::string>();
  id_ = request.at("id").get<uint32_t>();
  return {};
}

Result<void> ClerkProcess::take_charge(const JsonValue& request) {
  if (record_) return fail(EINVAL, "a clerk was put in charge twice");
  auto record = record_from_json(request.at("record").get<std::string>());
  if (!record) return std::unexpected(record.error());
  if (record->id != *id_) return fail(EINVAL, "a clerk was given the record of another device");
  record_ = std::move(*record);
  return {};
}

Result<void> ClerkProcess::write(const JsonValue& request) {
  const auto asked = record_from_json(request.at("record").get<std::string>());
  if (!asked) return std::unexpected(asked.error());
  DeviceRecord changed = with_changes(*record_, *asked);
  auto written = write_record(changed);
  if (written) record_ = std::move(changed);
  return written;
}

// The sockets first: the record tells where they are.
Result<void> ClerkProcess::remove() const {
  auto cleared = clear_remains(*record_);
  auto removed = remove_record(*record_);
  return cleared ? removed : cleared;
}

Result<void> ClerkProcess::end_next_server() const {
  const auto now = read_record(*id_);
  if (!now) return std::unexpected(now.error());
  if (is_same_server(*now, *record_) || life_of(mark_of(*now)) != Life::alive) return {};
  if (kill(now->pid, SIGTERM) != 0) return fail(errno, "the next server cannot be told to end");
  return {};
}

Result<void> ClerkProcess::add_event(const JsonValue& request) const {
  auto event = parse_event(request.at("event").get<std::string>());
  if (!event) return fail(EINVAL, "this is no event");
  event->id = *id_;
  event->name = name_;
  return append_event(*event);
}

Result<void> ClerkProcess::log(const JsonValue& request) {
  const auto text = bytes_of(request.at("text"));
  const auto level = request.at("level").get<int>();
  const std::chrono::microseconds time(request.at("time_us").get<int64_t>());
  if (!text || level < 0 || level >= spdlog::level::n_levels) return fail(EINVAL, "no log line");
  try {
    if (!log_) log_ = make_log_file_sink(log_path(*id_));
    log_->log({spdlog::log_clock::time_point(time),
               {},
               "sluice",
               static_cast<spdlog::level::level_enum>(level),
               *text});
    log_->flush();
  } catch (const std::exception& error) {
    return fail(EIO, error.what());
  }
  return {};
}

// Other commands bind the threads that a record names.
bool is_thread_of(int process, int thread) {
  return access(fmt::format("/proc/{}/task/{}", process, thread).c_str(), F_OK) == 0;
}

}  // namespace

DeviceRecord with_changes(const DeviceRecord& kept, const DeviceRecord& asked) {
  DeviceRecord record = kept;
  record.size_bytes = asked.size_bytes;
  record.spec = asked.spec;
  record.files = asked.files;
  record.swap_risks = asked.swap_risks;
  record.health = asked.health;
  record.health_reason = asked.health_reason.substr(0, kReasonBytesMax);
  const bool all_ours = std::ranges::all_of(
      asked.threads, [&](int thread) { return is_thread_of(kept.pid, thread); });
  if (all_ours) {
    record.threads = asked.threads;
    record.queues = asked.queues;
  }
  return record;
}

bool is_for_clerk(std::span<const std::string> arguments) {
  return !arguments.empty() && arguments.front() == kClerkWord;
}

int run_clerk() {
  for (const int each : {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGXFSZ}) signal(each, SIG_IGN);
  close_range(kHelperSocket + 1, ~0U, 0);
  prctl(PR_SET_NAME, "sluice-clerk");
  [[maybe_unused]] const int moved = chdir("/");
  ClerkProcess().run();
  return 0;
}

}  // namespace sluice
