// step(): a named point in the life of a server or a keeper, at which tests can kill it.
//
//   SLUICE_TEST_STEP=log:FILE     adds the name of each step to FILE
//   SLUICE_TEST_STEP=kill:NAME    SIGKILL at this step; with SLUICE_TEST_ONCE=FILE only in the
//                                 process that creates the file
//   SLUICE_TEST_STEP=hold:NAME    stops at this step until it is killed
//
// Control path only; any thread. Without the variable it costs one comparison.
#pragma once

#include <string_view>

namespace sluice {

void step(std::string_view name);

}  // namespace sluice
