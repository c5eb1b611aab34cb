// How the findings of a contest are shown: in the layout of Begunkov's mail, what of its shape
// holds, and the counts; and as JSON with everything.
//
// Pure functions, safe on any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/bench/contest.hpp"

namespace sluice::cli::bench {

// Something that was said of the table, or aimed at.
struct Claim {
  std::string claim;
  bool holds = false;
  std::string found;
};

// Of the mail (semantics i to iv): those for which all columns and depths are there.
std::vector<Claim> claims(const Findings& found);
// What an auto-registered loan reaches of a bare WRITE_FIXED, at each depth.
std::vector<Claim> aims(const Findings& found);

std::string table_text(const Findings& found);
nlohmann::ordered_json table_json(const Findings& found);

}  // namespace sluice::cli::bench
