// What an image has itself is moved to its backing file: with failures at each request to one of
// the two, with power cuts at their writes and flushes, and while requests change the image.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <tuple>

#include "target/life/life_call.hpp"
#include "unit/target/qcow2/image_rig.hpp"

namespace sluice::qcow2::test {
namespace {

constexpr uint64_t kMovedDisk = 1 << 20;

// How the two files are made. `content` is a raw file of the disk's size.
struct Pair {
  const char* name;
  const char* base;     // makes `base` of `content`
  const char* options;  // of the image, with the format of the base
};
constexpr Pair kPairs[] = {
    {"Raw", "cp content base", "-F raw"},
    // Most of its tables are not cached when a flush fails.
    {"Small", "qemu-img convert -f raw -O qcow2 -o cluster_size=512 content base", "-F qcow2"},
    {"Compressed", "qemu-img convert -c -f raw -O qcow2 content base",
     "-F qcow2 -o cluster_size=4k"},
    {"Snapshot",
     "qemu-img convert -f raw -O qcow2 -o cluster_size=4k content base &&"
     " qemu-img snapshot -c one base",
     "-F qcow2 -o extended_l2=on"},
    {"Old", "qemu-img convert -f raw -O qcow2 -o compat=0.10 content base",
     "-F qcow2 -o compat=0.10"},
};
constexpr const char* kWrites =
    "qemu-io -f qcow2 -c 'write -P 2 130k 70k' -c 'write -z 400k 64k' -c 'write -c -P 3 512k 64k'"
    " -c 'write -P 4 1020k 4k' -c 'write -P 5 650k 100k' -c 'discard 192k 64k' image.qcow2";

// The whole disk, and what the image no longer uses.
struct MovingDown {
  Task run(Request& request) {
    for (uint64_t offset = 0; offset < kMovedDisk;) {
      uint64_t bytes = 0;
      Task step = image.move_down(request, offset, offset, bytes);
      if (const Status status = co_await step; !status.ok()) co_return status;
      moved += bytes;
    }
    Request flush = request.child(0, uint64_t{0});
    flush.op = Op::flush;
    Task flushing = image.submit(flush);
    co_return co_await flushing;
  }

  Qcow2Target& image;
  uint64_t moved = 0;
};

// The files of a pair, as QEMU has made them.
class Files {
 public:
  explicit Files(const Pair& pair) : is_raw(std::string_view(pair.base).starts_with("cp")) {
    std::mt19937_64 random(3);
    std::vector<std::byte> content(kMovedDisk);
    for (uint64_t i = 0; i < 700 << 10; ++i) content[i] = static_cast<std::byte>(random());
    folder.write("content", content);
    run(pair.base);
    run(std::string("qemu-img create -q -f qcow2 -b base ") + pair.options + " image.qcow2 1M");
    run(kWrites);
    run("qemu-img convert -f qcow2 -O raw image.qcow2 expected");
    base = folder.read("base");
    image = folder.read("image.qcow2");
    expected = folder.read("expected");
  }

  void run(const std::string& command) {
    EXPECT_EQ(folder.run(command), 0) << command << ": " << folder.output();
  }

  // Of the contents of the disks below, read by QEMU; leaks are allowed.
  testing::AssertionResult has_all(const std::vector<std::byte>& base_now,
                                   const std::vector<std::byte>& image_now) {
    folder.write("base", base_now);
    folder.write("image.qcow2", image_now);
    std::string commands = "qemu-img check -q image.qcow2 || [ $? = 3 ] &&";
    if (!is_raw) commands += " (qemu-img check -q base || [ $? = 3 ]) &&";
    commands += " qemu-img convert -f qcow2 -O raw image.qcow2 found && cmp found expected";
    if (folder.run(commands) == 0) return testing::AssertionSuccess();
    return testing::AssertionFailure() << folder.output();
  }

