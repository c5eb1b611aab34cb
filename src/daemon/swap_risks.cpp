#include "daemon/swap_risks.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "daemon/residence.hpp"

namespace sluice {
namespace {

// A loop device that uses the page cache of its file, according to the kernel.
bool is_buffered_loop_device(const std::string& path) {
  const std::string name = std::filesystem::path(path).filename();
  std::ifstream file(fmt::format("/sys/block/{}/loop/dio", name));
  int direct = 1;
  return file >> direct && direct == 0;
}

}  // namespace

std::vector<std::string> swap_risks(const std::string& path, const Stack& stack,
                                    std::span<const QueueReport> queues) {
  std::vector<std::string> risks = residence_risks();
  const auto add = [&risks](std::string risk) {
    if (!risk.empty()) risks.push_back(std::move(risk));
  };
  add(stack.swap_risk());
  QueueReport total;
  for (const QueueReport& queue : queues) total.add(queue);
  add(std::move(total.swap_risk));
  if (is_buffered_loop_device(path)) {
    add(fmt::format("{} uses the page cache of its file", path));
  }
  return risks;
}

}  // namespace sluice
