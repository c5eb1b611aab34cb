#include "cli/file_output.hpp"

#include <unistd.h>

#include <cerrno>
#include <string_view>

namespace sluice::cli {

FileOutput::int_type FileOutput::overflow(int_type byte) {
  if (traits_type::eq_int_type(byte, traits_type::eof())) return traits_type::not_eof(byte);
  const char kept = traits_type::to_char_type(byte);
  return xsputn(&kept, 1) == 1 ? byte : traits_type::eof();
}

std::streamsize FileOutput::xsputn(const char* bytes, std::streamsize count) {
  kept_.append(bytes, static_cast<size_t>(count));
  return kept_.size() < kKeptBytes || sync() == 0 ? count : 0;
}

int FileOutput::sync() {
  std::string_view rest = kept_;
  while (!rest.empty() && error_ == 0) {
    const ssize_t written = write(descriptor_, rest.data(), rest.size());
    if (written >= 0) {
      rest.remove_prefix(static_cast<size_t>(written));
    } else if (errno != EINTR) {
      error_ = errno;
    }
  }
  kept_.clear();
  return error_ == 0 ? 0 : -1;
}

}  // namespace sluice::cli
