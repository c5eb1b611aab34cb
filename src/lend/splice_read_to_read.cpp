#include "lend/splice_read_to_read.hpp"

namespace sluice::lend {

Task SpliceReadToRead::run(Request& request) {
  const Status file = from_.as_read_consumer();
  return move_.run(request, file.ok() ? check_range(offset_, length_) : file);
}

}  // namespace sluice::lend
