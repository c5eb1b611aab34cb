#include "bench/table.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::bench {
namespace {

constexpr double kFlat = 0.1;  // of the median: the variation allowed in a flat column
constexpr double kOfTheLimit = 0.9;
constexpr uint32_t kDeep = 8;  // the aim applies from this depth on

using Json = JsonValue;

std::string rates(const Findings& found);
std::string spreads(const Findings& found);
std::string counts(const Findings& found);
std::string verdicts(const std::vector<Claim>& claims);
double per_request(const Cell& cell, uint64_t Counts::* count);

// The medians of a column at all depths; empty if it was not measured.
std::vector<double> medians(const Findings& found, const ColumnType& column) {
  std::vector<double> each;
  for (const uint32_t depth : found.plan.depths) {
    const Cell* const cell = found.find(column, depth);
    if (cell != nullptr) each.push_back(cell->median());
  }
  return each;
}

// "1.02 at 1, 0.98 at 2": the quotient of a and b at each depth.
std::string ratios(const Findings& found, const std::vector<double>& a,
                   const std::vector<double>& b) {
  std::string text;
  for (size_t i = 0; i < a.size(); ++i) {
    text += fmt::format("{}{:.3f} at {}", i == 0 ? "" : ", ", a[i] / b[i], found.plan.depths[i]);
  }
  return text;
}

}  // namespace

std::vector<Claim> claims(const Findings& found) {
  const auto splice = medians(found, kSpliceTwice);
  const auto op_splice = medians(found, kOpSplice);
  const auto get_buf = medians(found, kGetBuf);
  const auto linked = medians(found, kGetBufLinked);
  const auto nop = medians(found, kGetBufNop);
  const bool complete =
      !splice.empty() && !op_splice.empty() && !get_buf.empty() && !linked.empty() && !nop.empty();
  if (!complete) return {};
  const auto& depths = found.plan.depths;
  Claim beats{.claim = "(i) GET_BUF is not below OP_SPLICE at any depth",
              .holds = true,
              .found = ratios(found, get_buf, op_splice)};
  Claim link{
      .claim = "(iii) the linked form is above plain GET_BUF at depths 1 and 2, below from 4",
      .holds = true,
      .found = ratios(found, linked, get_buf)};
  Claim costs{.claim =
                  "(iv) the NOPs for a release of its own cost something at every depth "
                  "(15 to 26 % there)",
              .holds = true,
              .found = ratios(found, nop, get_buf)};
  const auto [lowest, highest] = std::ranges::minmax(splice);
  Claim flat{
      .claim = "(ii) splice(2) is the same at every depth, and the best of the five at depth 1",
      .holds = highest - lowest <= kFlat * lowest,
      .found = fmt::format("{:.0f} to {:.0f}", lowest, highest)};
  for (size_t i = 0; i < depths.size(); ++i) {
    beats.holds &= get_buf[i] >= op_splice[i];
    link.holds &= (linked[i] > get_buf[i]) == (depths[i] <= 2);
    costs.holds &= nop[i] < get_buf[i];
    if (depths[i] != 1) continue;
    const double best = std::max({op_splice[i], get_buf[i], linked[i], nop[i]});
    flat.holds &= splice[i] >= best;
    flat.found += fmt::format("; {:.3f} of the best of the others at 1", splice[i] / best);
  }
  return {beats, flat, link, costs};
}

std::vector<Claim> aims(const Findings& found) {
  std::vector<Claim> all;
  for (const uint32_t depth : found.plan.depths) {
    const Cell* const loan = found.find(kAutoLoan, depth);
    const Cell* const bare = found.find(kBareWrite, depth);
    if (loan == nullptr || bare == nullptr || depth < kDeep) continue;
    const double ratio = loan->median() / bare->median();
    all.push_back({.claim = fmt::format("an auto-registered loan is within 10 % of a bare "
                                        "WRITE_FIXED at depth {}",
                                        depth),
                   .holds = ratio >= kOfTheLimit,
                   .found = fmt::format("{:.3f}", ratio)});
  }
  return all;
}

