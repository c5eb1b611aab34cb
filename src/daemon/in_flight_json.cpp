#include "daemon/in_flight_json.hpp"

#include <algorithm>

#include "core/cycle_clock.hpp"

namespace sluice {
namespace {

// Appends the names from `from` to `to`, inclusive. False: `to` is not below `from`.
bool find_way(const Target& from, const Target* to, std::vector<std::string>& names) {
  names.push_back(from.name());
  if (&from == to) return true;
  for (const auto& child : from.children()) {
    if (find_way(*child, to, names)) return true;
  }
  names.pop_back();
  return false;
}

JsonValue request_json(const InFlight& request, const Target& from, bool with_first) {
  std::vector<std::string> way;
  const bool below = request.at != nullptr && find_way(from, request.at, way);
  if (below && !with_first) way.erase(way.begin());
  JsonValue children = JsonValue::array();
  for (const InFlight& child : request.children) {
    children.push_back(request_json(child, below ? *request.at : from, with_first && !below));
  }
  return {{"op", to_string(request.op)},
          {"offset", request.offset},
          {"length", request.length},
          {"way", way},
          {"children", std::move(children)}};
}

}  // namespace

JsonValue in_flight_json(std::vector<InFlight> requests, const Target& root) {
  std::ranges::sort(requests, std::ranges::greater(), &InFlight::age_cycles);
  JsonValue list = JsonValue::array();
  for (const InFlight& request : requests) {
    JsonValue each = request_json(request, root, true);
    each.set("queue", request.queue);
    each.set("tag", request.tag);
    each.set("age_ns", CycleScale::process().nanoseconds(request.age_cycles));
    list.push_back(std::move(each));
  }
  return list;
}

}  // namespace sluice
