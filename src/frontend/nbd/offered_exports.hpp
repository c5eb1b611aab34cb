// OfferedExports: the disks of a stack, as NBD clients choose among them.
//
// One for each queue, used by its thread. The stack and the ByteIo of each disk outlive it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/nbd/cached_file.hpp"
#include "nbd/server_handshake.hpp"
#include "reactor/byte_io.hpp"
#include "target/stack.hpp"

namespace sluice::nbd {

struct OfferedExport final : Export {
  Disk* disk = nullptr;
  ByteIo* io = nullptr;
  std::unique_ptr<CachedFile> cached{};  // null: READs are not sent from the page cache
};

// What clients may do with a disk: TransmissionFlag.
uint16_t transmission_flags(const Geometry& geometry);
// Its own, or that of an only disk.
const std::string& export_name(const Disk& disk, const std::string& only);

class OfferedExports final : public Exports {
 public:
  struct Setup {
    const Stack* stack = nullptr;
    std::vector<ByteIo*> ios{};  // of its disks, in their order
    std::string name{};          // of an only disk
    std::string description{};   // of each
    bool loses_rights = false;   // see ExportOptions
  };

  explicit OfferedExports(const Setup& setup);

  std::vector<std::string> names() const override;
  // With the size and the contexts that the disk has now.
  const Export* find(std::string_view name) const override { return offered(name); }
  const OfferedExport* offered(std::string_view name) const;

 private:
  std::vector<std::unique_ptr<OfferedExport>> exports_;
};

}  // namespace sluice::nbd
