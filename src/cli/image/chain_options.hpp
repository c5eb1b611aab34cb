// What `sluice commit` and `sluice rebase` have in common: an image, and the files of its chain.
#pragma once

#include <string>

#include "cli/command_line.hpp"
#include "cli/failure.hpp"
#include "cli/image/image_file.hpp"
#include "spec/spec.hpp"
#include "target/qcow2/header.hpp"
#include "target/qcow2/named_files.hpp"

namespace sluice::cli {

// Declares --backing.
void declare_backing_policy(CommandLine& line);
Outcome<qcow2::NamePolicy> read_backing_policy(const CommandLine& line);

// The disk in an image, or a raw disk, in blocks of 512 bytes, which is what images are made of.
Spec disk_spec(const std::string& path, const std::string& format, const CommandLine& line);

// Opens the image that is to be changed. Only a qcow2 image that is in order has a place in a
// chain.
Outcome<ImageFile> open_chain_image(const std::string& path, qcow2::Header& header);

}  // namespace sluice::cli
