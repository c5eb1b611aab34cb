// Valid names of devices, and the device that a command line argument names.
#include "daemon/device_name.hpp"
#include "daemon/state_lock.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "support/state_folder.hpp"

namespace sluice::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

DeviceRecord living(const Named& named) {
  DeviceRecord record = record_of(named);
  record.pid = getpid();
  record.pid_started = process_start_time(record.pid).value();
  return record;
}

std::string missing(std::string_view word) {
  const auto found = find_device(word);
  EXPECT_FALSE(found.has_value()) << word << " is device " << *found;
  EXPECT_EQ(found.error().error, ENODEV) << word;
  return found ? std::string() : found.error().text;
}

TEST(DeviceName, CanBeTypedAndIsNoNumber) {
  for (const std::string name : {"db", "a", "0x1", "Data_2.old", "vm-1:disk@host+2", "7up"}) {
    EXPECT_TRUE(check_name(name).has_value()) << name;
  }
  EXPECT_TRUE(check_name(std::string(63, 'n')).has_value());
  for (const std::string name : {"", "7", "007", "-n", ".", "..", ".hidden", "_x", "a/b", "a b",
                                 "a\n", "d\xc3\xa9", "a=b", "a,b", "a*", "$x"}) {
    const auto checked = check_name(name);
    ASSERT_FALSE(checked.has_value()) << name;
    EXPECT_EQ(checked.error().error, EINVAL);
    EXPECT_THAT(checked.error().text, HasSubstr(" cannot be the name of a device: "));
  }
  EXPECT_FALSE(check_name(std::string(64, 'n')).has_value());
}

TEST(DeviceName, TheNumberAndTheNodeAreBothSaid) {
  DeviceRecord record = record_of({.id = 3});
  EXPECT_EQ(described(record), "device 3");
  record.path = "/dev/loop0";
  EXPECT_EQ(described(record), "device 3 (/dev/loop0)");
  record.name = "db";
  EXPECT_EQ(described(record), "device 3 (db, /dev/loop0)");
  EXPECT_EQ(with_number({EBUSY, "/dev/loop0 is in use: unmount it"}, record).text,
            "device 3 (db, /dev/loop0) is in use: unmount it");
  EXPECT_EQ(with_number({EBUSY, "/dev/loop01 is in use"}, record).text, "/dev/loop01 is in use");
  record.pid = 7;
  record.recovery = "none";
  EXPECT_EQ(server_is_gone(record).text,
            "the server of device 3 (db, /dev/loop0), process 7, is gone: use 'sluice del -n 3', "
            "and add the device again");
  record.recovery = "wait";
  EXPECT_THAT(server_is_gone(record).text, HasSubstr("is gone: use 'sluice recover -n 3'"));
}

TEST(FindDevice, ByNumberWhetherItExistsOrNot) {
  const StateFolder state;
  EXPECT_EQ(find_device("0"), 0U);
  EXPECT_EQ(find_device("1048575"), 1048575U);
  EXPECT_THAT(missing("1048576"), HasSubstr("there is no device '1048576': 'sluice list' shows"));
  EXPECT_THAT(missing("4294967295"), HasSubstr("there is no device"));
  EXPECT_THAT(missing("-1"), HasSubstr("there is no device '-1'"));
  EXPECT_THAT(missing(""), HasSubstr("the device is empty"));
}

TEST(FindDevice, ByNameTheLivingOneFirst) {
  StateFolder state;
  state.add({.id = 3, .name = "db", .path = "/dev/loop7"});
  EXPECT_EQ(find_device("db"), 3U) << "also when it has no server any more";
  EXPECT_EQ(find_device("/dev/sluice/db"), 3U) << "the link is gone, the device is not";
  state.add_record(living({.id = 2, .name = "db", .path = "/dev/loop7"}));
  EXPECT_EQ(find_device("db"), 2U);
  EXPECT_EQ(find_device("/dev/loop7"), 2U);
  EXPECT_THAT(missing("dc"), HasSubstr("there is no device 'dc'"));
  EXPECT_THAT(missing("/dev/sluice/dc"), HasSubstr("there is no device '/dev/sluice/dc'"));
}