  WorkFolder folder;
  const bool is_raw;
  std::vector<std::byte> base;
  std::vector<std::byte> image;
  std::vector<std::byte> expected;
};

struct MoveRig {
  explicit MoveRig(Files& from) : files(from) {
    auto base_storage = load(files.base, base_disk);
    std::unique_ptr<Target> below;
    if (files.is_raw) {
      below = std::move(base_storage);
    } else {
      auto made =
          make("base", files.base, {.storage = std::move(base_storage), .data = {}, .backing = {}});
      base = made.get();
      below = std::move(made);
    }
    auto image_storage = load(files.image, image_disk);
    image = make("image", files.image,
                 {.storage = std::move(image_storage), .data = {}, .backing = std::move(below)});
    LifeCall call;
    if (base != nullptr) EXPECT_EQ(run([&](Request& each) { return base->start(each, call); }), 0);
    EXPECT_EQ(run([&](Request& each) { return image->start(each, call); }), 0);
  }

  std::unique_ptr<VolatileDisk> load(std::vector<std::byte> bytes, VolatileDisk*& disk) {
    bytes.resize((bytes.size() + 511) / 512 * 512);
    auto made = std::make_unique<VolatileDisk>(power, bytes.size(), false);
    made->offer_discard();
    made->load(bytes);
    disk = made.get();
    return made;
  }
  static std::unique_ptr<Qcow2Target> make(const std::string& name,
                                           const std::vector<std::byte>& bytes,
                                           Qcow2Target::Parts parts) {
    auto header = parse_header(bytes, bytes.size());
    if (!header) throw std::runtime_error(header.error().text);
    return std::make_unique<Qcow2Target>(
        Image::Options{.name = name, .writable = true, .cache_bytes = 0}, *header,
        std::move(parts));
  }

  template <typename Work>
  int run(const Work& work) {
    LifeRequest life(ring);
    Task task = work(life.request);
    ring.perform_all();
    EXPECT_TRUE(task.finished());
    return task.status().error();
  }
  int move_all() {
    MovingDown all{.image = *image};
    const int error = run([&](Request& each) { return all.run(each); });
    moved = all.moved;
    return error;
  }
  int stop() {
    LifeCall call;
    const int stopped = run([&](Request& each) { return image->stop(each, call); });
    if (base == nullptr) return stopped;
    return std::max(stopped, run([&](Request& each) { return base->stop(each, call); }));
  }

  // Read by us.
  testing::AssertionResult has_all() {
    TestTag tag(ring);
    std::vector<std::byte> found(kMovedDisk);
    Task reading = image->submit(tag.make(Op::read, 0, std::span(found)));
    ring.perform_all();
    if (!reading.status().ok()) {
      return testing::AssertionFailure() << "errno " << reading.status().error();
    }
    const auto differs = std::ranges::mismatch(found, files.expected).in1 - found.begin();
    if (static_cast<uint64_t>(differs) == kMovedDisk) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "another byte at " << differs;
  }

  std::vector<std::byte> cut(const VolatileDisk& disk, VolatileDisk::Left left) {
    return disk.after_cut(left, random);
  }

