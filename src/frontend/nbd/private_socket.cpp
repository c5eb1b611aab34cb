#include "frontend/nbd/private_socket.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "spec/shown.hpp"

namespace sluice::nbd {
namespace {

constexpr std::string_view kPrefix = "sluice-nbd.";
constexpr std::string_view kPattern = "XXXXXX";
constexpr std::string_view kSocketName = "sock";

}  // namespace

Result<std::string> make_private_place() {
  const char* const wanted = std::getenv("TMPDIR");
  const bool is_usable = wanted != nullptr && wanted[0] == '/';  // a server has left its directory
  std::string directory = fmt::format("{}/{}{}", is_usable ? wanted : "/tmp", kPrefix, kPattern);
  if (mkdtemp(directory.data()) != nullptr) return fmt::format("{}/{}", directory, kSocketName);
  return fail(errno, fmt::format("cannot make the directory {} for a socket: {}", shown(directory),
                                 std::strerror(errno)));
}

std::string private_directory_of(const std::string& file) {
  const std::filesystem::path path(file);
  const std::string name = path.parent_path().filename();
  const bool is_ours = path.filename() == kSocketName && name.starts_with(kPrefix) &&
                       name.size() == kPrefix.size() + kPattern.size();
  return is_ours ? path.parent_path().native() : std::string();
}

}  // namespace sluice::nbd
