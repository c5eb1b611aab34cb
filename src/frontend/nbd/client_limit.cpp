#include "frontend/nbd/client_limit.hpp"

#include <sys/resource.h>

#include <filesystem>
#include <iterator>
#include <system_error>

#include "frontend/nbd/pipe_stock.hpp"

namespace sluice::nbd {
namespace {

constexpr size_t kSpareDescriptors = 64;    // for what the server opens later
constexpr size_t kBacklogDescriptors = 32;  // of a listener: accepted, and not counted yet

size_t open_descriptors() {
  std::error_code error;
  const std::filesystem::directory_iterator all("/proc/self/fd", error);
  return error ? 0 : static_cast<size_t>(std::distance(begin(all), end(all)));
}

}  // namespace

void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

size_t clients_max(size_t listeners, size_t queues) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const size_t own = open_descriptors() + kSpareDescriptors + listeners * kBacklogDescriptors +
                     queues * PipeStock::kDescriptorsMax;
  return limit.rlim_cur > own ? limit.rlim_cur - own : 1;
}

}  // namespace sluice::nbd
