// The output of `list`, `add`, `features` and `targets`: scripts of ublk's tool look for its lines.
#include "cli/show.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "cli/features.hpp"
#include "cli/show_table.hpp"
#include "frontend/ublk/mode.hpp"
#include "support/json.hpp"
#include "target/registry.hpp"

namespace sluice::cli::test {
namespace {

using sluice::test::parsed;

DeviceListing loop_device() {
  DeviceListing device;
  device.id = 3;
  DriverListing& driver = device.driver.emplace();
  driver.info.queues = 2;
  driver.info.depth = 128;
  driver.info.state = 1;
  driver.info.max_io_buf_bytes = 524288;
  driver.info.dev_id = 3;
  driver.info.server_pid = 4711;
  driver.info.flags = 0x843;
  driver.info.owner_uid = 1001;
  driver.info.owner_gid = 100;
  driver.parameters.basic.logical_block_shift = 9;
  driver.parameters.basic.device_sectors = 2048;
  driver.parameters.devt = {.char_major = 237, .char_minor = 3, .disk_major = 259, .disk_minor = 1};
  device.record.emplace();
  device.record->id = 3;
  device.record->frontend = "ublk";
  device.record->pid = 4711;
  device.record->spec = {.target = "loop", .options = {{"file", "/tmp/a.img"}}};
  device.record->mode = "auto";
  device.record->recovery = "wait";
  device.record->threads = {4712, 4713};
  device.alive = true;
  driver.affinities = {{0}, {1}};
  return device;
}

const std::vector<Processors> kBound = {{0, 1}, {1}};

// Word `index` of the line that contains `with`, counted from 1, as in awk.
std::string word_of(const std::string& text, const std::string& with, size_t index) {
  std::istringstream lines(text);
  std::string line;
  std::string found;
  size_t matches = 0;
  while (std::getline(lines, line)) {
    if (!line.contains(with)) continue;
    ++matches;
    std::istringstream words(line);
    for (size_t i = 0; i < index; ++i) words >> found;
  }
  EXPECT_EQ(matches, 1U) << "lines with " << with << " in\n" << text;
  return found;
}

TEST(ShowDevice, PrintsWhatUblkListPrints) {
  EXPECT_EQ(device_text(loop_device(), kBound, false),
            "dev id 3: nr_hw_queues 2 queue_depth 128 block size 512 dev_capacity 2048\n"
            "\tmax rq size 524288 daemon pid 4711 state LIVE\n"
            "\tflags 0x843 [ SUPPORT_ZERO_COPY URING_CMD_COMP_IN_TASK CMD_IOCTL_ENCODE AUTO_ZC ]\n"
            "\tublkc: 237:3 ublkb: 259:1 owner: 1001:100\n"
            "\tqueue 0: tid 4712 affinity(0 1)\n"
            "\tqueue 1: tid 4713 affinity(1)\n"
            "\ttarget {\"backing_file\":\"/tmp/a.img\",\"dev_size\":1048576,\"name\":\"loop\"}\n"
            "\tspec /tmp/a.img\n"
            "\tmode auto\n"
            "\trecovery wait\n");
}

TEST(ShowDevice, HealthIsShownUnlessItIsOk) {
  DeviceListing device = loop_device();
  EXPECT_EQ(device_text(device, kBound, false).find("health"), std::string::npos);
  EXPECT_EQ(parsed(device_json(device, kBound))["health"]["state"], "ok");
  device.record->health = HealthState::degraded;
  device.record->health_reason = "mirror: a copy is gone";
  EXPECT_NE(device_text(device, kBound, false).find("\thealth degraded (mirror: a copy is gone)\n"),
            std::string::npos);
  const std::vector<DeviceListing> devices = {device};
  EXPECT_NE(device_table(devices).find("LIVE, degraded  auto"), std::string::npos)
      << device_table(devices);
  EXPECT_EQ(parsed(device_json(device, kBound))["health"]["reason"], "mirror: a copy is gone");
  device.alive = false;  // without a server the health is unknown
  EXPECT_EQ(device_text(device, kBound, false).find("health"), std::string::npos);
  EXPECT_TRUE(parsed(device_json(device, kBound))["health"].is_null());
}

// As in the pipelines of ublksrv's tests (tests/common/fio_common in ublksrv).
TEST(ShowDevice, ScriptsOfUblkFindTheirWords) {
  for (const bool verbose : {false, true}) {
    const std::string text = device_text(loop_device(), kBound, verbose);
    EXPECT_EQ(word_of(text, "pid", 7), "4711");
    EXPECT_EQ(word_of(text, "state", 9), "LIVE");
    EXPECT_EQ(word_of(text, "queue 1", 4), "4713");
  }
  EXPECT_THAT(word_of(device_text(loop_device(), kBound, false), "loop", 2),
              testing::StartsWith("{\"backing_file\":\"/tmp/a.img\","));
  DeviceListing dead = loop_device();
  dead.alive = false;
  dead.driver->info.state = 2;
  const std::string text = device_text(dead, {{}, {}}, false);
  EXPECT_EQ(word_of(text, "state", 9), "QUIESCED");
  EXPECT_EQ(word_of(text, "pid", 7), "4711");
  EXPECT_THAT(text, testing::HasSubstr("server gone: 'sluice recover -n 3' starts another"));
}

TEST(ShowDevice, SaysWhyTheModeIsNotTheBest) {
  DeviceListing device = loop_device();
  device.record->mode = "user_copy";
  device.record->mode_reason = "not 'auto': a target of this stack must see the data";
  device.record->read_only = true;
  const std::string text = device_text(device, kBound, true);
  EXPECT_THAT(text, testing::HasSubstr("\tmode user_copy (not 'auto': a target of this stack must "
                                       "see the data)\n"));
  EXPECT_THAT(text, testing::HasSubstr("\tspec /tmp/a.img (read-only)\n"));
  EXPECT_THAT(text, testing::HasSubstr("\tqueue 0: tid 4712 affinity(0 1) driver(0)\n"));
  EXPECT_THAT(text, testing::HasSubstr("\tjson {\"target\":\"loop\",\"file\":\"/tmp/a.img\"}\n"));
}

TEST(ShowDevice, KnowsLittleOfOtherServersDevices) {
  DeviceListing device = loop_device();
  device.record.reset();
  device.alive = false;
  const std::string text = device_text(device, {}, false);
  EXPECT_EQ(std::ranges::count(text, '\n'), 5);
  EXPECT_THAT(text, testing::HasSubstr("\tserver not sluice's"));
  const nlohmann::json json = parsed(device_json(device, {}));
  EXPECT_EQ(json["served_by_sluice"], false);
  EXPECT_FALSE(json.contains("spec"));
}

TEST(ShowDevice, DevicesOfOtherFrontEndsLookAlike) {
  DeviceListing device = loop_device();
  device.driver.reset();
  device.record->frontend = "loop";
  device.record->path = "/dev/loop7";
  device.record->size_bytes = 1048576;
  device.record->block_bytes = 512;
  device.record->queues = 2;
  device.record->depth = 64;
  device.record->max_io_bytes = 1048576;
  EXPECT_EQ(device_text(device, kBound, true),
            "dev id 3: nr_hw_queues 2 queue_depth 64 block size 512 dev_capacity 2048\n"
            "\tmax rq size 1048576 daemon pid 4711 state LIVE\n"
            "\tloop: /dev/loop7\n"
            "\tqueue 0: tid 4712 affinity(0 1)\n"
            "\tqueue 1: tid 4713 affinity(1)\n"
            "\ttarget {\"backing_file\":\"/tmp/a.img\",\"dev_size\":1048576,\"name\":\"loop\"}\n"
            "\tspec /tmp/a.img\n"
            "\tmode auto\n"
            "\trecovery wait\n"
            "\tjson {\"target\":\"loop\",\"file\":\"/tmp/a.img\"}\n");
  const nlohmann::json json = parsed(device_json(device, kBound));
  EXPECT_EQ(json["device"], "/dev/loop7");
  EXPECT_EQ(json["frontend"], "loop");
  EXPECT_EQ(json["size_bytes"], 1048576);
  EXPECT_EQ(json["pid"], 4711);
  device.record->threads.clear();
  EXPECT_EQ(parsed(device_json(device, {}))["state"], "STARTING");
  device.alive = false;
  EXPECT_EQ(parsed(device_json(device, {}))["state"], "DEAD");
}

TEST(ShowDevice, ANameIsShown) {
  DeviceListing device = loop_device();
  EXPECT_FALSE(device_text(device, kBound, false).contains("\tname "));
  EXPECT_EQ(parsed(device_json(device, kBound))["name"], "");
  device.record->name = "db";
  EXPECT_THAT(device_text(device, kBound, false), testing::HasSubstr("\tname db\n"));
  EXPECT_EQ(parsed(device_json(device, kBound))["name"], "db");
}

TEST(ShowDevice, DevicesOfOtherUsersAreTheirs) {
  DeviceListing device = loop_device();
  device.record.reset();
  device.driver->info.owner_uid = 4'294'967'000;  // a user without a name
  EXPECT_THAT(device_text(device, {}, false),
              testing::HasSubstr("\tserver not sluice's, but of user 4294967000: "));
  device.driver->info.owner_uid = geteuid() == 0 ? 1 : 0;
  const std::string root_or_daemon = geteuid() == 0 ? "of user daemon (1)" : "of user root (0)";
  EXPECT_THAT(device_text(device, {}, false), testing::HasSubstr(root_or_daemon));
  EXPECT_THAT(device_table({&device, 1}), testing::HasSubstr("  " + root_or_daemon + "\n"));
  device.driver->info.owner_uid = geteuid();
  EXPECT_THAT(device_text(device, {}, false), testing::HasSubstr("of another program: "));
}

TEST(ShowTable, ADeviceIsALine) {
  DeviceListing first = loop_device();
  first.record->name = "db";
  DeviceListing second = loop_device();
  second.id = 12;
  second.driver.reset();
  second.record->frontend = "fuse";
  second.record->path = "/srv/view.img";
  second.record->size_bytes = 1610612736;
  second.record->read_only = true;
  second.record->spec = {.target = "null"};
  const DeviceListing devices[] = {first, second};
  EXPECT_EQ(device_table(devices),
            "ID  NAME  DEVICE         SIZE  STATE  MODE  STACK\n"
            "3   db    /dev/ublkb3    1M    LIVE   auto  /tmp/a.img\n"
            "12  -     /srv/view.img  1.5G  LIVE   auto  null() (read-only)\n");
}

// The number of characters: of the bytes that begin one.
size_t columns(const std::string& line) {
  return static_cast<size_t>(std::ranges::count_if(
      line, [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }));
}

TEST(ShowTable, ALineFitsATerminal) {
  DeviceListing device = loop_device();
  device.driver.reset();
  device.id = 1048575;
  device.record->name = std::string(63, 'n');
  device.record->frontend = "fuse";
  device.record->path = "/home/somebody/with/a/long/way/to/the/vi\xc3\xa9w.img";
  device.record->mode = "passthrough";
  device.record->size_bytes = 1048470;
  device.record->spec.options = {{"file", std::string(100, '\n') + "\xc3\xa9\xff"}};
  device.record->threads.clear();
  std::istringstream lines(device_table({&device, 1}));
  std::string line;
  for (size_t count = 0; std::getline(lines, line); ++count) {
    EXPECT_LE(columns(line), 80U) << line;
    EXPECT_TRUE(count == 0 || line.contains("...e/vi\xc3\xa9w.img") ||
                line.contains("the/vi\xc3\xa9w.img"))
        << line;
  }
  device.record->path = "/dev/loop0";
  device.record->name.clear();
  device.record->spec.options = {{"file", std::string(100, 'x')}};
  const std::string table = device_table({&device, 1});
  EXPECT_THAT(table, testing::EndsWith("xxx...\n"));
  EXPECT_EQ(table.size() - table.find('\n') - 2, 80U);
}

TEST(ShowDevice, JsonHasEverything) {
  const nlohmann::json json = parsed(device_json(loop_device(), kBound));
  EXPECT_EQ(json["id"], 3);
  EXPECT_EQ(json["device"], "/dev/ublkb3");
  EXPECT_EQ(json["state"], "LIVE");
  EXPECT_EQ(json["size_bytes"], 1048576);
  EXPECT_EQ(json["block_bytes"], 512);
  EXPECT_EQ(json["flag_names"].size(), 4U);
  EXPECT_EQ(json["spec"]["file"], "/tmp/a.img");
  EXPECT_EQ(json["spec_text"], "/tmp/a.img");
  EXPECT_EQ(json["affinities"], nlohmann::json::parse("[[0, 1], [1]]"));
  EXPECT_EQ(json["driver_affinities"], nlohmann::json::parse("[[0], [1]]"));
  EXPECT_EQ(json["threads"], nlohmann::json::parse("[4712, 4713]"));
}

TEST(ShowDevice, NamesFromOutsideCannotBreakTheLines) {
  DeviceListing device = loop_device();
  device.record->spec.options = {{"file", "/tmp/\x1b[2Jx\npid 1\xff"}};
  const std::string text = device_text(device, kBound, true);
  EXPECT_EQ(std::ranges::count(text, '\n'), 11);
  EXPECT_FALSE(text.contains('\x1b'));
  EXPECT_FALSE(text.contains('\xff'));
  EXPECT_TRUE(nlohmann::json::accept(written(device_json(device, kBound))));
}

TEST(ShowFacts, FeaturesAreWrittenAsUblkWritesThem) {
  const std::string text = features_text(0x1 | 0x800 | 1ULL << 40);
  EXPECT_THAT(text, testing::StartsWith("ublk_drv features: 0x10000000801\n"
                                        "\tZERO_COPY           : 0x1\n"
                                        "\tAUTO_ZC             : 0x800\n"
                                        "\tunknown             : 0x10000000000\n"));
  EXPECT_THAT(text, testing::HasSubstr("\tuser_copy           : 0x80 missing\n"));
  EXPECT_FALSE(text.contains("USER_COPY"));
  EXPECT_THAT(text, testing::HasSubstr("\tauto                : can be used\n"));
  EXPECT_THAT(text,
              testing::HasSubstr("\tuser_copy           : mode 'user_copy' is not possible: "));
}

TEST(ShowFacts, EveryFeatureIsNamedOnce) {
  uint64_t seen = 0;
  for (const Feature& feature : features()) {
    EXPECT_EQ(seen & feature.bit, 0U) << feature.name;
    EXPECT_GT(feature.bit, seen) << feature.name;
    seen |= feature.bit;
  }
  const nlohmann::json json = parsed(features_json(0));
  EXPECT_EQ(seen, (1ULL << 21) - 1) << "the driver of Linux 7.3 has bits 0 to 20";
  EXPECT_EQ(json["known"].size(), features().size());
  EXPECT_EQ(json["modes"].size(), ublk::mode_names().size());
  EXPECT_EQ(json["modes"][0]["usable"], false);
  EXPECT_TRUE(json["modes"][0].contains("reason"));
  EXPECT_EQ(json["modes"][4]["usable"], true);
}

TEST(ShowFacts, TargetsAreShownWithTheirOptions) {
  const nlohmann::json json = parsed(targets_json(target_vocabulary()));
  ASSERT_EQ(json.size(), target_vocabulary().size());
  EXPECT_EQ(json[0]["name"], "loop");
  EXPECT_EQ(json[0]["prefix"], "file");
  EXPECT_EQ(json[0]["schemes"].size(), 0U);
  EXPECT_EQ(json[1]["name"], "qcow2");
  EXPECT_EQ(json[2]["name"], "overlay");
  EXPECT_EQ(json[2]["options"].size(), 0U);
  EXPECT_EQ(json[3]["name"], "nbd");
  EXPECT_EQ(json[3]["schemes"][0], "nbd");
  EXPECT_EQ(json[0]["options"][0]["name"], "file");
  EXPECT_EQ(json[0]["options"][0]["required"], true);
  const std::string text = targets_text(target_vocabulary());
  for (const TargetSyntax& target : target_vocabulary()) {
    EXPECT_TRUE(text.contains(std::string(target.name) + ": ")) << target.name;
  }
}

}  // namespace
}  // namespace sluice::cli::test
