#include "cli/crypt/passphrases.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "cli/crypt/terminal.hpp"
#include "spec/shown.hpp"
#include "target/crypt/options.hpp"
#include "target/crypt/passphrase.hpp"
#include "target/registry.hpp"

namespace sluice::cli {
namespace {

constexpr std::string_view kCryptType = "crypt";

std::string name_of(const Spec& spec) {
  return spec.target == "loop" ? spec.text("file") : to_text(spec, target_vocabulary());
}

Outcome<void> read_for(const Spec& spec) {
  const auto source = crypt::read_key_source(spec);
  if (!source) return failed(source.error());
  if (source->identity.empty() || crypt::is_given(source->identity)) return {};
  auto passphrase =
      source->from == crypt::KeyFrom::terminal
          ? ask_on_terminal(
                fmt::format("Passphrase for {}: ", printable(name_of(spec.children.front()), 200)))
          : crypt::read_key_bytes(source->descriptor,
                                  fmt::format("descriptor {}", source->descriptor), *source);
  if (!passphrase) return failed(passphrase.error());
  crypt::give_passphrase(source->identity, std::move(*passphrase));
  return {};
}

}  // namespace

void name_standard_input(Spec& spec) {
  if (spec.text("key_file") == "-") {
    std::erase_if(spec.options, [](const auto& option) { return option.first == "key_file"; });
    spec.set("key_fd", uint64_t{0});
  }
  for (Spec& child : spec.children) name_standard_input(child);
}

Outcome<void> read_passphrases(const Spec& spec) {
  if (spec.target == kCryptType || crypt::names_key(spec)) {
    if (auto read = read_for(spec); !read) return read;
  }
  for (const Spec& child : spec.children) {
    if (auto read = read_passphrases(child); !read) return read;
  }
  return {};
}

}  // namespace sluice::cli
