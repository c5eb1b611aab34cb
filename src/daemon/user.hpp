// User: a user without root's rights, whom a server becomes (--privilege-drop).
//
// Control path.
#pragma once

#include <sys/types.h>

#include <string>

#include "core/error.hpp"

namespace sluice {

struct User {
  uid_t id = 0;
  gid_t group = 0;
};

// The user of this name or number, with the primary group. EINVAL: there is none, it is root or has
// root's group, or this process cannot become another user. The text begins with what was asked.
Result<User> find_user(const std::string& name);

}  // namespace sluice
