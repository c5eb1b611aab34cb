// The options of `sluice bench lend` and `sluice bench stack`.
#pragma once

#include <span>
#include <string>

#include "bench/contest.hpp"
#include "bench/load.hpp"
#include "cli/command_line.hpp"
#include "spec/spec.hpp"

namespace sluice::cli {

// What `sluice bench` measures.
enum class BenchSubject : uint8_t { lend, stack };

// A stack, and what to do with it.
struct StackBench {
  Spec spec;
  bench::LoadPlan plan;
};

// Declares the words and options of the subject that `arguments` name, or of both.
void declare_bench(CommandLine& line, std::span<const std::string> arguments);

// Of the command line; a malformed one is a `usage` failure.
Outcome<BenchSubject> read_subject(const CommandLine& line);
// --seconds, in milliseconds.
Outcome<uint32_t> read_seconds(const CommandLine& line, uint32_t fallback_ms);
// The measurements that `sluice bench lend` asks for.
Outcome<bench::Plan> read_plan(const CommandLine& line);
// Those of `sluice bench stack`. A spec that is wrong is a `failure`, as in `sluice add`.
Outcome<StackBench> read_stack_bench(const CommandLine& line);

}  // namespace sluice::cli
