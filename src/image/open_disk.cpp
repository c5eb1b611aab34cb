#include "image/open_disk.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "spec/shown.hpp"
#include "target/open_context.hpp"
#include "target/registry.hpp"

namespace sluice::image {
namespace {

constexpr uint32_t kOffloadThreadsMin = 2;

// A path, if the spec is nothing else.
std::string name_of(const Spec& spec) {
  const bool is_file = spec.target == "loop" && spec.options.size() == 1;
  return is_file ? spec.text("file") : to_text(spec, target_vocabulary());
}

std::unexpected<Error> refuse(const std::string& name, const Error& why) {
  if (why.text.contains(shown(name))) return std::unexpected(why);
  return fail(why.error, fmt::format("cannot open {}: {}", shown(name), why.text));
}

}  // namespace

Result<std::unique_ptr<OpenDisk>> OpenDisk::open(const Spec& spec, const Options& options) {
  const std::string name = options.name.empty() ? name_of(spec) : options.name;
  OpenContext context(!options.writable);
  context.let_clients_address_bytes(true);
  context.set_unlocked(options.unlocked);
  context.set_without_backing(options.without_backing);
  if (options.beside != nullptr) context.set_stack_files(options.beside->stack_files_);
  auto stack = Stack::open(spec, context);
  if (!stack) return refuse(name, stack.error());
  if (options.writable && (*stack)->geometry().read_only) {
    return fail(EROFS, fmt::format("{} is read-only: it cannot be written", shown(name)));
  }
  if (auto started = (*stack)->start(); !started) return refuse(name, started.error());
  std::unique_ptr<OpenDisk> disk(new OpenDisk(name, std::move(*stack)));
  disk->stack_files_ = context.stack_files();
  auto device = direct::Device::create(
      *disk->stack_, {.queues = options.queues,
                      .depth = options.depth,
                      .offload_threads = std::max<uint32_t>(kOffloadThreadsMin, options.queues)});
  if (!device) return refuse(name, device.error());
  disk->device_ = std::move(*device);
  return disk;
}

OpenDisk::~OpenDisk() {
  device_.reset();
  stack_->stop();
}

Result<std::vector<Extent>> OpenDisk::extents(uint64_t offset, uint64_t length, Detail detail) {
  const uint64_t block = block_bytes();
  const uint64_t left = size_bytes() - std::min(size_bytes(), offset);
  // Whole blocks, or all that is left.
  const uint64_t wanted = length < left ? (length + block - 1) / block * block : left;
  const uint64_t range = std::min(wanted, left);
  if (range == 0) return std::vector<Extent>();
  Extents found(range, detail);
  const Status status = device_->extents(offset, found);
  if (!status.ok()) return std::unexpected(explain("look up", offset, status));
  std::vector<Extent> list(found.list().begin(), found.list().end());
  // The last block was asked for as a whole.
  const uint64_t beyond = found.covered_bytes() - std::min(found.covered_bytes(), length);
  list.back().length -= beyond;
  return list;
}

Error OpenDisk::explain(std::string_view what, uint64_t offset, Status status) const {
  return {status.error(), fmt::format("cannot {} {} at offset {}: {}", what, shown(name_), offset,
                                      std::strerror(status.error()))};
}

}  // namespace sluice::image
