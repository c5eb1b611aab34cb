// Contest: all columns at all depths, a number of times in turn, on one processor.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cli/bench/column.hpp"

namespace sluice::cli::bench {

struct Plan {
  static constexpr uint32_t kMaxDepth = 128;  // as in splice-bench.c

  std::vector<uint32_t> depths{1, 2, 4, 8, 16, 32};
  uint32_t milliseconds = 500;  // of a run
  uint32_t runs = 5;            // of each column at each depth
  int processor = 0;
  Pages pages = Pages::memory;
};

// Of one value at least.
double median(std::vector<double> values);

// One column at one depth.
struct Cell {
  std::vector<double> rates{};  // requests per second, of each run
  uint64_t requests = 0;        // that `counts` are of
  Counts counts{};

  double median() const { return bench::median(rates); }
  // Of the highest over the lowest, to the median.
  double spread() const;
};

struct Findings {
  Plan plan;
  std::vector<const ColumnType*> columns;
  std::vector<std::vector<Cell>> cells;  // of plan.depths, of columns

  // Null where that column or depth is not among them.
  const Cell* find(const ColumnType& column, uint32_t depth) const;
};

// Measures on the calling thread, which is bound to plan.processor meanwhile. `progress` gets a
// sentence now and then. EINVAL: no such processor; EIO: a column moved the wrong number of bytes;
// and what a column cannot be made for.
Result<Findings> run_contest(const Plan& plan, std::span<const ColumnType* const> columns,
                             const std::function<void(const std::string&)>& progress);

}  // namespace sluice::cli::bench
