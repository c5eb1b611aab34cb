// FileOutput: an output buffer that is written at once when flushed. Unlike a standard stream it
// remembers the errno of a failure.
//
// Used by one thread. Does not own the descriptor.
#pragma once

#include <streambuf>
#include <string>

namespace sluice::cli {

class FileOutput final : public std::streambuf {
 public:
  explicit FileOutput(int descriptor) : descriptor_(descriptor) {}

  // The errno of the first failed write; 0: none.
  int error() const { return error_; }

 private:
  static constexpr size_t kKeptBytes = size_t{1} << 20;

  int_type overflow(int_type byte) override;
  std::streamsize xsputn(const char* bytes, std::streamsize count) override;
  int sync() override;

  const int descriptor_;
  std::string kept_;
  int error_ = 0;
};

}  // namespace sluice::cli
