// Internal snapshots: what they keep, and what is on the disk whatever fails and whenever the power
// is cut. T4.9, T4.15, T4.24.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>

#include "unit/target/qcow2/image_rig.hpp"

namespace sluice::qcow2::test {
namespace {

using testing::HasSubstr;

constexpr uint64_t kDiskBytes = 4 << 20;

class Qcow2SnapshotVerbs : public WithQemu {};

struct SnapshotCase {
  std::string name;
  ImageRig::Setup setup;
};

class EachImage : public WithQemu, public testing::WithParamInterface<SnapshotCase> {};

std::vector<std::byte> disk_of(ImageRig& rig) {
  auto asked = rig.begin(Op::read, 0, rig.target->geometry().size_bytes);
  rig.ring.perform_all();
  EXPECT_EQ(asked->error(), 0);
  return asked->memory;
}

// What is allocated in advance is leaked as long as it runs.
testing::AssertionResult is_sound(ImageRig& rig) {
  const std::string found = rig.check();
  if (found.empty() || found.starts_with("3:")) return testing::AssertionSuccess();
  return testing::AssertionFailure() << found;
}

// Changes the disk around a few places, with patterns from `number` on.
void scribble(ImageRig& rig, uint64_t number) {
  EXPECT_EQ(rig.write(1536, 1024, number), 0);
  EXPECT_EQ(rig.write(200 << 10, 150 << 10, number + 1), 0);
  EXPECT_EQ(rig.write((1 << 20) + number * 8192, 70 << 10, number + 2), 0);
  EXPECT_EQ(rig.discard(64 << 10, 64 << 10), 0);
  EXPECT_EQ(rig.write_zeroes(300 << 10, 40 << 10), 0);
}

TEST_P(EachImage, SnapshotsKeepTheirContents) {
  ImageRig rig(GetParam().setup);
  ASSERT_EQ(rig.start(), 0);
  scribble(rig, 2);
  const auto first = disk_of(rig);
  ASSERT_EQ(rig.control("snapshot-create", "first"), 0) << rig.why;
  EXPECT_TRUE(is_sound(rig));
  EXPECT_TRUE(disk_of(rig) == first);
  scribble(rig, 10);
  const auto second = disk_of(rig);
  ASSERT_EQ(rig.control("snapshot-create", "second"), 0) << rig.why;
  ASSERT_EQ(rig.control("snapshot-create", "third"), 0) << rig.why;
  scribble(rig, 20);
  const auto last = disk_of(rig);
  EXPECT_EQ(rig.flush(), 0);
  EXPECT_TRUE(is_sound(rig));
  EXPECT_TRUE(rig.snapshot("first") == first);
  EXPECT_TRUE(rig.snapshot("second") == second);
  ASSERT_EQ(rig.control("snapshot-delete", "first"), 0) << rig.why;
  EXPECT_TRUE(is_sound(rig));
  EXPECT_TRUE(rig.snapshot("second") == second);
  EXPECT_TRUE(rig.snapshot("third") == second);
  ASSERT_EQ(rig.control("snapshot-delete", "second"), 0) << rig.why;
  scribble(rig, 30);
  EXPECT_EQ(rig.flush(), 0);
  EXPECT_TRUE(is_sound(rig));
  EXPECT_TRUE(rig.snapshot("third") == second);
  ASSERT_EQ(rig.control("snapshot-apply", "third"), 0) << rig.why;
  EXPECT_TRUE(is_sound(rig));
  EXPECT_TRUE(disk_of(rig) == second);
  scribble(rig, 20);
  EXPECT_TRUE(rig.snapshot("third") == second);
  ASSERT_EQ(rig.control("snapshot-delete", "third"), 0) << rig.why;
  EXPECT_TRUE(rig.has(1536, 1024, 20));
  EXPECT_EQ(rig.stop(), 0);
  EXPECT_EQ(rig.check(), "");
}

// As the list of snapshots on the disk, or the disk itself, says: all before a change, or all after
// it. `verb` fails at each of its requests.
bool fail_change(const SnapshotCase& now, const std::string& verb, int index, int error) {
  ImageRig rig(now.setup);
  EXPECT_EQ(rig.start(), 0);
  scribble(rig, 2);
  const auto kept = disk_of(rig);
  EXPECT_EQ(rig.control("snapshot-create", "kept"), 0) << rig.why;
  scribble(rig, 10);
  const auto changed = disk_of(rig);
  EXPECT_EQ(rig.control("snapshot-create", "other"), 0) << rig.why;
  EXPECT_EQ(rig.write(5 << 9, 1024, 40), 0);
  const auto before = disk_of(rig);
  int left = index;
  rig.on_request(
      [&](const Request& request) { return request.op != Op::flush && left-- == 0 ? error : 0; });
  const int done = rig.control(verb, verb == "snapshot-create" ? "new" : "other");
  const bool failed = left < 0;
  rig.disk->fails = nullptr;
  EXPECT_TRUE(done == 0 || done == error) << done << rig.why;
  const auto now_there = disk_of(rig);
  EXPECT_TRUE(now_there == before || (verb == "snapshot-apply" && now_there == changed));
  EXPECT_EQ(rig.flush(), 0);
  EXPECT_TRUE(is_sound(rig));
  EXPECT_TRUE(rig.snapshot("kept") == kept);
  if (verb != "snapshot-delete") EXPECT_TRUE(rig.snapshot("other") == changed);
  EXPECT_EQ(rig.write(1536, 1024, 50), 0);
  EXPECT_EQ(rig.write(700 << 10, 300 << 10, 51), 0);
  EXPECT_EQ(rig.control("snapshot-create", "more"), 0) << rig.why;
  const auto more = disk_of(rig);
  EXPECT_EQ(rig.write(1536, 1024, 52), 0);
  EXPECT_TRUE(rig.snapshot("more") == more);
  EXPECT_TRUE(rig.snapshot("kept") == kept);
  EXPECT_EQ(rig.stop(), 0);
  EXPECT_TRUE(is_sound(rig)) << "what could not be dropped may be leaked";
  return failed;
}

// The step through the events of a change. SLUICE_TEST_FULL: all of the usual image.
int step_of(const SnapshotCase& now, int usual, int other) {
  if (std::getenv("SLUICE_TEST_FULL") != nullptr) return now.name == "Usual" ? 1 : 7;
  return now.name == "Usual" ? usual : other;
}

void fail_changes(const SnapshotCase& now, const std::string& verb) {
  const int step = step_of(now, 13, 37);
  for (int index = 0; index < 400; index += step) {
    const int error = index / step % 2 == 0 ? EIO : ENOSPC;
    SCOPED_TRACE(fmt::format("{}: request {} fails with errno {}", verb, index, error));
    if (!fail_change(now, verb, index, error) || testing::Test::HasFailure()) break;
  }
}

TEST_P(EachImage, AFailedCreateLeavesTheImageAsItWas) {
  fail_changes(GetParam(), "snapshot-create");
}

TEST_P(EachImage, AFailedDeleteLeavesTheImageAsItWas) {
  fail_changes(GetParam(), "snapshot-delete");
}

TEST_P(EachImage, AFailedApplyLeavesTheImageAsItWas) { fail_changes(GetParam(), "snapshot-apply"); }

TEST_P(EachImage, APowerCutLeavesTheStateBeforeOrAfterAChange) {
  ImageRig rig(GetParam().setup);
  ASSERT_EQ(rig.start(), 0);
  scribble(rig, 2);
  const auto kept = disk_of(rig);
  ASSERT_EQ(rig.control("snapshot-create", "kept"), 0) << rig.why;
  scribble(rig, 10);
  const auto other = disk_of(rig);
  std::mt19937_64 random(7);
  std::vector<std::vector<std::byte>> left;
  const auto cut_during = [&](const std::string& verb, const std::string& name) {
    rig.power.on_event = [&] {
      left.push_back(rig.disk->after_cut(VolatileDisk::Left::any, random));
    };
    EXPECT_EQ(rig.control(verb, name), 0) << rig.why;
    rig.power.on_event = nullptr;
  };
  ASSERT_EQ(rig.flush(), 0);
  cut_during("snapshot-create", "other");
  ASSERT_EQ(rig.write(1536, 1024, 40), 0);
  ASSERT_EQ(rig.flush(), 0);
  const auto last = disk_of(rig);
  cut_during("snapshot-delete", "other");
  cut_during("snapshot-apply", "kept");
  EXPECT_GT(left.size(), 20U);
  const auto step = static_cast<size_t>(step_of(GetParam(), 11, 37));
  for (size_t i = 0; i < left.size() && !HasFailure(); i += step) {
    SCOPED_TRACE(fmt::format("cut {} of {}", i, left.size()));
    rig.folder.write("cut.qcow2", left[i]);
    const int status = rig.folder.run("qemu-img check -f qcow2 cut.qcow2");
    EXPECT_TRUE(status == 0 || status == 3) << status << rig.folder.output();
    ASSERT_EQ(rig.folder.run("qemu-img convert -f qcow2 -O raw -l kept cut.qcow2 kept.raw"), 0);
    EXPECT_TRUE(rig.folder.read("kept.raw") == kept);
    if (rig.folder.run("qemu-img convert -f qcow2 -O raw -l other cut.qcow2 other.raw") == 0) {
      EXPECT_TRUE(rig.folder.read("other.raw") == other);
    }
    ASSERT_EQ(rig.folder.run("qemu-img convert -f qcow2 -O raw cut.qcow2 disk.raw"), 0);
    const auto disk = rig.folder.read("disk.raw");
    EXPECT_TRUE(disk == other || disk == last || disk == kept);
  }
  EXPECT_EQ(rig.stop(), 0);
  EXPECT_EQ(rig.check(), "");
}

INSTANTIATE_TEST_SUITE_P(
    All, EachImage,
    testing::Values(
        SnapshotCase{.name = "Usual", .setup = {.options = "4M"}},
        SnapshotCase{.name = "OldVersion",
                     .setup = {.options = "-o compat=0.10,cluster_size=16k 4M"}},
        SnapshotCase{.name = "Subclusters",
                     .setup = {.options = "-o cluster_size=16k,extended_l2=on 4M"}},
        SnapshotCase{.name = "WideRefcounts",
                     .setup = {.options = "-o cluster_size=8k,refcount_bits=64 4M"}},
        SnapshotCase{.name = "NarrowRefcounts",
                     .setup = {.options = "-o cluster_size=32k,refcount_bits=4 4M"}},
        SnapshotCase{.name = "Overlay", .setup = {.options = "4M", .backing_bytes = 3 << 20}},
        SnapshotCase{.name = "SnapshotOfQemu",
                     .setup = {.options = "4M",
                               .commands = "qemu-io -f qcow2 -c 'write -P 1 0 2M' image.qcow2 &&"
                                           " qemu-img snapshot -c one image.qcow2 && qemu-io -f"
                                           " qcow2 -c 'write -P 1 0 128k' image.qcow2"}}),
    [](const auto& info) { return info.param.name; });

// --- Order

// The header is written once, when everything is durable, and is durable before anything is freed.
TEST_F(Qcow2SnapshotVerbs, TheHeaderIsWrittenOnceWhenEverythingIsDurable) {
  ImageRig rig({.options = "4M"});
  ASSERT_EQ(rig.start(), 0);
  scribble(rig, 2);
  std::string diary;
  rig.on_request([&](const Request& request) {
    if (request.op == Op::flush) diary += 'f';
    if (request.op == Op::discard) diary += 'd';
    if (request.op == Op::write) diary += request.offset == 0 ? 'H' : 'w';
    return 0;
  });
  ASSERT_EQ(rig.control("snapshot-create", "one"), 0) << rig.why;
  rig.disk->fails = nullptr;
  EXPECT_EQ(std::ranges::count(diary, 'H'), 1) << diary;
  const size_t header = diary.find('H');
  ASSERT_GT(header, 0U);
  EXPECT_EQ(diary[header - 1], 'f') << diary;
  EXPECT_EQ(diary.substr(header + 1, 1), "f") << diary;
  EXPECT_GT(diary.find('d'), header) << diary;
  EXPECT_EQ(rig.stop(), 0);
}

// Requests that are running when a snapshot is taken are in it as a whole, or not at all.
TEST_F(Qcow2SnapshotVerbs, AWriteIsBeforeOrAfterASnapshot) {
  for (uint64_t seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    ImageRig rig({.options = "4M"});
    ASSERT_EQ(rig.start(), 0);
    ASSERT_EQ(rig.write(0, 2 << 16, 2), 0);
    auto writing = rig.begin(Op::write, 512, 1 << 16, 3);
    auto fresh = rig.begin(Op::write, 1 << 20, 1 << 16, 4);
    for (uint64_t steps = random() % 12; steps > 0 && rig.ring.pending() != 0; --steps) {
      rig.ring.perform(random() % rig.ring.pending());
    }
    auto flushing = rig.begin(Op::flush, 0, 0);
    ASSERT_EQ(rig.control("snapshot-create", "one"), 0) << rig.why;
    auto later = rig.begin(Op::write, 512, 1 << 16, 5);
    rig.finish(random);
    for (const auto* const asked : {&writing, &fresh, &flushing, &later}) {
      ASSERT_TRUE((*asked)->task->finished());
      EXPECT_EQ((*asked)->error(), 0);
    }
    EXPECT_TRUE(rig.has(512, 1 << 16, 5));
    EXPECT_EQ(rig.flush(), 0);
    const auto kept = rig.snapshot("one");
    std::vector<std::byte> expected(1 << 16);
    BlockOracle::fill(3, 512, expected);
    EXPECT_TRUE(std::ranges::equal(expected, std::span(kept).subspan(512, expected.size())));
    BlockOracle::fill(4, 1 << 20, expected);
    EXPECT_TRUE(std::ranges::equal(expected, std::span(kept).subspan(1 << 20, expected.size())));
    EXPECT_EQ(rig.stop(), 0);
    EXPECT_EQ(rig.check(), "");
  }
}

// The clusters of former tables are used again: the image does not grow with each snapshot.
TEST_F(Qcow2SnapshotVerbs, FormerTablesAreUsedAgain) {
  ImageRig rig({.options = "-o cluster_size=4k 4M"});
  ASSERT_EQ(rig.start(), 0);
  scribble(rig, 2);
  uint64_t size = 0;
  for (uint64_t i = 0; i < 60; ++i) {
    ASSERT_EQ(rig.control("snapshot-create", "one"), 0) << rig.why;
    scribble(rig, 3 + i % 5);
    ASSERT_EQ(rig.control("snapshot-delete", "one"), 0) << rig.why;
    if (i == 5) size = rig.disk->geometry().size_bytes;
  }
  EXPECT_EQ(rig.disk->geometry().size_bytes, size);
  EXPECT_EQ(rig.stop(), 0);
  EXPECT_EQ(rig.check(), "");
}

TEST_F(Qcow2SnapshotVerbs, ApplyingBringsBackTheSize) {
  ImageRig rig({.options = "4M",
                .commands = "qemu-io -f qcow2 -c 'write -P 1 0 2M' image.qcow2 &&"
                            " qemu-img snapshot -c small image.qcow2 &&"
                            " qemu-img resize -q -f qcow2 image.qcow2 9G"});
  ASSERT_EQ(rig.start(), 0);
  EXPECT_EQ(rig.target->geometry().size_bytes, uint64_t{9} << 30);
  ASSERT_EQ(rig.write(uint64_t{8} << 30, 1 << 20, 9), 0);
  ASSERT_EQ(rig.control("snapshot-create", "large"), 0) << rig.why;
  ASSERT_EQ(rig.control("snapshot-apply", "small"), 0) << rig.why;
  EXPECT_EQ(rig.target->geometry().size_bytes, kDiskBytes);
  EXPECT_TRUE(disk_of(rig) == rig.snapshot("small"));
  EXPECT_TRUE(is_sound(rig));
  ASSERT_EQ(rig.control("snapshot-apply", "large"), 0) << rig.why;
  EXPECT_EQ(rig.target->geometry().size_bytes, uint64_t{9} << 30);
  EXPECT_TRUE(rig.has(uint64_t{8} << 30, 1 << 20, 9));
  EXPECT_EQ(rig.stop(), 0);
  EXPECT_EQ(rig.check(), "");
}

// --- What is refused

TEST_F(Qcow2SnapshotVerbs, WhatCannotBeIsRefused) {
  ImageRig rig({.options = "4M"});
  ASSERT_EQ(rig.start(), 0);
  ASSERT_EQ(rig.control("snapshot-create", "one"), 0) << rig.why;
  EXPECT_EQ(rig.control("snapshot-create", "one"), EEXIST);
  EXPECT_THAT(rig.why, HasSubstr("there is a snapshot 'one' already"));
  EXPECT_EQ(rig.control("snapshot-create", std::string(256, 'x')), EINVAL);
  EXPECT_THAT(rig.why, HasSubstr("1 to 255 bytes, found 256"));
  EXPECT_EQ(rig.control("snapshot-create", ""), EINVAL);
  EXPECT_EQ(rig.control("snapshot-delete", "two"), ENOENT);
  EXPECT_THAT(rig.why, HasSubstr("has no snapshot 'two'"));
  EXPECT_EQ(rig.control("snapshot-apply", "two"), ENOENT);
  LifeRequest life(rig.ring);
  LifeCall call;
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(rig.target->attach(life.request, call).status().ok());
  EXPECT_EQ(rig.control("snapshot-apply", "one"), EBUSY);
  EXPECT_THAT(rig.why, HasSubstr("not applied to a disk in use"));
  EXPECT_EQ(rig.control("snapshot-list"), 0);
  const JsonValue& list = rig.answer.at("snapshots");
  ASSERT_EQ(list.items.size(), 1U);
  EXPECT_EQ(list.items[0].at("name").get<std::string>(), "one");
  EXPECT_EQ(list.items[0].at("id").get<std::string>(), "1");
  ASSERT_EQ(rig.target->detach(life.request, call).status().error(), 0);
  EXPECT_EQ(rig.control("snapshot-delete", "1"), 0) << "by its id";
  EXPECT_EQ(rig.stop(), 0);
  EXPECT_EQ(rig.check(), "");
}

TEST_F(Qcow2SnapshotVerbs, AnImageThatCannotHaveThem) {
  ImageRig external({.options = "-o data_file=data.raw 4M"});
  ASSERT_EQ(external.start(), 0);
  EXPECT_EQ(external.control("snapshot-create", "one"), ENOTSUP);
  EXPECT_THAT(external.why, HasSubstr("external data file"));
  EXPECT_EQ(external.stop(), 0);
  ImageRig narrow({.options = "-o refcount_bits=1,cluster_size=4k 4M"});
  ASSERT_EQ(narrow.start(), 0);
  ASSERT_EQ(narrow.write(0, 4096, 2), 0);
  EXPECT_EQ(narrow.control("snapshot-create", "one"), EOVERFLOW);
  EXPECT_THAT(narrow.why, HasSubstr("have 1 bits"));
  EXPECT_EQ(narrow.write(0, 4096, 3), 0);
  EXPECT_EQ(narrow.stop(), 0);
  EXPECT_EQ(narrow.check(), "");
}

// It is given up while nothing has changed.
TEST_F(Qcow2SnapshotVerbs, OneThatWouldTakeTooLong) {
  ImageRig rig({.options = "4M"});
  ASSERT_EQ(rig.start(), 0);
  scribble(rig, 2);
  rig.limit = std::chrono::seconds(4);
  EXPECT_EQ(rig.control("snapshot-create", "one"), ETIMEDOUT);
  EXPECT_THAT(rig.why, HasSubstr("takes too long"));
  EXPECT_EQ(rig.write(1536, 1024, 9), 0);
  EXPECT_EQ(rig.stop(), 0);
  EXPECT_EQ(rig.check(), "");
}

// T4.24: what others have stored with their snapshots stays.
TEST_F(Qcow2SnapshotVerbs, ExtraDataOfOthersIsKept) {
  const std::string extra = big_endian_text(0, 8) + big_endian_text(kDiskBytes, 8) +
                            big_endian_text(7, 8) + std::string("more than this program knows");
  const auto bytes = std::as_bytes(std::span(extra));
  std::vector<Snapshot> list(2);
  list[0] = {.l1_offset = 3 * kCluster,
             .l1_entries = 1,
             .id = "4",
             .name = "one",
             .date_seconds = 5,
             .vm_clock_nanoseconds = 6,
             .extra_data = {bytes.begin(), bytes.end()}};
  list[1] = {.l1_offset = 3 * kCluster, .l1_entries = 1, .id = "x", .name = "4"};
  Header header = header_of(ImageBytes());
  header.snapshots = 2;
  const auto parsed = parse_snapshots(write_snapshots(list), header, 16 * kCluster);
  ASSERT_TRUE(parsed) << parsed.error().text;
  EXPECT_TRUE(parsed->snapshots[0].extra_data == list[0].extra_data);
  EXPECT_EQ(parsed->snapshots[0].vm_clock_nanoseconds, 6U);
  EXPECT_TRUE(parsed->snapshots[1].extra_data.empty());
  EXPECT_TRUE(write_snapshots(parsed->snapshots) == write_snapshots(list));
  EXPECT_EQ(find_snapshot(list, "4"), &list[1]) << "a name goes before an id";
  EXPECT_EQ(find_snapshot(list, "x"), &list[1]);
  EXPECT_EQ(find_snapshot(list, "y"), nullptr);
  EXPECT_EQ(new_snapshot_id(list), "5");
  EXPECT_EQ(new_snapshot_id({}), "1");
}

}  // namespace
}  // namespace sluice::qcow2::test
