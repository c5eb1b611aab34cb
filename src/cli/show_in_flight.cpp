#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>
#include <string>
#include <vector>

#include "cli/show_stats.hpp"

namespace sluice::cli {
namespace {

std::string range_text(const JsonValue& request) {
  return fmt::format("{} {} bytes at {}", request.at("op").get<std::string>(),
                     request.at("length").get<uint64_t>(), request.at("offset").get<uint64_t>());
}

// The paths of a request to all targets that it has reached, each with the prefix `begin`.
void add_ways(const JsonValue& request, std::string begin, bool is_child,
              std::vector<std::string>& ways) {
  const auto names = request.at("way").get<std::vector<std::string>>();
  if (!names.empty())
    begin += fmt::format("{}{}", begin.empty() ? "" : " > ", fmt::join(names, " > "));
  if (is_child) begin += fmt::format(" {}", range_text(request));
  if (request.at("children").items.empty()) ways.push_back(begin.empty() ? "front end" : begin);
  for (const JsonValue& child : request.at("children").items) add_ways(child, begin, true, ways);
}

std::string jobs_text(const JsonValue& inspected) {
  std::string text;
  const JsonValue* const jobs = inspected.find("jobs");  // an older server has none
  for (const JsonValue& job : jobs == nullptr ? std::vector<JsonValue>() : jobs->items) {
    const int error = job.at("errno").get<int>();
    text += fmt::format("job {}: {} steps, {}\n", job.at("name").get<std::string>(),
                        job.at("steps").get<uint64_t>(),
                        job.at("running").get<bool>()
                            ? fmt::format("running, at most {:.0f}% of the time",
                                          100 * job.at("share").get<double>())
                        : error == 0 ? "finished"
                                     : fmt::format("failed: {}", std::strerror(error)));
  }
  return text;
}

}  // namespace

std::string in_flight_text(const JsonValue& inspected) {
  std::string text = jobs_text(inspected);
  for (const JsonValue& request : inspected.at("requests").items) {
    text += fmt::format("queue {} tag {} {}, {}:", request.at("queue").get<uint64_t>(),
                        request.at("tag").get<uint64_t>(), range_text(request),
                        shown_time(request.at("age_ns").get<uint64_t>()));
    std::vector<std::string> ways;
    add_ways(request, "", false, ways);
    if (ways.size() == 1) {
      text += fmt::format(" {}\n", ways.front());
    } else {
      text += fmt::format("\n\t{}\n", fmt::join(ways, "\n\t"));
    }
  }
  return text;
}

}  // namespace sluice::cli
