// ServesWith: a server that tries commands of one kind on each request, one after the other, and
// keeps what each of them said:
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

// Names that nothing can be lent by while `request`, the only one, is served, and what is said.
struct BadName {
  lend::Position at;
  uint32_t length;
  int error;
};
constexpr size_t kBadNames = 7;
std::array<BadName, kBadNames> bad_names(const Request& request);

}  // namespace sluice::test
