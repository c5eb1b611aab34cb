#include "core/own_program.hpp"

#include <fmt/format.h>
#include <spawn.h>
#include <unistd.h>

#include <cstring>

#include "core/spawn_attributes.hpp"

namespace sluice {

Result<pid_t> start_own_program(const std::string& word, int socket) {
  posix_spawn_file_actions_t actions;
  const SpawnAttributes attributes(POSIX_SPAWN_SETSID);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, socket, kHelperSocket);
  const char* const arguments[] = {"sluice", word.c_str(), nullptr};
  pid_t process = -1;
  const int error = posix_spawn(&process, "/proc/self/exe", &actions, attributes.get(),
                                const_cast<char* const*>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error == 0) return process;
  return fail(error,
              fmt::format("cannot start the helper process of a device: {}", std::strerror(error)));
}

}  // namespace sluice
