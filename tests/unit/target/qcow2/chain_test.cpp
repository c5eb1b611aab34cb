// Chains that change while requests run: external snapshots and stream, on files, with QEMU as the
// judge.
#include <atomic>
#include <thread>

#include "unit/target/qcow2/chain_rig.hpp"

namespace sluice::qcow2::test {
namespace {

using testing::HasSubstr;

TEST_F(ChainOfImages, GrowsUnderLoad) {
  Served served(image("image.qcow2"), oracle_);
  std::atomic<bool> ends = false;
  std::thread load([&] {
    std::mt19937_64 random(1);
    while (!ends && !testing::Test::HasFailure()) served.ask(random);
  });
  std::string below = "image.qcow2";
  for (const std::string name : {"one.qcow2", "two.qcow2", "three.qcow2"}) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_EQ(served.control(snapshot_to(name, below)), "");
    below = name;
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  ends = true;
  load.join();
  EXPECT_EQ(served.recorded, image("three.qcow2"));
  // Others may read the former ones, and nobody may write to any of them.
  run("qemu-io -r -f qcow2 -c 'read 0 64k' two.qcow2");
  EXPECT_NE(folder_.run("qemu-io -f qcow2 -c 'write 0 64k' two.qcow2"), 0);
  EXPECT_NE(folder_.run("qemu-io -f qcow2 -c 'write 0 64k' three.qcow2"), 0);
  // As after a handover that has failed.
  served.end();
  served.begin();
  std::mt19937_64 random(2);
  for (int i = 0; i < 50; ++i) served.ask(random);
  served.close();
  for (const std::string name : {"image.qcow2", "one.qcow2", "two.qcow2"}) {
    run("qemu-img check -q " + name);
  }
  expect_contents("three.qcow2");
  Served again(served.recorded, oracle_);
  for (int i = 0; i < 50; ++i) again.ask(random);
}

TEST_F(ChainOfImages, AppliesNoSnapshotToTheNewImageWhileItIsInUse) {
  Served served(image("image.qcow2"), oracle_);
  EXPECT_EQ(served.control(snapshot_to("one.qcow2", "image.qcow2")), "");
  Spec verb{.target = "snapshot-create"};
  verb.set("name", std::string("first"));
  EXPECT_EQ(served.control(verb), "");
  verb.target = "snapshot-apply";
  EXPECT_THAT(served.control(verb), HasSubstr("in use"));
}

TEST_F(ChainOfImages, StaysAsItIsIfItCannotBeRecorded) {
  Served served(image("image.qcow2"), oracle_);
  std::mt19937_64 random(1);
  for (int i = 0; i < 50; ++i) served.ask(random);
  Spec verb = snapshot_to("one.qcow2", "image.qcow2");
  run("cp one.qcow2 before");
  served.record_fails = true;
  EXPECT_THAT(served.control(verb), HasSubstr("cannot be written"));
  for (int i = 0; i < 50; ++i) served.ask(random);
  run("cmp -n $(stat -c %s before) one.qcow2 before");
  served.record_fails = false;
  EXPECT_EQ(served.control(verb), "");
  for (int i = 0; i < 50; ++i) served.ask(random);
  served.close();
  expect_contents("one.qcow2");
}

TEST_F(ChainOfImages, RefusesAnOverlayThatDoesNotFit) {
  Served served(image("image.qcow2"), oracle_);
  const Spec verb = snapshot_to("one.qcow2", "image.qcow2");
  const auto refuses = [&](const std::string& create, const std::string& why) {
    run(create);
    EXPECT_THAT(served.control(verb), HasSubstr(why)) << create;
  };
  refuses("qemu-img create -q -f qcow2 -u -b image.qcow2 -F qcow2 one.qcow2 17M", "17825792 bytes");
  refuses("qemu-img create -q -f qcow2 one.qcow2 16M", "fresh one");
  refuses("qemu-img create -q -f qcow2 -u -b image.qcow2 -F raw one.qcow2 16M", "fresh one");
  refuses("truncate -s 0 one.qcow2; truncate -s 1M one.qcow2", "magic");
  refuses(
      "qemu-img create -q -f qcow2 -u -b base -F qcow2 one.qcow2 16M && qemu-img rebase -u -b ''"
      " one.qcow2 && qemu-io -f qcow2 -c 'write 0 64k' one.qcow2 && qemu-img rebase -u -b"
      " image.qcow2 -F qcow2 one.qcow2",
      "not empty");
  std::mt19937_64 random(1);
  for (int i = 0; i < 50; ++i) served.ask(random);
}

TEST_F(ChainOfImages, IsStreamedUnderLoad) {
  Served served(image("image.qcow2"), oracle_);
  std::mt19937_64 random(1);
  for (int i = 0; i < 20; ++i) served.ask(random);
  EXPECT_EQ(served.control(snapshot_to("one.qcow2", "image.qcow2")), "");
  for (int i = 0; i < 20; ++i) served.ask(random);
  const Spec stream{.target = "stream"};
  const Spec two = snapshot_to("two.qcow2", "one.qcow2");  // takes longer than a short job
  EXPECT_EQ(served.control(stream), "");
  EXPECT_THAT(served.control(stream), HasSubstr("already"));
  EXPECT_THAT(served.control(two), HasSubstr("being streamed"));
  Spec cancel = stream;
  cancel.set("cancel", true);
  EXPECT_EQ(served.control(cancel), "");
  EXPECT_EQ(served.control(stream), "");
  for (int i = 0; i < 4000 && served.job_runs(); ++i) served.ask(random);
  EXPECT_FALSE(served.job_runs());
  EXPECT_THAT(served.control(stream), HasSubstr("no backing file"));
  run("rm base image.qcow2");
  EXPECT_EQ(served.stack->files().size(), 1U) << "the files below are closed";
  for (int i = 0; i < 100; ++i) served.ask(random);
  served.close();
  run("qemu-img info one.qcow2 > info; ! grep backing info");
  expect_contents("one.qcow2");
}

// A server that ends, in any way, leaves the rest to the next one.
TEST_F(ChainOfImages, IsStreamedOnByTheNextServer) {
  Served served(image("image.qcow2"), oracle_);
  served.record_fails = true;
  EXPECT_THAT(served.control({.target = "stream"}), HasSubstr("cannot be written"));
  EXPECT_FALSE(served.job_runs());
  served.record_fails = false;
  EXPECT_EQ(served.control({.target = "stream"}), "");
  Spec streamed = image("image.qcow2");
  streamed.set("stream", true);
  EXPECT_EQ(served.recorded, streamed);
  served.end();
  served.begin();
  EXPECT_TRUE(served.job_runs());
  served.close();
  Served next(streamed, oracle_);
  std::mt19937_64 random(1);
  for (int i = 0; i < 4000 && next.job_runs(); ++i) next.ask(random);
  EXPECT_FALSE(next.job_runs());
  // The option is for this image alone.
  EXPECT_EQ(next.control(snapshot_to("one.qcow2", "image.qcow2")), "");
  EXPECT_EQ(next.recorded, image("one.qcow2"));
  next.close();
  expect_contents("one.qcow2");
  run("qemu-img info image.qcow2 > info; ! grep backing info");
  Served without(streamed, oracle_);
  EXPECT_FALSE(without.job_runs()) << "it has no backing file";
}

TEST_F(ChainOfImages, IsNotStreamedOnOnceThatIsCancelled) {
  Served served(image("image.qcow2"), oracle_);
  EXPECT_EQ(served.control({.target = "stream"}), "");
  Spec cancel{.target = "stream"};
  cancel.set("cancel", true);
  if (served.control(cancel).empty()) EXPECT_EQ(served.recorded, image("image.qcow2"));
  served.end();
  served.begin();
  EXPECT_FALSE(served.job_runs());
}

TEST_F(ChainOfImages, StreamsOnlyWhatIsWritten) {
  Spec spec = image("image.qcow2");
  spec.set("stream", true);
  spec.set("read_only", true);
  const auto opened = Stack::open(spec, false);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().text, HasSubstr("stream needs an image"));
}

}  // namespace
}  // namespace sluice::qcow2::test
