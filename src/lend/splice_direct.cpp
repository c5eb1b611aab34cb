#include "lend/splice_direct.hpp"

namespace sluice::lend {

Task SpliceDirect::run(Request& request) {
  const Status sink = to_.as_sink();
  return move_.run(request, sink.ok() ? check_range(offset_, length_) : sink);
}

Task SpliceReadToRead::run(Request& request) {
  const Status file = from_.as_read_consumer();
  return move_.run(request, file.ok() ? check_range(offset_, length_) : file);
}

}  // namespace sluice::lend
