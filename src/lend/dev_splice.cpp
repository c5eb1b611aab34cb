#include "lend/dev_splice.hpp"

namespace sluice::lend {

Task DevSplice::run(Request& request) {
  consuming_.emplace(device_.lend(at_, length_, direction_of(op_)), op_);
  return consuming_->run(request);
}

}  // namespace sluice::lend
