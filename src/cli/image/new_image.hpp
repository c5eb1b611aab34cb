// NewImage: the file of a new image, and its data file, for create and convert.
#pragma once

#include <string>

#include "cli/failure.hpp"
#include "cli/image/create_options.hpp"
#include "cli/image/image_file.hpp"

namespace sluice::cli {

// A file that a command makes, or replaces. Removed again unless it is kept, if it is new.
class NewFile {
 public:
  NewFile() = default;
  NewFile(NewFile&&) = delete;
  ~NewFile();

  // Changes nothing that exists.
  Outcome<void> open(const std::string& path, bool force);
  Outcome<void> empty();
  void keep() { is_kept_ = true; }
  bool is_new() const { return is_new_; }
  // Closes and unlocks it, so that a target can open it.
  void release() { file_.descriptor = {}; }
  int descriptor() const { return file_.descriptor.number(); }
  bool is_block_device() const { return file_.is_block_device; }

 private:
  ImageFile file_;
  bool is_new_ = false;
  bool is_kept_ = false;
};

class NewImage {
 public:
  // Opens the files, or makes them, and then the image in them.
  Outcome<void> make(CreateRequest& request);
  void keep();
  void release();
  bool is_new() const { return file_.is_new(); }

 private:
  Outcome<void> open(const CreateRequest& request);
  Outcome<void> fill(const CreateRequest& request);

  NewFile file_;
  NewFile data_;
};

// No file is overwritten by another one of the same command.
Outcome<void> check_other_file(const std::string& path, const std::string& other);

}  // namespace sluice::cli
