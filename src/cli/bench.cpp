// `sluice bench lend`.
#include <spdlog/spdlog.h>

#include "bench/claim.hpp"
#include "bench/contest.hpp"
#include "bench/table.hpp"
#include "cli/bench_options.hpp"
#include "cli/command.hpp"
#include "cli/show.hpp"

namespace sluice::cli {
namespace {

// The columns of the mail, and the present ones.
constexpr const bench::ColumnType* kColumns[] = {
    &bench::kSpliceTwice, &bench::kOpSplice, &bench::kGetBuf, &bench::kGetBufLinked,
    &bench::kGetBufNop,   &bench::kAutoLoan, &bench::kCopied, &bench::kBareWrite,
};
constexpr const bench::ColumnType* kUblkColumns[] = {
    &bench::kSpliceTwice,       &bench::kOpSplice,           &bench::kGetBuf,
    &bench::kGetBufLinked,      &bench::kGetBufNop,          &bench::kAutoLoan,
    &bench::kRegisterInBatches, &bench::kRegisterUseRelease, &bench::kCopied,
    &bench::kBareWrite,
};

std::span<const bench::ColumnType* const> columns_of(bench::Pages pages) {
  if (pages == bench::Pages::ublk) return kUblkColumns;
  return kColumns;
}

void declare_bench(CommandLine& line, std::span<const std::string>) {
  line.add_word("lend");
  line.add({.name = "seconds", .value = "S", .help = "length of each run (0.5)"});
  line.add({.name = "runs", .value = "N", .help = "runs of each column at each depth (5)"});
  line.add({.name = "depths", .value = "LIST", .help = "requests at a time (1,2,4,8,16,32)"});
  line.add({.name = "cpu", .value = "N", .help = "processor to run on (default: the current one)"});
  line.add({.name = "file",
            .value = "FILE",
            .help = "measure FILE at 64K and 512K instead, lent and copied; overwrites it"});
  line.add({.name = "ublk", .help = "lend pages of requests of a temporary ublk device"});
  line.add({.name = "json", .help = "print all values as an object"});
}

Outcome<void> run_bench(const CommandLine& line, const Streams& streams) {
  const auto plan = read_plan(line);
  if (!plan) return std::unexpected(plan.error());
  spdlog::set_level(spdlog::level::warn);  // devices are added and deleted here
  const auto progress = [&](const std::string& sentence) { say(streams, sentence); };
  if (line.has("file")) {
    const auto cells = bench::run_claim(*plan, line.text("file"), progress);
    if (!cells) return failed(cells.error());
    streams.out << (line.has("json") ? written(bench::claim_json(*cells))
                                     : bench::claim_text(*cells));
    return {};
  }
  const auto found = bench::run_contest(*plan, columns_of(plan->pages), progress);
  if (!found) return failed(found.error());
  streams.out << (line.has("json") ? written(bench::table_json(*found))
                                   : bench::table_text(*found));
  return {};
}

}  // namespace

constinit const Command kBenchCommand = {
    .name = "bench",
    .synopsis =
        "lend [--seconds S] [--runs N] [--depths LIST] [--cpu N] [--ublk] [--json]\n"
        "lend [--seconds S] [--runs N] --file FILE [--json]",
    .summary = "Measure the interfaces that lend a page to an operation, side by side.",
    .declare = declare_bench,
    .run = run_bench,
    .has_state = false};

}  // namespace sluice::cli
