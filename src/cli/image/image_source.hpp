// The disk that an image tool works on: `-f FORMAT FILE`, or any SPEC.
#pragma once

#include <memory>
#include <string>

#include "cli/command_line.hpp"
#include "cli/failure.hpp"
#include "image/open_disk.hpp"
#include "spec/spec.hpp"

namespace sluice::cli {

// Declares -f and -U. `format_help`: of which argument -f is the format.
void declare_source(CommandLine& line, std::string format_help);
inline constexpr std::string_view kFormat = "format";
inline constexpr std::string_view kForceShare = "force_share";

// The value of an option that takes raw or qcow2; empty if it was not given.
Outcome<std::string> read_format(const CommandLine& line, std::string_view option);

// A disk to be read. With a format, the argument is the path of a file in that format; it may also
// be another SPEC, whose bytes are in that format. Without one (empty), it is a SPEC; if that is
// only the path of a qcow2 image, which is recognised by its header, it means the disk inside.
// `unlocked`: while another program may be writing it.
Outcome<Spec> source_spec(const std::string& word, const std::string& format, bool unlocked);

// Opens it.
Outcome<std::unique_ptr<image::OpenDisk>> open_source(const std::string& word,
                                                      const std::string& format, bool unlocked);

// A disk to be written: the same, but without a format nothing is recognised, so that a path is a
// raw file. A guest that owns a raw disk could write the header of an image to it.
Outcome<Spec> destination_spec(const std::string& word, const std::string& format);

}  // namespace sluice::cli