  Files& files;
  std::mt19937_64 random{1};
  Power power{1};
  ManualRing ring;
  VolatileDisk* base_disk = nullptr;
  VolatileDisk* image_disk = nullptr;
  Qcow2Target* base = nullptr;  // null: raw
  std::unique_ptr<Qcow2Target> image;
  uint64_t moved = 0;
};

// Of so many, in a short run.
int some_of(int count) { return std::getenv("SLUICE_TEST_FULL") != nullptr ? 1 : 1 + count / 12; }

// How many requests to the disks below there are.
int requests_of_all(Files& files) {
  MoveRig rig(files);
  int seen = 0;
  const auto count = [&](const Request&) {
    ++seen;
    return 0;
  };
  rig.base_disk->fails = count;
  rig.image_disk->fails = count;
  EXPECT_EQ(rig.move_all(), 0);
  rig.base_disk->fails = {};
  rig.image_disk->fails = {};
  EXPECT_EQ(rig.stop(), 0);
  return seen;
}

class MoveDown : public WithQemu, public testing::WithParamInterface<Pair> {};

TEST_P(MoveDown, EmptiesTheImage) {
  Files files(GetParam());
  MoveRig rig(files);
  EXPECT_TRUE(rig.has_all());
  EXPECT_EQ(rig.move_all(), 0);
  EXPECT_GT(rig.moved, 300U << 10);
  EXPECT_TRUE(rig.has_all());
  EXPECT_EQ(rig.move_all(), 0);
  EXPECT_EQ(rig.moved, 0U) << "nothing is left";
  EXPECT_EQ(rig.stop(), 0);
  const auto newest = VolatileDisk::Left::newest;
  EXPECT_TRUE(files.has_all(rig.cut(*rig.base_disk, newest), rig.cut(*rig.image_disk, newest)));
  files.run("qemu-img check -q image.qcow2");
  files.run("qemu-img convert -f " + std::string(files.is_raw ? "raw" : "qcow2") +
            " -O raw base found && cmp found expected");
  if (!files.is_raw) files.run("qemu-img check -q base");
  if (std::string_view(GetParam().name) != "Snapshot") return;
  files.run("qemu-img convert -l one -O raw base one && cmp one content");
}

// As Chain makes it then, the base is one that is only read.
TEST_P(MoveDown, ThatFailsAtAnyRequestLosesNothing) {
  Files files(GetParam());
  const auto newest = VolatileDisk::Left::newest;
  const int last = requests_of_all(files);
  const int stride = some_of(last);
  for (int failing = 0; failing < last && !testing::Test::HasFailure(); failing += stride) {
    MoveRig rig(files);
    int seen = 0;
    bool is_image_flush = false;
    const auto fails = [&](const Request& request, bool is_image) {
      if (seen++ != failing) return 0;
      is_image_flush = is_image && request.op == Op::flush;
      return request.op == Op::write && failing % 2 == 0 ? ENOSPC : EIO;
    };
    rig.base_disk->fails = [&](const Request& request) { return fails(request, false); };
    rig.image_disk->fails = [&](const Request& request) { return fails(request, true); };
    std::ignore = rig.move_all();
    EXPECT_GT(seen, failing);
    rig.base_disk->fails = {};
    rig.image_disk->fails = {};
    if (rig.base != nullptr) {
      rig.run([&](Request& each) { return rig.base->freeze(each); });
    }
    // What was written before a failed flush is lost, also to readers, until the image is opened
    // again.
    if (!is_image_flush) EXPECT_TRUE(rig.has_all()) << "request " << failing;
    std::ignore = rig.stop();
    EXPECT_TRUE(files.has_all(rig.cut(*rig.base_disk, newest), rig.cut(*rig.image_disk, newest)))
        << "request " << failing;
  }
}

// A flush that fails may lose what was written before, which then reads as something else.
TEST_P(MoveDown, MovesNothingThatTheImageHasLost) {
  Files files(GetParam());
  MoveRig rig(files);
  std::vector<std::byte> memory(64 << 10, std::byte{9});
  TestTag tag(rig.ring);
  Task writing = rig.image->submit(tag.make(Op::write, 300 << 10, std::span(memory)));
  rig.ring.perform_all();
  EXPECT_TRUE(writing.status().ok());
  rig.image_disk->fails = [](const Request& request) { return request.op == Op::flush ? EIO : 0; };
  EXPECT_EQ(rig.run([&](Request& each) { return rig.image->submit(each); }), EIO);
  rig.image_disk->fails = {};
  EXPECT_EQ(rig.move_all(), EIO);
  std::ignore = rig.stop();
  const auto newest = VolatileDisk::Left::newest;
  EXPECT_TRUE(files.has_all(rig.cut(*rig.base_disk, newest), rig.cut(*rig.image_disk, newest)));
}

// What the base has copied around the new data is lost, until it is read anew.
TEST_P(MoveDown, ShowsNothingThatTheBaseHasLost) {
  constexpr uint64_t kPart = 4096;
  Files files(GetParam());
  MoveRig rig(files);
  rig.base_disk->fails = [](const Request& request) { return request.op == Op::flush ? EIO : 0; };
  EXPECT_EQ(rig.move_all(), EIO);
  rig.base_disk->fails = {};
  std::vector<std::byte> found(kPart);
  for (uint64_t offset = 0; offset < kMovedDisk; offset += kPart) {
    TestTag tag(rig.ring);
    Task reading = rig.image->submit(tag.make(Op::read, offset, std::span(found)));
    rig.ring.perform_all();
    const auto expected = std::span(files.expected).subspan(offset, kPart);
    const int error = reading.status().error();
    EXPECT_TRUE(error == EIO || (error == 0 && std::ranges::equal(found, expected))) << offset;
  }
  if (rig.base != nullptr) rig.run([&](Request& each) { return rig.base->freeze(each); });
  EXPECT_TRUE(rig.has_all());
}

TEST_P(MoveDown, SurvivesAPowerCutAtAnyTime) {
  struct Cut {
    std::vector<std::byte> base;
    std::vector<std::byte> image;
  };
  Files files(GetParam());
  MoveRig rig(files);
  std::vector<Cut> cuts;
  rig.power.on_event = [&] {
    for (const auto left : {VolatileDisk::Left::durable, VolatileDisk::Left::any}) {
      cuts.push_back({rig.cut(*rig.base_disk, left), rig.cut(*rig.image_disk, left)});
    }
  };
  EXPECT_EQ(rig.move_all(), 0);
  rig.power.on_event = {};
  ASSERT_GT(cuts.size(), 20U);
  const auto stride = static_cast<size_t>(some_of(static_cast<int>(cuts.size())));
  for (size_t i = 0; i < cuts.size() && !testing::Test::HasFailure(); i += stride) {
    EXPECT_TRUE(files.has_all(cuts[i].base, cuts[i].image)) << "cut " << i;
  }
  EXPECT_EQ(rig.stop(), 0);
}

// Each request is to a place of its own among those in flight.
TEST_P(MoveDown, GoesOnWhileRequestsChangeTheImage) {
  constexpr uint64_t kUnit = 4096;
  constexpr size_t kAtOnce = 4;
  Files files(GetParam());
  MoveRig rig(files);
  std::mt19937_64 random(2);
  struct Running {
    explicit Running(Ring& ring) : tag(ring) {}
    TestTag tag;
    std::vector<std::byte> memory{};
    std::unique_ptr<Task> task{};
  };
  for (int round = 0; round < 60 && !testing::Test::HasFailure(); ++round) {
    MovingDown all{.image = *rig.image};
    LifeRequest life(rig.ring);
    Task moving = all.run(life.request);
    std::array<std::unique_ptr<Running>, kAtOnce> running;
    for (size_t i = 0; i < kAtOnce; ++i) {
      const uint64_t share = kMovedDisk / kAtOnce;
      const uint64_t length = (1 + random() % 20) * kUnit;
      const uint64_t offset = i * share + random() % ((share - length) / kUnit) * kUnit;
      running[i] = std::make_unique<Running>(rig.ring);
      Running& one = *running[i];
      const bool zeroes = random() % 4 == 0;
      one.memory.assign(length, zeroes ? std::byte{0} : static_cast<std::byte>(random()));
      std::ranges::copy(one.memory, files.expected.begin() + static_cast<ptrdiff_t>(offset));
      Request& request = zeroes ? one.tag.make(Op::write_zeroes, offset, length)
                                : one.tag.make(Op::write, offset, std::span(one.memory));
      one.task = std::make_unique<Task>(rig.image->submit(request));
      for (uint64_t some = random() % 40; some != 0 && rig.ring.pending() != 0; --some) {
        rig.ring.perform(random() % rig.ring.pending());
      }
    }
    rig.ring.settle();
    while (rig.ring.pending() != 0) rig.ring.perform(random() % rig.ring.pending());
    ASSERT_TRUE(moving.finished());
    EXPECT_EQ(moving.status().error(), 0);
    for (const auto& one : running) EXPECT_EQ(one->task->status().error(), 0);
    if (round % 10 == 0) EXPECT_TRUE(rig.has_all()) << "round " << round;
  }
  EXPECT_TRUE(rig.has_all());
  EXPECT_EQ(rig.stop(), 0);
  files.folder.write("expected", files.expected);
  const auto newest = VolatileDisk::Left::newest;
  EXPECT_TRUE(files.has_all(rig.cut(*rig.base_disk, newest), rig.cut(*rig.image_disk, newest)));
}

INSTANTIATE_TEST_SUITE_P(Images, MoveDown, testing::ValuesIn(kPairs),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace sluice::qcow2::test
