// The active image is committed to its backing file while requests run, on files, with QEMU as the
// judge.
#include <atomic>
#include <thread>

#include "target/file/file_lock.hpp"
#include "unit/target/qcow2/chain_rig.hpp"

namespace sluice::qcow2::test {
namespace {

using testing::HasSubstr;

// On base.qcow2, or on the raw file `base`.
class CommitOfChain : public ChainOfImages {
 protected:
  void SetUp() override {
    ChainOfImages::SetUp();
    if (IsSkipped()) return;
    run("qemu-img convert -f raw -O qcow2 base base.qcow2");
    make_overlay("base.qcow2", "qcow2");
  }

  void make_overlay(const std::string& base, const std::string& format) {
    run(fmt::format("qemu-img create -q -f qcow2 -b {} -F {} image.qcow2 16M", base, format));
  }
  Spec commit(const std::string& base) const {
    Spec file{.target = "loop"};
    file.set("file", path_ + "/" + base);
    file.set("block", uint64_t{512});
    return {.target = "commit", .options = {}, .children = {file}};
  }
  static Spec with(const std::string& flag) {
    Spec verb{.target = "commit"};
    verb.set(flag, true);
    return verb;
  }
  static void write_some(Served& served, int count) {
    std::mt19937_64 random(1);
    for (int i = 0; i < count; ++i) served.ask(random);
  }
  static void wait_for_job(Served& served) {
    for (int i = 0; i < 1000 && served.job_runs(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_FALSE(served.job_runs());
  }
  bool can_be_written(const std::string& name) {
    const Descriptor file(::open((path_ + "/" + name).c_str(), O_RDWR | O_CLOEXEC));
    return !others_have_locked(file.number(), /*for_writing=*/true);
  }
  bool can_be_read(const std::string& name) {
    const Descriptor file(::open((path_ + "/" + name).c_str(), O_RDONLY | O_CLOEXEC));
    return !others_have_locked(file.number(), /*for_writing=*/false);
  }
  // Nothing is mapped in it.
  void expect_empty(const std::string& name) {
    run("qemu-img check -q " + name);
    run("qemu-img map --output=json " + name + " > map.json; ! grep '\"depth\": 0' map.json");
  }
};

TEST_F(CommitOfChain, GoesOnBelowUnderLoad) {
  Served served(image("image.qcow2"), oracle_);
  write_some(served, 100);
  EXPECT_EQ(served.control(commit("base.qcow2")), "");
  std::atomic<bool> ends = false;
  std::thread load([&] {
    std::mt19937_64 random(1);
    while (!ends && !testing::Test::HasFailure()) served.ask(random);
  });
  EXPECT_FALSE(can_be_read("base.qcow2"));
  std::string refused = "much is not yet moved";
  for (int i = 0; i < 200 && !refused.empty(); ++i) {
    refused = served.control(with("pivot"));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(refused, "");
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  ends = true;
  load.join();
  EXPECT_EQ(served.recorded, image("base.qcow2"));
  EXPECT_EQ(served.stack->files().size(), 1U) << "the image is closed";
  EXPECT_TRUE(can_be_written("image.qcow2"));
  EXPECT_FALSE(can_be_written("base.qcow2"));
  EXPECT_THAT(served.control(with("pivot")), HasSubstr("not being committed"));
  // As after a handover that has failed.
  served.end();
  served.begin();
  write_some(served, 50);
  served.close();
  expect_contents("base.qcow2");
  expect_empty("image.qcow2");
  expect_contents("image.qcow2");
  Served again(served.recorded, oracle_);
  write_some(again, 50);
}

TEST_F(CommitOfChain, RefusesOtherChangesMeanwhile) {
  Served served(image("image.qcow2"), oracle_);
  write_some(served, 50);
  EXPECT_EQ(served.control(commit("base.qcow2")), "");
  EXPECT_THAT(served.control({.target = "stream"}), HasSubstr("being committed"));
  EXPECT_THAT(served.control(snapshot_to("one.qcow2", "image.qcow2")),
              HasSubstr("being committed"));
  Spec snapshot{.target = "snapshot-create"};
  snapshot.set("name", std::string("one"));
  EXPECT_THAT(served.control(snapshot), HasSubstr("being committed"));
  EXPECT_EQ(served.control({.target = "snapshot-list"}), "");
  const auto resized = served.stack->resize(2 * kChainDisk);
  ASSERT_FALSE(resized);
  EXPECT_THAT(resized.error().text, HasSubstr("being committed"));
  Spec bitmap{.target = "bitmap-add"};
  bitmap.set("name", std::string("one"));
  EXPECT_EQ(served.control(bitmap), "");
  wait_for_job(served);
  EXPECT_THAT(served.control(with("pivot")), HasSubstr("dirty bitmaps"));
  Spec both = with("pivot");
  both.set("cancel", true);
  EXPECT_THAT(served.control(both), HasSubstr("exclude each other"));
  EXPECT_EQ(served.control(with("cancel")), "");
  EXPECT_THAT(served.control(with("cancel")), HasSubstr("not being committed"));
  EXPECT_EQ(served.control(snapshot), "");
}

TEST_F(CommitOfChain, MayBeCancelledAndBegunAgain) {
  Served served(image("image.qcow2"), oracle_);
  write_some(served, 50);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(served.control(commit("base.qcow2")), "");
    write_some(served, 20);
    EXPECT_EQ(served.control(with("cancel")), "");
    EXPECT_TRUE(can_be_read("base.qcow2"));
    EXPECT_FALSE(can_be_written("base.qcow2"));
    run("qemu-img check -q base.qcow2");
    write_some(served, 20);
  }
  EXPECT_EQ(served.control(commit("base.qcow2")), "");
  wait_for_job(served);
  // The job may be started again for what was written since.
  write_some(served, 40);
  EXPECT_EQ(served.control(commit("base.qcow2")), "");
  wait_for_job(served);
  EXPECT_EQ(served.control(with("pivot")), "");
  write_some(served, 20);
  served.close();
  expect_contents("base.qcow2");
  expect_empty("image.qcow2");
}

TEST_F(CommitOfChain, EndsWithTheServer) {
  Served served(image("image.qcow2"), oracle_);
  write_some(served, 100);
  EXPECT_EQ(served.control(commit("base.qcow2")), "");
  served.end();
  EXPECT_TRUE(can_be_read("base.qcow2")) << "the next server has it open for reading";
  served.begin();
  write_some(served, 50);
  EXPECT_THAT(served.control(with("pivot")), HasSubstr("not being committed"));
  EXPECT_EQ(served.control(commit("base.qcow2")), "");
  wait_for_job(served);
  served.close();
  run("qemu-img check -q base.qcow2");
  expect_contents("image.qcow2");
}

TEST_F(CommitOfChain, StaysAsItIsIfItCannotBeRecorded) {
  Served served(image("image.qcow2"), oracle_);
  write_some(served, 50);
  EXPECT_EQ(served.control(commit("base.qcow2")), "");
  wait_for_job(served);
  served.record_fails = true;
  EXPECT_THAT(served.control(with("pivot")), HasSubstr("cannot be written"));
  write_some(served, 50);
  served.record_fails = false;
  EXPECT_EQ(served.control(with("pivot")), "");
  write_some(served, 50);
  served.close();
  expect_contents("base.qcow2");
  expect_empty("image.qcow2");
}

TEST_F(CommitOfChain, LeavesTheDeviceInItsImageIfTheBaseIsRaw) {
  make_overlay("base", "raw");
  Served served(image("image.qcow2"), oracle_);
  write_some(served, 100);
  EXPECT_EQ(served.control(commit("base")), "");
  EXPECT_FALSE(can_be_read("base"));
  wait_for_job(served);
  EXPECT_TRUE(can_be_read("base"));
  EXPECT_FALSE(can_be_written("base"));
  EXPECT_THAT(served.control(with("pivot")), HasSubstr("not being committed"));
  served.close();
  expect_empty("image.qcow2");
  folder_.write("oracle", oracle_);
  run("cmp oracle base");
  Served again(image("image.qcow2"), oracle_);
  write_some(again, 50);
  again.close();
  expect_contents("image.qcow2");
}

TEST_F(CommitOfChain, MakesAShorterBaseLonger) {
  for (const std::string format : {"raw", "qcow2"}) {
    std::ranges::fill(oracle_, std::byte{0});
    run("qemu-img create -q -f " + format + " short 1M");
    make_overlay("short", format);
    Served served(image("image.qcow2"), oracle_);
    write_some(served, 50);
    EXPECT_EQ(served.control(commit("short")), "");
    wait_for_job(served);
    write_some(served, 20);
    if (format == "qcow2") EXPECT_EQ(served.control(with("pivot")), "");
    served.close();
    expect_contents(format == "raw" ? "image.qcow2" : "short");
  }
}

TEST_F(CommitOfChain, KeepsSnapshotsAndBitmapsOfTheBase) {
  run("qemu-img snapshot -c one base.qcow2 && qemu-img bitmap --add base.qcow2 followed");
  const auto before = oracle_;
  Served served(image("image.qcow2"), oracle_);
  write_some(served, 100);
  EXPECT_EQ(served.control(commit("base.qcow2")), "");
  wait_for_job(served);
  EXPECT_EQ(served.control(with("pivot")), "");
  Spec apply{.target = "snapshot-apply"};
  apply.set("name", std::string("one"));
  EXPECT_THAT(served.control(apply), HasSubstr("in use"));
  served.close();
  expect_contents("base.qcow2");
  run("qemu-img convert -l one -O raw base.qcow2 one");
  folder_.write("before", before);
  run("cmp one before");
  // What differs from then is dirty.
  run("qemu-img info --output=json base.qcow2 | tr -d ' \\n' | grep -F '\"flags\":[\"auto\"]'");
}

TEST_F(CommitOfChain, IsRefused) {
  const auto refuses = [&](const std::string& commands, const std::string& base,
                           const std::string& why) {
    run(commands);
    Served served(image("image.qcow2"), oracle_);
    EXPECT_THAT(served.control(commit(base)), HasSubstr(why)) << commands;
    EXPECT_TRUE(can_be_read("base.qcow2"));
    served.close();
    run("qemu-img check -q image.qcow2");
  };
  refuses("qemu-img snapshot -c one image.qcow2", "base.qcow2", "internal snapshots");
  make_overlay("base.qcow2", "qcow2");
  refuses("qemu-img bitmap --add image.qcow2 one", "base.qcow2", "dirty bitmaps");
  make_overlay("base.qcow2", "qcow2");
  refuses("cp base.qcow2 copy.qcow2", "copy.qcow2", "not the backing file");
  refuses("qemu-img resize -q base.qcow2 17M", "base.qcow2", "17825792 bytes");
  refuses("qemu-img create -q -f qcow2 image.qcow2 16M", "base", "no backing file");
  make_overlay("base.qcow2", "qcow2");
  refuses("qemu-img resize -q --shrink base.qcow2 16M", "nothing", "does not exist");
  Served served(image("image.qcow2"), oracle_);
  {
    Spec reader = image("base.qcow2");
    reader.set("read_only", true);
    const auto other = Stack::open(reader, false);
    ASSERT_TRUE(other) << other.error().text;
    EXPECT_THAT(served.control(commit("base.qcow2")), HasSubstr("in use elsewhere"));
  }
  EXPECT_EQ(served.control(commit("base.qcow2")), "");
}

}  // namespace
}  // namespace sluice::qcow2::test
