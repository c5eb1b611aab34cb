#include "lend/chain.hpp"

#include "core/gather.hpp"

namespace sluice::lend {

Task Chain::run(Request& request) {
  Gather links(request, steps_.size());
  for (size_t first = 0; first < steps_.size();) {
    const size_t count = end_of_link(first) - first;
    links.add(count == 1 ? steps_[first].run(request)
                         : run_linked(request, steps_.subspan(first, count)));
    first += count;
  }
  co_return co_await links;
}

size_t Chain::end_of_link(size_t first) const {
  while (first + 1 < steps_.size() && steps_[first].link() != Link::none) ++first;
  return first + 1;
}

Task Chain::run_linked(Request& request, std::span<const Step> linked) {
  Status first_error;
  for (const Step& step : linked) {
    Task running = step.run(request);
    const Status status = co_await running;
    if (status.ok()) continue;
    if (first_error.ok()) first_error = status;
    if (step.link() == Link::soft) break;
  }
  co_return first_error;
}

}  // namespace sluice::lend
