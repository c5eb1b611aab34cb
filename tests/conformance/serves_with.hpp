// ServesWith: a server that tries commands of one kind on each request, one after the other, and
// keeps the result of each:
//
//   auto& server = serve_with<ServesWith<lend::DevSplice>>(
//       [&](auto& command, Request& request, lend::Provider& device) {
//         command.emplace(device, ...);
//       });
//
// The makers are no coroutines.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "conformance/attempts.hpp"

namespace sluice::test {

template <typename Command>
class ServesWith final : public Attempts {
 public:
  using Make = std::function<void(std::optional<Command>&, Request&, lend::Provider&)>;
  using Makers = std::vector<Make>;

  explicit ServesWith(Makers makers) : makers_(std::move(makers)), results_(makers_.size()) {}
  explicit ServesWith(Make maker) : ServesWith(Makers{std::move(maker)}) {}

  // Of the last request.
  int64_t result(size_t index = 0) const { return results_.at(index); }

 private:
  Task attempt(Request& request) override {
    for (size_t i = 0; i < makers_.size(); ++i) {
      makers_[i](command_, request, provider());
      {
        Task running = command_->run(request);
        (void)co_await running;
      }
      results_[i] = command_->result();
      command_.reset();
    }
    co_return kOk;
  }

  const Makers makers_;
  std::optional<Command> command_;
  std::vector<int64_t> results_;
};

// A name by which nothing can be lent while a single request is served.
struct BadName {
  lend::Position at;
  uint32_t length = 0;
};
// The error for each; the last one is valid, but the device no longer exists.
constexpr std::array kBadNameErrors{EINVAL, EINVAL, EINVAL, EINVAL, EFAULT, EFAULT, EFAULT, ENODEV};
BadName bad_name(size_t index, const Request& request);

// A maker for each of them. `make` gets the command, the device and the name.
template <typename Command, typename MakeOn>
typename ServesWith<Command>::Makers on_bad_names(MakeOn make) {
  typename ServesWith<Command>::Makers makers;
  for (size_t i = 0; i < kBadNameErrors.size() - 1; ++i) {
    makers.emplace_back([=](auto& command, Request& request, lend::Provider& device) {
      make(command, device, bad_name(i, request));
    });
  }
  const auto gone = std::make_shared<lend::Provider>(1, 8);
  gone->withdraw();
  makers.emplace_back([=](auto& command, Request& request, lend::Provider&) {
    gone->begin(request);
    const auto length = static_cast<uint32_t>(request.length);
    make(command, *gone, BadName{lend::Provider::position(request), length});
    gone->end(request);
  });
  return makers;
}

}  // namespace sluice::test
