// Claim: measures the claim of the FUSED_CMD mail: a file at 64 KiB and 512 KiB through the loop
// target and the front end in this process, once with the requests' pages lent to the file's I/O,
// once by a server that copies them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/contest.hpp"
#include "core/request.hpp"
#include "spec/json_value.hpp"

namespace sluice::bench {

// One way of serving one kind of request.
struct ClaimCell {
  uint32_t bytes = 0;  // of a request
  Op op = Op::read;
  bool copies = false;
  std::vector<double> mib_per_s{};      // of each run
  std::vector<double> cpu_s_per_gib{};  // of the thread that issues and serves
  double copied_bytes_per_io = 0;       // by the server
};

// Measures plan.runs runs of each cell, in turn, with kClaimDepth requests at a time. Writes to all
// of `path`. ENOENT, EBUSY ...: the file cannot be opened; EINVAL: it is too small; EIO: a request
// failed.
inline constexpr uint16_t kClaimDepth = 16;
Result<std::vector<ClaimCell>> run_claim(const Plan& plan, const std::string& path,
                                         const std::function<void(const std::string&)>& progress);

std::string claim_text(const std::vector<ClaimCell>& cells);
JsonValue claim_json(const std::vector<ClaimCell>& cells);

}  // namespace sluice::bench
