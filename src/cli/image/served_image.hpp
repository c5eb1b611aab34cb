// The image that a device in use serves, as its record describes it: for commands that prepare a
// change of its chain, which the server then makes.
#pragma once

#include <string>
#include <string_view>

#include "cli/failure.hpp"
#include "core/descriptor.hpp"
#include "spec/spec.hpp"
#include "target/qcow2/named_files.hpp"

namespace sluice::cli {

// The target at `path`. Null: the record has none.
const Spec* find_spec(const Spec& root, std::string_view path);

// Empty: the image is not simply a file.
std::string file_of_image(const Spec& spec);

// Which files the image may name.
Outcome<qcow2::NamePolicy> policy_of(const Spec& spec);

// Whoever has locked it: only to read the header.
Outcome<Descriptor> open_to_look(const std::string& image);

// `verb` (commit) brings the backing file of the image at `target_path` of the device. Nothing is
// opened but the image.
Outcome<void> add_backing_file(uint32_t device, std::string_view target_path, Spec& verb);

}  // namespace sluice::cli
