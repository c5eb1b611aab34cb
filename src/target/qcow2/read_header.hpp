// Reads the header of an image whose storage has just been opened.
//
// Control path only.
#pragma once

#include <string>

#include "core/error.hpp"
#include "target/open_context.hpp"
#include "target/qcow2/header.hpp"

namespace sluice::qcow2 {

// `path`: for messages; empty: the storage is not a file. EINVAL and others: what parse_header()
// says; the errno of a read that failed.
Result<Header> read_header(Target& storage, const std::string& path, OpenContext& context);

// The error with the path of its image.
std::unexpected<Error> refuse_image(const std::string& path, const Error& why);

}  // namespace sluice::qcow2