std::string table_text(const Findings& found) {
  return fmt::format(
      "Requests per second, each of {} bytes of {}: medians of {} runs of {} s, on processor "
      "{}\n\n{}\n"
      "From the lowest run to the highest, in percent of the median\n\n{}\n"
      "What the mail's table shows\n\n{}\n"
      "Aims\n\n{}\n"
      "For each request, at the least and the greatest depth\n\n{}"
      "{}",
      kIoBytes, found.plan.pages == Pages::ublk ? "a ublk request" : "memory", found.plan.runs,
      found.plan.milliseconds / 1000.0, found.plan.processor, rates(found), spreads(found),
      verdicts(claims(found)), verdicts(aims(found)), counts(found),
      found.plan.pages == Pages::ublk
          ? ""
          : "\nNot here: REGISTER_IO_BUF, which takes the request of a ublk device (--ublk).\n");
}

Json table_json(const Findings& found) {
  Json json{{"io_bytes", kIoBytes},
            {"pages", found.plan.pages == Pages::ublk ? "ublk" : "memory"},
            {"runs", found.plan.runs},
            {"seconds", found.plan.milliseconds / 1000.0},
            {"processor", found.plan.processor}};
  Json cells = Json::array();
  for (const ColumnType* const column : found.columns) {
    for (const uint32_t depth : found.plan.depths) {
      const Cell& cell = *found.find(*column, depth);
      cells.push_back({{"column", column->name},
                       {"title", column->title},
                       {"depth", depth},
                       {"rates", cell.rates},
                       {"median", cell.median()},
                       {"sqes", per_request(cell, &Counts::sqes)},
                       {"cqes", per_request(cell, &Counts::cqes)},
                       {"enters", per_request(cell, &Counts::enters)},
                       {"other_calls", per_request(cell, &Counts::other_calls)},
                       {"copied_bytes", per_request(cell, &Counts::copied_bytes)}});
    }
  }
  json.set("cells", std::move(cells));
  for (const auto& [name, list] : {std::pair{"claims", claims(found)}, {"aims", aims(found)}}) {
    Json verdicts = Json::array();
    for (const Claim& each : list) {
      verdicts.push_back({{"claim", each.claim}, {"holds", each.holds}, {"found", each.found}});
    }
    json.set(name, std::move(verdicts));
  }
  json.set("text", table_text(found));
  return json;
}

namespace {

// Writes "QD | splice2() | ...", and a line of `show(cell)` for each depth.
template <typename Show>
std::string grid(const Findings& found, Show show) {
  std::string text = "QD";
  for (const ColumnType* const column : found.columns) text += fmt::format(" | {}", column->title);
  for (const uint32_t depth : found.plan.depths) {
    text += fmt::format("\n{:>2}", depth);
    for (const ColumnType* const column : found.columns) {
      text += fmt::format(" | {:>{}}", show(*found.find(*column, depth)),
                          std::max<size_t>(column->title.size(), 7));
    }
  }
  return text + "\n";
}

std::string rates(const Findings& found) {
  return grid(found, [](const Cell& cell) { return fmt::format("{:.0f}", cell.median()); });
}

std::string spreads(const Findings& found) {
  return grid(found, [](const Cell& cell) { return fmt::format("{:.1f}", 100 * cell.spread()); });
}

std::string verdicts(const std::vector<Claim>& claims) {
  if (claims.empty()) return "not measured\n";
  std::string text;
  for (const Claim& each : claims) {
    text += fmt::format("{} {}: {}\n", each.holds ? "yes" : "NO ", each.claim, each.found);
  }
  return text;
}

std::string counts(const Findings& found) {
  const uint32_t least = std::ranges::min(found.plan.depths);
  const uint32_t most = std::ranges::max(found.plan.depths);
  std::string text = fmt::format("{:<15} | {:>6} | {:>6} | {:>15} | {:>11} | {:>12}\n", "", "SQEs",
                                 "CQEs", "io_uring_enter", "other calls", "copied bytes");
  for (const ColumnType* const column : found.columns) {
    const Cell& at = *found.find(*column, least);
    const Cell& deep = *found.find(*column, most);
    text +=
        fmt::format("{:<15} | {:>6.3g} | {:>6.3g} | {:>15} | {:>11.3g} | {:>12.6g}\n",
                    column->title, per_request(at, &Counts::sqes), per_request(at, &Counts::cqes),
                    fmt::format("{:.3g} to {:.3g}", per_request(at, &Counts::enters),
                                per_request(deep, &Counts::enters)),
                    per_request(at, &Counts::other_calls), per_request(at, &Counts::copied_bytes));
  }
  return text;
}

double per_request(const Cell& cell, uint64_t Counts::* count) {
  return static_cast<double>(cell.counts.*count) / static_cast<double>(cell.requests);
}

}  // namespace
}  // namespace sluice::bench
