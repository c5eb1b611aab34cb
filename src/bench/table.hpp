// Formats the findings of a contest: as text in the layout of Begunkov's mail, with the claims that
// hold and the counts; and as JSON with all values.
//
// Pure functions, safe on any thread.
#pragma once

#include <string>
#include <vector>

#include "bench/contest.hpp"
#include "spec/json_value.hpp"

namespace sluice::bench {

// A claim about the table, or an aim.
struct Claim {
  std::string claim;
  bool holds = false;
  std::string found;
};

// The claims of the mail (i to iv) for which all columns and depths were measured.
std::vector<Claim> claims(const Findings& found);
// The rate of an auto-registered loan relative to a bare WRITE_FIXED, at each depth.
std::vector<Claim> aims(const Findings& found);

std::string table_text(const Findings& found);
JsonValue table_json(const Findings& found);

}  // namespace sluice::bench
