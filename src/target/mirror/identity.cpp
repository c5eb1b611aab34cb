#include "target/mirror/identity.hpp"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <random>

namespace sluice::mirror {
namespace {

// The kernel interrupts only larger requests; a kernel without this call has the device.
void fill_randomly(std::span<std::byte> bytes) {
  if (getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size())) return;
  std::random_device device;
  std::ranges::generate(bytes, [&] { return static_cast<std::byte>(device()); });
}

}  // namespace

Uuid Uuid::random() {
  Uuid uuid;
  fill_randomly(uuid.bytes);
  uuid.bytes[6] = (uuid.bytes[6] & std::byte{0x0f}) | std::byte{0x40};
  uuid.bytes[8] = (uuid.bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  return uuid;
}

std::string Uuid::text() const {
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", std::to_integer<unsigned>(bytes[i]));
  }
  return text;
}

Generation Generation::begin_now() {
  Generation generation{.seconds = static_cast<uint64_t>(std::time(nullptr))};
  while (generation.id == 0) {
    fill_randomly(std::as_writable_bytes(std::span(&generation.id, 1)));
  }
  return generation;
}

std::string Generation::text() const {
  const auto time = static_cast<time_t>(seconds);
  tm parts{};
  char shown[32] = "";
  gmtime_r(&time, &parts);
  std::strftime(shown, sizeof(shown), "%Y-%m-%d %H:%M:%S", &parts);
  return fmt::format("{:016x} ({} UTC)", id, shown);
}

std::optional<size_t> History::position(uint64_t id) const {
  const auto found = std::ranges::find(generations_, id, &Generation::id);
  if (found == generations_.end()) return std::nullopt;
  return static_cast<size_t>(found - generations_.begin());
}

void History::begin(Generation next) {
  if (generations_.size() == kMost) generations_.pop_back();
  generations_.insert(generations_.begin(), next);
}

}  // namespace sluice::mirror
