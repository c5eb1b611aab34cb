#include "target/crypt/header_bytes.hpp"

#include <cstring>
#include <utility>

#include "core/buffer.hpp"
#include "core/private_loan.hpp"

namespace sluice::crypt {
namespace {

// Reads whole blocks.
class BlockReader {
 public:
  BlockReader(Target& holder, uint64_t offset, std::span<std::byte> bytes)
      : holder_(holder), offset_(offset), bytes_(bytes) {}

  Task read(Request& request) {
    const uint64_t block = holder_.geometry().logical_block_bytes;
    const uint64_t begin = offset_ / block * block;
    const uint64_t end = (offset_ + bytes_.size() + block - 1) / block * block;
    const Buffer memory(end - begin);
    PrivateLoan loan(Direction::destination, memory.bytes());
    Request reading = request.child(begin, loan.view());
    reading.op = Op::read;
    Task served = holder_.submit(reading);
    const Status status = co_await served;
    if (!status.ok()) co_return status;
    std::memcpy(bytes_.data(), memory.bytes().data() + (offset_ - begin), bytes_.size());
    co_return kOk;
  }

 private:
  Target& holder_;
  const uint64_t offset_;
  const std::span<std::byte> bytes_;
};

}  // namespace

HeaderSource header_source(Target& holder, std::string name,
                           std::function<Status(const ControlReactor::Work&)> perform) {
  return {
      .name = std::move(name),
      .size_bytes = holder.geometry().size_bytes,
      .read = [&holder, perform = std::move(perform)](uint64_t offset, std::span<std::byte> bytes) {
        BlockReader reader(holder, offset, bytes);
        return perform([&](Request& request) { return reader.read(request); });
      }};
}

}  // namespace sluice::crypt
