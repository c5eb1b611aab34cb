#include "target/mirror/copy_buffers.hpp"

#include "core/keep_for_ever.hpp"
#include "core/log.hpp"
#include "ring/kernel_ring.hpp"

namespace sluice::mirror {

// A ring that was abandoned with a step in flight may still write to them.
CopyBuffers::~CopyBuffers() {
  if (pool_ == nullptr) return;
  keep_for_ever(std::shared_ptr<BufferReserve>(std::move(reserve_)));
  keep_for_ever(std::shared_ptr<BufferPool>(std::move(pool_)));
}

// A table without room is no reason to fail: the kernel then pins the pages for each operation.
Status CopyBuffers::begin(Ring& ring) {
  if (pool_ != nullptr) return kOk;
  auto pool = BufferPool::create(ring, buffer_bytes_, buffers_);
  if (!pool) return Status::from_errno(pool.error().error);
  if (auto* const kernel = dynamic_cast<KernelRing*>(&ring); kernel != nullptr) {
    const auto registered = (*pool)->register_with(*kernel);
    if (!registered)
      log().debug("mirror: a copy without registered memory: {}", registered.error().text);
  }
  reserve_ = std::move(*(*pool)->reserve(buffers_));
  pool_ = std::move(*pool);
  return kOk;
}

void CopyBuffers::end() {
  reserve_.reset();
  pool_.reset();
}

}  // namespace sluice::mirror
