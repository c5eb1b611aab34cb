#include "lend/splice_direct.hpp"

namespace sluice::lend {

Task SpliceDirect::run(Request& request) {
  const Status sink = to_.as_sink();
  return move_.run(request, sink.ok() ? check_range(offset_, length_) : sink);
}

}  // namespace sluice::lend
