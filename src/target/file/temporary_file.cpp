#include "target/file/temporary_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "spec/shown.hpp"

namespace sluice {
namespace {

// Not /tmp, which may be in memory.
constexpr const char* kUsualDirectory = "/var/tmp";

// With errno, if it is not valid.
Descriptor open_without_name(const std::string& directory) {
  Descriptor file(
      open(directory.c_str(), O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR));
  const bool is_unknown = errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL;
  if (file.valid() || !is_unknown) return file;
  std::string path = directory + "/sluice-XXXXXX";
  Descriptor named(mkostemp(path.data(), O_CLOEXEC));
  if (!named.valid() || unlink(path.c_str()) == 0) return named;
  return Descriptor();
}

}  // namespace

Result<TemporaryFile> make_temporary_file() {
  const char* const wanted = std::getenv("TMPDIR");
  const bool is_usable = wanted != nullptr && wanted[0] == '/';  // a server has left its directory
  TemporaryFile made{.descriptor = {}, .directory = is_usable ? wanted : kUsualDirectory};
  made.descriptor = open_without_name(made.directory);
  if (made.descriptor.valid()) return made;
  return fail(errno, fmt::format("cannot make a temporary file in {}: {}: set TMPDIR to another"
                                 " directory",
                                 shown(made.directory), std::strerror(errno)));
}

}  // namespace sluice
