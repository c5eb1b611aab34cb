// The files that the kernel itself has open, behind loop devices and for swap. No process has
// descriptors of them. Control path only.
//
// A loop device reports the path of its file in the mount namespace of the process that attached
// it. Any other query of the device would block on a file system that hangs. So the path is
// resolved in every mount namespace, but only if it leads to the file system in question.
#pragma once

#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/file_id.hpp"

namespace sluice {

struct KernelFile {
  std::string user;    // "/dev/loop7", "swap"
  std::string path;    // the file's
  bool writes = true;  // false: the device is read-only
  bool gone = false;   // the path was removed after the file was opened
};

struct SwapArea {
  std::string path;
  bool is_file = false;  // false: a whole device
};
std::vector<SwapArea> swap_areas();

// Lists all of them, without accessing any.
std::vector<KernelFile> kernel_files();

struct KernelFiles {
  std::vector<KernelFile> found;
  // Possibly the file: on the same file system, but their paths were removed.
  std::vector<KernelFile> gone;
  // Possibly the file: their file systems do not answer.
  std::vector<KernelFile> unseen;
};

// The `candidates` that are the file, under any name.
Result<KernelFiles> find_kernel_files(const FileId& file, std::vector<KernelFile> candidates);

// The file that `path` of a KernelFile resolves to, and a name by which this process can reach it.
// nullopt: the path does not exist, or does not answer.
struct Reached {
  FileId id;
  std::string path;
};
Result<std::optional<Reached>> reach(const KernelFile& file);

}  // namespace sluice
