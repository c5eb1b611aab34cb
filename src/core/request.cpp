#include "core/request.hpp"

namespace sluice {

const char* to_string(Op op) {
  switch (op) {
    case Op::read:
      return "read";
    case Op::write:
      return "write";
    case Op::flush:
      return "flush";
    case Op::discard:
      return "discard";
    case Op::write_zeroes:
      return "write_zeroes";
    case Op::prefetch:
      return "prefetch";
  }
  return "unknown";
}

}  // namespace sluice
