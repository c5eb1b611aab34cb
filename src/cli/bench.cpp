// `sluice bench`.
#include <spdlog/spdlog.h>

#include <functional>

#include "bench/claim.hpp"
#include "bench/contest.hpp"
#include "bench/load.hpp"
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

using Progress = std::function<void(const std::string&)>;

Outcome<void> run_lend(const CommandLine& line, const Streams& streams, const Progress& progress) {
  const auto plan = read_plan(line);
  if (!plan) return std::unexpected(plan.error());
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

Outcome<void> run_stack(const CommandLine& line, const Streams& streams, const Progress& progress) {
  const auto wanted = read_stack_bench(line);
  if (!wanted) return std::unexpected(wanted.error());
  const auto found = bench::run_load(wanted->spec, wanted->plan, progress);
  if (!found) return failed(found.error());
  streams.out << (line.has("json") ? written(bench::load_json(*found)) : bench::load_text(*found));
  return {};
}

Outcome<void> run_bench(const CommandLine& line, const Streams& streams) {
  const auto subject = read_subject(line);
  if (!subject) return std::unexpected(subject.error());
  const auto progress = [&](const std::string& sentence) { say(streams, sentence); };
  spdlog::set_level(spdlog::level::warn);  // devices are made and ended here
  return *subject == BenchSubject::lend ? run_lend(line, streams, progress)
                                        : run_stack(line, streams, progress);
}

}  // namespace

constinit const Command kBenchCommand = {
    .name = "bench",
    .synopsis =
        "lend [--seconds S] [--runs N] [--depths LIST] [--cpu N] [--ublk] [--json]\n"
        "lend [--seconds S] [--runs N] --file FILE [--json]\n"
        "stack [--pattern PATTERN] [--overwrite] [OPTION]... SPEC",
    .summary = "Measure a stack, or the interfaces that lend a page to an operation.",
    .declare = declare_bench,
    .run = run_bench,
    .has_state = false};

}  // namespace sluice::cli
