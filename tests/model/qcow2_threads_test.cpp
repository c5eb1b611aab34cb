// The qcow2 target, used by several threads with rings of their own, in the same clusters.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <thread>

#include "model/qcow2_image.hpp"
#include "model/stripe_user.hpp"
#include "support/volatile_disk.hpp"
#include "target/qcow2/qcow2_target.hpp"

namespace sluice::test {
namespace {

using Qcow2Bytes = StripeUser::Bytes;

TEST(Qcow2Model, SeveralThreads) {
  if (std::system("command -v qemu-img >/dev/null") != 0) {
    GTEST_SKIP() << "needs qemu-img (package qemu-utils)";
  }
  for (const std::string options :
       {"cluster_size=4k", "cluster_size=512", "cluster_size=16k,extended_l2=on", "compat=0.10"}) {
    SCOPED_TRACE(options);
    const WorkFolder folder;
    const Qcow2Image image{.options = options, .size_bytes = 4 << 20};
    ASSERT_EQ(folder.run("qemu-img create -q -f qcow2 -o " + options + " image.qcow2 4M"), 0);
    Qcow2Bytes bytes = folder.read("image.qcow2");
    bytes.resize((bytes.size() + 511) / 512 * 512);
    Power power(1);
    auto disk = std::make_unique<VolatileDisk>(power, bytes.size(), false);
    VolatileDisk* const storage = disk.get();
    storage->offer_discard();
    storage->load(bytes);
    qcow2::Qcow2Target target({.name = "image", .writable = true},
                              *qcow2::parse_header(bytes, bytes.size()),
                              {.storage = std::move(disk), .data = nullptr, .backing = nullptr});
    LifeCall call;
    ASSERT_EQ(perform_alone([&](Request& request) { return target.start(request, call); }), 0);
    std::vector<std::unique_ptr<StripeUser>> users;
    std::vector<std::thread> threads;
    for (uint64_t i = 0; i < StripeUser::kThreads; ++i) {
      users.push_back(std::make_unique<StripeUser>(target, image.size_bytes, i));
      threads.emplace_back([&user = *users.back()] { user.run(300); });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(perform_alone([&](Request& request) { return target.stop(request, call); }), 0);
    std::mt19937_64 random;
    folder.write("stopped.qcow2", storage->after_cut(VolatileDisk::Left::newest, random));
    const Qcow2Bytes found = examine_image(folder, "stopped.qcow2", image, false);
    ASSERT_EQ(found.size(), image.size_bytes);
    for (const auto& user : users) EXPECT_EQ(user->check(found), "");
  }
}

}  // namespace
}  // namespace sluice::test
