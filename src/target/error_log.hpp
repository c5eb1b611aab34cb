// ErrorLog: logs the I/O errors of one target. Only the first error of each errno is logged; later
// ones are counted, and the counts are logged when the target is destroyed.
//
// A member of a target; any thread may report.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/request.hpp"
#include "core/status.hpp"

namespace sluice {

class ErrorLog {
 public:
  // `name`: the failing object for the message, e.g. the path of a file.
  explicit ErrorLog(std::string name) : name_(std::move(name)) {}
  ErrorLog(const ErrorLog&) = delete;
  ErrorLog& operator=(const ErrorLog&) = delete;
  ~ErrorLog();

  // `error` is a positive errno; `meaning` replaces its usual text.
  void report(const Request& request, int error, std::string_view meaning = {});

  const std::string& name() const { return name_; }
  uint64_t count(int error) const { return counts_[index_of(error)].load(); }

 private:
  static constexpr size_t kErrnoCount = 134;  // EHWPOISON, the last one, is 133

  static size_t index_of(int error) {
    const auto index = static_cast<size_t>(error);
    return index < kErrnoCount ? index : 0;
  }

  const std::string name_;
  std::array<std::atomic<uint64_t>, kErrnoCount> counts_{};
};

}  // namespace sluice
