// The key that the server before has passed, and the file that passes it on.
#pragma once

#include "core/error.hpp"
#include "target/crypt/secret.hpp"
#include "target/open_context.hpp"

namespace sluice::crypt {

// EINVAL: it has passed none. It may be that of another volume.
inline Result<Secret> inherited_key(OpenContext& context) {
  const Descriptor file = context.inherit();
  if (!file.valid()) return fail(EINVAL, "the server before has passed no key");
  return Secret::from_file(file.number());
}

// The same key in memory that is also a private file, for the next server.
inline Result<Secret> keep_key(OpenContext& context, const Secret& key) {
  Descriptor file;
  auto kept = Secret::in_file(key.bytes(), file);
  if (kept) context.add_private_file(file.release());
  return kept;
}

}  // namespace sluice::crypt
