// Contest: measures all columns at all depths, several times in turn, on one processor.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "bench/column.hpp"

namespace sluice::bench {

struct Plan {
  static constexpr uint32_t kMaxDepth = 128;  // as in splice-bench.c

  std::vector<uint32_t> depths{1, 2, 4, 8, 16, 32};
  uint32_t milliseconds = 500;  // of a run
  uint32_t runs = 5;            // of each column at each depth
  int processor = 0;
  Pages pages = Pages::memory;
};

// `values` is not empty.
double median(std::vector<double> values);

// One column at one depth.
struct Cell {
  std::vector<double> rates{};  // requests per second, of each run
  uint64_t requests = 0;        // number of requests in `counts`
  Counts counts{};

  double median() const { return bench::median(rates); }
  // (highest - lowest) / median.
  double spread() const;
};

struct Findings {
  Plan plan;
  std::vector<const ColumnType*> columns;
  std::vector<std::vector<Cell>> cells;  // by index in plan.depths, then in columns

  // Null if the column or depth was not measured.
  const Cell* find(const ColumnType& column, uint32_t depth) const;
};

// Measures on the calling thread, which is bound to plan.processor meanwhile. Calls `progress` with
// a sentence for each depth of each run. EINVAL: no such processor; EIO: a column moved the wrong
// number of bytes; and the errors of making a column.
Result<Findings> run_contest(const Plan& plan, std::span<const ColumnType* const> columns,
                             const std::function<void(const std::string&)>& progress);

}  // namespace sluice::bench
