#include "unit/frontend/fuse/fake_device.hpp"

#include "target/file/file_target.hpp"

namespace sluice::test {

void FakeDevice::start(const Geometry& changes, uint16_t depth,
                       std::optional<uint32_t> reserve_bytes) {
  if (file_descriptor_ >= 0) TearDown();
  finished_ = false;
  file_descriptor_ = memfd_create("stack", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(file_descriptor_, kSize), 0);
  auto member = std::make_unique<Member>(file_descriptor_, kSize);
  member->shape().read_only = changes.read_only;
  member->shape().can_discard = !changes.needs_bytes;  // here needs_bytes means: cannot discard
  std::unique_ptr<Target> root = std::move(member);
  if (link_) {
    const Geometry geometry = root->geometry();
    root = std::make_unique<FileTarget>(
        FileTarget::Place{
            .name = "file", .file = {.number = file_descriptor_}, .descriptor = file_descriptor_},
        geometry);
  }
  stack_ = std::make_unique<Stack>(std::move(root));
  file_ = std::make_unique<fuse::OneFile>(
      fuse::OneFile::Shape{.read_only = changes.read_only, .size_bytes = kSize});
  file_->use_direct_io();
  io_ = std::make_unique<fuse::FileIo>(*stack_, *file_, kMaxIo);
  auto queue = fuse::CopyQueue::create({.depth = depth,
                                        .max_io_bytes = kMaxIo,
                                        .device = {.number = kDevice},
                                        .reserve_bytes = reserve_bytes},
                                       ring_, *io_, *this);
  ASSERT_TRUE(queue);
  queue_ = std::move(*queue);
  ASSERT_TRUE(queue_->start(-1));
  ring_.settle();
}

// The queue ends as after the file system was unmounted.
void FakeDevice::TearDown() {
  do {
    perform_on_file();
  } while (take_reply());
  while (!finished_ && find(IORING_OP_READ, kDevice)) fail_reading(ENODEV);
  EXPECT_TRUE(finished_);
  while (ring_.pending() != 0) ring_.perform(0);
  EXPECT_EQ(queue_->counters().arena_overflows, 0U);
  queue_.reset();
  close(file_descriptor_);
  file_descriptor_ = -1;
}

std::optional<size_t> FakeDevice::find(uint8_t opcode, int descriptor) const {
  for (size_t i = 0; i < ring_.pending(); ++i) {
    if (ring_.sqe(i).opcode == opcode && ring_.sqe(i).fd == descriptor) return i;
  }
  return std::nullopt;
}

size_t FakeDevice::count(uint8_t opcode, int descriptor) const {
  size_t found = 0;
  for (size_t i = 0; i < ring_.pending(); ++i) {
    found += ring_.sqe(i).opcode == opcode && ring_.sqe(i).fd == descriptor;
  }
  return found;
}

void FakeDevice::deliver(const Bytes& frame) {
  const auto reading = find(IORING_OP_READ, kDevice);
  ASSERT_TRUE(reading);
  const io_uring_sqe& sqe = ring_.sqe(*reading);
  ASSERT_EQ(sqe.len, 80 + kMaxIo);
  std::memcpy(reinterpret_cast<void*>(sqe.addr), frame.data(), frame.size());
  ring_.complete(*reading, static_cast<int32_t>(frame.size()));
}

void FakeDevice::fail_reading(int error) {
  const auto reading = find(IORING_OP_READ, kDevice);
  ASSERT_TRUE(reading);
  ring_.complete(*reading, -error);
}

void FakeDevice::perform_on_file() {
  for (size_t i = 0; i < ring_.pending();) {
    if (ring_.sqe(i).fd == file_descriptor_) {
      ring_.perform(i);
      i = 0;
    } else {
      ++i;
    }
  }
}

std::optional<Reply> FakeDevice::take_reply() {
  const auto writing = find(IORING_OP_WRITE, kDevice);
  if (!writing) return std::nullopt;
  const io_uring_sqe& sqe = ring_.sqe(*writing);
  const auto* const bytes = reinterpret_cast<const std::byte*>(sqe.addr);
  const auto header = value_in<fuse_out_header>({bytes, sqe.len});
  EXPECT_EQ(header.len, sqe.len);
  Reply reply{.error = -header.error,
              .unique = header.unique,
              .body = Bytes(bytes + sizeof(header), bytes + sqe.len)};
  ring_.complete(*writing, static_cast<int32_t>(sqe.len));
  return reply;
}

Reply FakeDevice::ask(const Bytes& frame) {
  deliver(frame);
  perform_on_file();
  const auto reply = take_reply();
  EXPECT_TRUE(reply);
  return reply.value_or(Reply{});
}

Bytes FakeDevice::file_bytes(uint64_t offset, size_t length) const {
  Bytes bytes(length);
  EXPECT_EQ(pread(file_descriptor_, bytes.data(), length, static_cast<off_t>(offset)),
            static_cast<ssize_t>(length));
  return bytes;
}

void FakeDevice::fill_file(uint64_t offset, size_t length, int value) {
  const Bytes bytes(length, static_cast<std::byte>(value));
  ASSERT_EQ(pwrite(file_descriptor_, bytes.data(), length, static_cast<off_t>(offset)),
            static_cast<ssize_t>(length));
}

}  // namespace sluice::test