TEST(FindDevice, ByPathAsItIsWrittenAndByLinks) {
  StateFolder state;
  const fs::path folder = state.path() / "folder";
  fs::create_directory(folder);
  std::ofstream(folder / "view.img") << "x";
  std::ofstream(folder / "other.img") << "x";
  fs::create_symlink("folder/view.img", state.path() / "link");
  fs::create_symlink("folder", state.path() / "way");
  state.add({.id = 5, .frontend = "fuse", .path = folder / "view.img", .at = folder / "view.img"});
  EXPECT_EQ(find_device((folder / "view.img").native()), 5U);
  EXPECT_EQ(find_device((folder / "../folder/./view.img").native()), 5U);
  EXPECT_EQ(find_device((state.path() / "link").native()), 5U);
  EXPECT_EQ(find_device((state.path() / "way/view.img").native()), 5U);
  fs::create_directories(state.path() / "far/away");
  fs::create_symlink(state.path() / "far/away", folder / "out");
  EXPECT_THAT(missing((folder / "out/../view.img").native()), HasSubstr("there is no device"))
      << "it is /far/view.img";
  fs::create_symlink(folder / "view.img", state.path() / "far/view.img");
  EXPECT_EQ(find_device((folder / "out/../view.img").native()), 5U);
  const fs::path before = fs::current_path();
  fs::current_path(folder);
  EXPECT_EQ(find_device("view.img"), 5U);
  EXPECT_EQ(find_device("./view.img"), 5U);
  EXPECT_THAT(missing("other.img"), HasSubstr("there is no device 'other.img'"));
  fs::current_path(before);
  EXPECT_THAT(missing(folder.native()), HasSubstr("there is no device")) << "what is around it";
}

TEST(FindDevice, ADirectoryIsTheFileInIt) {
  StateFolder state;
  const fs::path folder = state.path() / "folder";
  fs::create_directory(folder);
  state.add({.id = 6, .frontend = "fuse", .path = folder / "disk", .at = folder});
  EXPECT_EQ(find_device(folder.native()), 6U);
  EXPECT_EQ(find_device((folder / "disk").native()), 6U);
  EXPECT_THAT(missing(state.path().native()), HasSubstr("there is no device"));
}

TEST(FindDevice, NodesOfUblkHaveTheirNumberInTheName) {
  const StateFolder state;
  EXPECT_EQ(find_device("/dev/ublkb917"), 917U) << "also one that is gone";
  EXPECT_EQ(find_device("/dev/ublkc917"), 917U);
  EXPECT_THAT(missing("/dev/ublkb"), HasSubstr("there is no device"));
  EXPECT_THAT(missing("/dev/null"), HasSubstr("there is no device '/dev/null'"));
  EXPECT_THAT(missing("/dev/nothing\n"), HasSubstr("there is no device '/dev/nothing\\x0a'"));
}

TEST(ClaimName, FreesWhatADeadDeviceHad) {
  StateFolder state;
  const auto lock = StateLock::take();
  ASSERT_TRUE(lock) << lock.error().text;
  state.add({.id = 3, .name = "db", .frontend = "loop", .path = "/dev/loop7"});
  EXPECT_TRUE(claim_name("other", *lock).has_value());
  EXPECT_TRUE(read_record(3).has_value());
  EXPECT_TRUE(claim_name("db", *lock).has_value());
  EXPECT_FALSE(read_record(3).has_value()) << "it had no server, and nothing else was left of it";
  state.add_record(living({.id = 4, .name = "db", .frontend = "loop", .path = "/dev/loop7"}));
  const auto claimed = claim_name("db", *lock);
  ASSERT_FALSE(claimed.has_value());
  EXPECT_EQ(claimed.error().error, EEXIST);
  EXPECT_EQ(claimed.error().text,
            "device 4 (db, /dev/loop7) has the name 'db': choose another --name, or delete it with "
            "'sluice del db'");
  EXPECT_TRUE(claim_name("", *lock).has_value());
}

TEST(StateFile, KeepsTheNameAndRefusesWhatIsNone) {
  StateFolder state;
  state.add({.id = 3, .name = "db"});
  EXPECT_EQ(read_record(3)->name, "db");
  std::string text = to_json(*read_record(3));
  text.replace(text.find("\"db\""), 4, "\"../x\"");
  state.add_text(3, text);
  EXPECT_THAT(read_record(3).error().text, HasSubstr("cannot be the name of a device"));
}

TEST(StateFile, ADamagedOneIsNamedWithoutTheWordsOfALibrary) {
  StateFolder state;
  state.add({.id = 3});
  const std::string whole = to_json(*read_record(3));
  std::string no_size = whole;
  no_size.replace(no_size.find("size_bytes"), 4, "side");
  std::string text_for_number = whole;
  text_for_number.replace(text_for_number.find("\"depth\": 1"), 10, "\"depth\": \"x\"");
  for (const std::string& text : {whole.substr(0, 50), std::string(), no_size, text_for_number,
                                  std::string("[]"), std::string("\xff")}) {
    state.add_text(3, text);
    const auto record = read_record(3);
    ASSERT_FALSE(record.has_value()) << text;
    EXPECT_THAT(record.error().text, HasSubstr(record_path(3) + " cannot be used"));
    EXPECT_THAT(record.error().text, testing::Not(HasSubstr("exception")));
  }
  EXPECT_EQ(read_record(4).error().text, "there is no device 4: 'sluice list' shows all");
}

}  // namespace
}  // namespace sluice::test
