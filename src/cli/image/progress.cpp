#include "cli/image/progress.hpp"

#include <fmt/format.h>

namespace sluice::cli {

Progress::Progress(std::ostream& out, bool wanted) : out_(out), wanted_(wanted) { tell(0, 1); }

Progress::~Progress() {
  if (wanted_) out_ << '\n' << std::flush;
}

void Progress::tell(uint64_t done, uint64_t all) {
  if (!wanted_) return;
  const double share = all == 0 ? 1 : static_cast<double>(done) / static_cast<double>(all);
  const auto hundredths = static_cast<uint64_t>(share * 100);
  if (hundredths == told_) return;
  told_ = hundredths;
  out_ << fmt::format("    ({:.2f}/100%)\r", share * 100) << std::flush;
}

}  // namespace sluice::cli
