#include "ring/parked.hpp"

#include "ring/ring.hpp"

namespace sluice {

void Parked::resume(Ring& here) {
  if (&here == &ring_) {
    resume_here();
  } else {
    ring_.post(*this);
  }
}

void Parked::resume_here() { ring_.ready().push(coroutine_); }

}  // namespace sluice
