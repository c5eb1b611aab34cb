// Mirror: the life of its children.
#include <fmt/format.h>

#include <tuple>

#include "core/log.hpp"
#include "target/mirror/mirror.hpp"

namespace sluice::mirror {

Task Mirror::start_children(Request& request, LifeCall& call) {
  for (size_t index = 0; index < legs_.size(); ++index) {
    Task starting = leg(index).child.start(request, call);
    const Status started = co_await starting;
    if (started.ok()) continue;
    log().warn("{}: leg {} ({}) is missing: {}", name(), number_of(index), leg(index).label,
               call.why);
    leg(index).child.lose(request, call);
  }
  co_return kOk;
}

Task Mirror::stop_children(Request& request, LifeCall& call) {
  for (size_t left = legs_.size(); left-- > 0;) {
    Task stopping = leg(left).child.stop(request, call);
    std::ignore = co_await stopping;
    leg(left).superblock.reset();
  }
  co_return kOk;
}

Task Mirror::attach(Request& request, LifeCall& call) {
  for (size_t index = 0; index < legs_.size(); ++index) {
    Task attaching = leg(index).child.attach(request, call);
    const Status attached = co_await attaching;
    if (attached.ok()) continue;
    Task detaching = detach_first(request, call, index);
    std::ignore = co_await detaching;
    co_return attached;
  }
  co_return kOk;
}

Task Mirror::detach(Request& request, LifeCall& call) {
  return detach_first(request, call, legs_.size());
}

Task Mirror::detach_first(Request& request, LifeCall& call, size_t count) {
  while (count-- > 0) {
    Task detaching = leg(count).child.detach(request, call);
    std::ignore = co_await detaching;
  }
  co_return kOk;
}

}  // namespace sluice::mirror
