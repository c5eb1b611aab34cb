#include "frontend/ublk/orders.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/descriptor.hpp"
#include "frontend/ublk/control.hpp"
#include "frontend/ublk/safe_stop.hpp"

namespace sluice::ublk {
namespace {

JsonValue to_json(const Order& order) {
  return {{"do", "ublk"}, {"order", order.order}, {"id", order.id}, {"value", order.value}};
}

Result<void> nothing(const Result<JsonValue>& done) {
  if (!done) return std::unexpected(done.error());
  return {};
}

// A stopped device fails later requests; with recovery these include the write-back of the page
// cache.
Result<void> write_back(uint32_t id) {
  const Descriptor device(open(block_device_path(id).c_str(), O_RDONLY | O_CLOEXEC));
  if (!device.valid() || fsync(device.number()) == 0) return {};
  return fail(errno, fmt::format("{}: the last writes may be lost: {}", block_device_path(id),
                                 std::strerror(errno)));
}

// The kernel freezes the queue for it, so the server must go on serving.
Result<void> ask_for_stable_pages(uint32_t id) {
  const std::string path = fmt::format("/sys/block/ublkb{}/queue/stable_writes", id);
  std::ofstream file(path);
  if (file << "1\n" << std::flush) return {};
  return fail(EIO, fmt::format("{} cannot be written", path));
}

}  // namespace

Result<void> give_order(Keeper& keeper, const Order& order) {
  return nothing(keeper.ask(to_json(order), {}, Control::kLongTimeout));
}

Result<void> give_order_patiently(Keeper& keeper, const Order& order,
                                  const std::function<uint64_t()>& progress) {
  return nothing(keeper.ask_patiently(to_json(order), progress));
}

Result<void> carry_out(const JsonValue& request) {
  const auto order = request.at("order").get<std::string>();
  const auto id = request.at("id").get<uint32_t>();
  const auto value = request.at("value").get<uint64_t>();
  // A new one for each order: after a timeout it must not be used again.
  auto control = Control::open();
  if (!control) return std::unexpected(control.error());
  [[maybe_unused]] const auto seen = (*control)->info(id);  // detects an unprivileged device
  if (order == "start") return (*control)->start(id, static_cast<int>(value));
  if (order == "end_recovery") return (*control)->end_recovery(id, static_cast<int>(value));
  if (order == "start_recovery") return (*control)->start_recovery(id);
  if (order == "quiesce") return (*control)->quiesce(id);
  if (order == "remove") return (*control)->remove(id, false);
  if (order == "stable_pages") return ask_for_stable_pages(id);
  if (order == "update_size") return (*control)->update_size(id, value);
  if (order == "stop_unless_busy") return stop_unless_busy(**control, id);
  if (order != "stop") return fail(ENOSYS, fmt::format("unknown request '{}' to a keeper", order));
  const auto written = value != 0 ? write_back(id) : Result<void>();
  const auto stopped = (*control)->stop(id);
  return stopped ? written : stopped;
}

uint64_t size_of_device(uint32_t id) {
  std::ifstream file(fmt::format("/sys/block/ublkb{}/size", id));
  uint64_t sectors = 0;
  file >> sectors;
  return sectors << 9;
}

}  // namespace sluice::ublk
