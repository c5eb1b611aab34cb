#include "target/crypt/passphrase.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "core/descriptor.hpp"
#include "core/log.hpp"
#include "spec/shown.hpp"
#include "target/crypt/key_command.hpp"

namespace sluice::crypt {
namespace {

std::vector<std::pair<std::string, Secret>>& given() {
  static std::vector<std::pair<std::string, Secret>> all;
  return all;
}

const Secret* find_given(const std::string& identity) {
  const auto found = std::ranges::find(given(), identity, &std::pair<std::string, Secret>::first);
  return found == given().end() ? nullptr : &found->second;
}

// Anyone who can read it can open the volume.
void warn_of_mode(int file, const std::string& path) {
  struct stat status{};
  if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode) || (status.st_mode & 07) == 0) return;
  log().warn("{} can be read by every user: chmod 600 it", shown(path));
}

Result<Secret> read_key_file(const KeySource& source) {
  const Descriptor file(open(source.place.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!file.valid()) {
    return fail(errno, fmt::format("crypt: cannot open the key file {}: {}", shown(source.place),
                                   std::strerror(errno)));
  }
  warn_of_mode(file.number(), source.place);
  return read_key_bytes(file.number(), source.place, source);
}

// Returns whether there was an end before `wanted` bytes.
Result<size_t> read_all(int file, std::string_view name, std::span<std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = read(file, bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return fail(errno, fmt::format("crypt: cannot read the passphrase from {}: {}", name,
                                     std::strerror(errno)));
    }
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

Result<void> skip_bytes(int file, std::string_view name, uint64_t offset) {
  if (offset == 0 || lseek(file, static_cast<off_t>(offset), SEEK_CUR) >= 0) return {};
  auto skipped = Secret::create(4096);
  if (!skipped) return std::unexpected(skipped.error());
  while (offset != 0) {
    const size_t step = std::min<uint64_t>(offset, skipped->size());
    const auto got = read_all(file, name, skipped->bytes().first(step));
    if (!got) return std::unexpected(got.error());
    if (*got < step) return fail(EINVAL, fmt::format("crypt: {} ends before the passphrase", name));
    offset -= step;
  }
  return {};
}

}  // namespace

Result<Secret> read_key_bytes(int file, std::string_view name, const KeySource& source) {
  if (auto skipped = skip_bytes(file, name, source.offset); !skipped) {
    return std::unexpected(skipped.error());
  }
  // A byte more than allowed, to notice that.
  auto bytes = Secret::create(source.size ? *source.size : kPassphraseBytesMax + 1);
  if (!bytes) return bytes;
  const auto got = read_all(file, name, bytes->bytes());
  if (!got) return std::unexpected(got.error());
  if (*got == 0) return fail(EINVAL, fmt::format("crypt: there is no passphrase in {}", name));
  if (source.size && *got < *source.size) {
    return fail(EINVAL, fmt::format("crypt: {} has {} bytes of the passphrase, less than the {} of "
                                    "key_file_size",
                                    name, *got, *source.size));
  }
  if (*got > kPassphraseBytesMax) {
    return fail(EINVAL, fmt::format("crypt: {} has more than 8M: give key_file_size", name));
  }
  auto exact = Secret::copy_of(std::as_const(*bytes).bytes().first(*got));
  return exact;
}

Result<Secret> read_passphrase(const KeySource& source) {
  switch (source.from) {
    case KeyFrom::file:
      return read_key_file(source);
    case KeyFrom::command:
      return read_from_command(source);
    case KeyFrom::descriptor:
    case KeyFrom::terminal:
    case KeyFrom::nowhere:
      break;
  }
  if (const Secret* const found = find_given(source.identity))
    return Secret::copy_of(found->bytes());
  if (source.from == KeyFrom::terminal) {
    return fail(EACCES,
                "crypt: no passphrase, and nobody here to ask: it was typed for another "
                "process, or none was given; add the device again, or name a source that "
                "can be read again (key_file or key_cmd)");
  }
  return fail(EACCES, fmt::format("crypt: the passphrase came from descriptor {} of another "
                                  "process, and cannot be read again: add the device again, or "
                                  "name a source that can be (key_file or key_cmd)",
                                  source.descriptor));
}

void give_passphrase(const std::string& identity, Secret passphrase) {
  if (!is_given(identity)) given().emplace_back(identity, std::move(passphrase));
}

bool is_given(const std::string& identity) { return find_given(identity) != nullptr; }

void forget_passphrases() { given().clear(); }

}  // namespace sluice::crypt
