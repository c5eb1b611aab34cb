#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "cli/show_figures.hpp"

namespace sluice::cli {
namespace {

using nlohmann::json;

std::string range_text(const json& request) {
  return fmt::format("{} {} bytes at {}", request.at("op").get<std::string>(),
                     request.at("length").get<uint64_t>(), request.at("offset").get<uint64_t>());
}

// The ways of a request to the ends that it has reached, `begin` in front of each.
void add_ways(const json& request, std::string begin, bool is_child,
              std::vector<std::string>& ways) {
  const auto names = request.at("way").get<std::vector<std::string>>();
  if (!names.empty())
    begin += fmt::format("{}{}", begin.empty() ? "" : " > ", fmt::join(names, " > "));
  if (is_child) begin += fmt::format(" {}", range_text(request));
  if (request.at("children").empty()) ways.push_back(begin.empty() ? "front end" : begin);
  for (const json& child : request.at("children")) add_ways(child, begin, true, ways);
}

}  // namespace

std::string in_flight_text(const json& inspected) {
  std::string text;
  for (const json& request : inspected.at("requests")) {
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
