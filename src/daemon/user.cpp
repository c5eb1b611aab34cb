#include "daemon/user.hpp"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <vector>

#include "spec/shown.hpp"

namespace sluice {
namespace {

constexpr size_t kEntryBytes = 4096;
constexpr size_t kEntryBytesMax = 1 << 20;

std::unexpected<Error> refuse_user(const std::string& name, std::string_view why) {
  return fail(EINVAL, fmt::format("--privilege-drop {}: {}", shown(name), why));
}

std::optional<uid_t> user_number(const std::string& name) {
  uid_t number = 0;
  const char* const end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data(), end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return number;
}

}  // namespace

Result<User> find_user(const std::string& name) {
  if (geteuid() != 0) {
    return refuse_user(name,
                       fmt::format("this process is user {}, and only root can become another "
                                   "user: use sudo, or leave the option out",
                                   geteuid()));
  }
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> text(kEntryBytes);
  const auto number = user_number(name);
  int error = ERANGE;
  while (error == ERANGE && text.size() <= kEntryBytesMax) {
    text.resize(text.size() * 2);
    error = number ? getpwuid_r(*number, &entry, text.data(), text.size(), &found)
                   : getpwnam_r(name.c_str(), &entry, text.data(), text.size(), &found);
  }
  if (found == nullptr) {
    const bool unknown = error == 0 || error == ENOENT || error == ESRCH;
    return refuse_user(
        name, unknown ? "there is no such user: give one of /etc/passwd, such as nobody"
                      : fmt::format("users cannot be looked up ({})", std::strerror(error)));
  }
  if (entry.pw_uid == 0 || entry.pw_gid == 0) {
    return refuse_user(name,
                       fmt::format("this {}, whose rights are to be dropped: give another user, "
                                   "such as nobody",
                                   entry.pw_uid == 0 ? "is root" : "user has root's group"));
  }
  return User{.id = entry.pw_uid, .group = entry.pw_gid};
}

}  // namespace sluice
