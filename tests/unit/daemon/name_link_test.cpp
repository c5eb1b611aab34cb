// The properties of a block device for udev.
#include "daemon/name_link.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "support/state_folder.hpp"

namespace sluice::test {
namespace {

TEST(UdevProperties, AreThoseOfADisk) {
  StateFolder state;
  DeviceRecord record =
      record_of({.id = 3, .name = "db", .frontend = "ublk", .path = "/dev/ublkb3"});
  state.add_record(record);
  EXPECT_EQ(udev_properties("ublkb3"),
            "ID_VENDOR=Sluice\nID_MODEL=Sluice_null\nID_MODEL_ENC=Sluice\\x20null\n"
            "ID_SERIAL=Sluice_null_db\nID_SERIAL_SHORT=db\nSLUICE_NUMBER=3\nSLUICE_NAME=db\n")
      << "it outlives its server";
  record.name.clear();
  state.add_record(record);
  EXPECT_THAT(udev_properties("ublkb3"), testing::EndsWith("ID_SERIAL_SHORT=3\nSLUICE_NUMBER=3\n"));
  EXPECT_EQ(udev_properties("ublkb33"), "");
  EXPECT_EQ(udev_properties("ublkb3p1"), "");
  EXPECT_EQ(udev_properties(""), "");
}

TEST(UdevProperties, ALoopDeviceIsOursWhileItsServerLives) {
  StateFolder state;
  DeviceRecord record = record_of({.id = 3, .name = "db", .path = "/dev/loop7"});
  state.add_record(record);
  EXPECT_EQ(udev_properties("loop7"), "") << "it may be anybody's";
  record.pid = getpid();
  record.pid_started = process_start_time(record.pid).value();
  state.add_record(record);
  EXPECT_THAT(udev_properties("loop7"), testing::EndsWith("SLUICE_NAME=db\n"));
}

}  // namespace
}  // namespace sluice::test
