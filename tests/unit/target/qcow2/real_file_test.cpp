// A qcow2 target on a file that ends within a block.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/buffer.hpp"
#include "ring/kernel_ring.hpp"
#include "target/life/life_call.hpp"
#include "target/open_context.hpp"
#include "unit/target/qcow2/image_rig.hpp"

namespace sluice::qcow2::test {
namespace {

class Qcow2RealFile : public WithQemu {};

int run_alone(KernelRing& ring, Task task) {
  while (!task.finished()) ring.run_once(true);
  return task.status().error();
}

// After the resize the L1 table is at the end, and the clusters of the former one are free.
TEST_F(Qcow2RealFile, ATableAtTheEndOfAFileIsChanged) {
  const WorkFolder folder;
  ASSERT_EQ(folder.run("qemu-img create -q -f qcow2 -o cluster_size=512 image.qcow2 1M &&"
                       " qemu-img resize -q image.qcow2 3M && realpath image.qcow2"),
            0)
      << folder.output();
  std::string path = folder.output();
  path.pop_back();
  const auto bytes = folder.read("image.qcow2");
  ASSERT_NE(bytes.size() % 512, 0U);
  OpenContext context(false);
  context.set_opens_image(true);
  auto opened =
      context.open(*parse_spec(fmt::format("loop({}, block=512)", path), target_vocabulary()));
  ASSERT_TRUE(opened) << opened.error().text;
  auto storage = std::move(*opened);
  const std::vector<int> files = file_table(registered_files_of(*storage));
  auto made = KernelRing::create({.files = files});
  ASSERT_TRUE(made) << made.error().text;
  KernelRing& ring = **made;
  Qcow2Target target({.name = "image", .writable = true}, *parse_header(bytes, bytes.size()),
                     {.storage = std::move(storage), .data = nullptr, .backing = nullptr});
  LifeRequest life(ring);
  LifeCall call;
  ASSERT_EQ(run_alone(ring, target.start(life.request, call)), 0) << call.why;
  const Buffer data(512);  // aligned for direct I/O
  std::ranges::fill(data.bytes(), std::byte{0});
  TestTag tag(ring);
  EXPECT_EQ(run_alone(ring, target.submit(tag.make(Op::write, 5 << 19, data.bytes()))), 0);
  EXPECT_EQ(run_alone(ring, target.stop(life.request, call)), 0);
  EXPECT_EQ(folder.run("qemu-img check -U image.qcow2"), 0) << folder.output();
}

}  // namespace
}  // namespace sluice::qcow2::test
