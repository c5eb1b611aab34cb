// A device and its record: the record has each step before the step leaves a trace.
#include "daemon/device.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/fake_frontend.hpp"
#include "support/state_folder.hpp"
#include "target/registry.hpp"

namespace sluice::test {
namespace {

class DeviceTest : public testing::Test, private FrontendListener {
 protected:
  static ServeOptions options() {
    ServeOptions options{.spec = *parse_spec("mem:1M", target_vocabulary()), .frontend = {}};
    options.frontend.type = &kFakeFrontend;
    return options;
  }
  // Adds a device and serves it.
  std::unique_ptr<Device> serve() {
    auto device = Device::add(options());
    EXPECT_TRUE(device) << device.error().text;
    EXPECT_TRUE((*device)->hire_keeper());
    EXPECT_TRUE((*device)->prepare(*this));
    EXPECT_TRUE((*device)->serve());
    return std::move(*device);
  }

  StateFolder folder_;
  FakeKernel kernel_;

 private:
  void frontend_changed() override {}
};

TEST_F(DeviceTest, TheRecordIsThereBeforeWhatItTellsOf) {
  std::optional<DeviceRecord> before;
  kernel_.when_made = [&](uint32_t id) {
    if (auto record = read_record(id)) before = std::move(*record);
  };
  const auto device = Device::add(options());
  ASSERT_TRUE(device) << device.error().text;
  ASSERT_TRUE(before);
  EXPECT_EQ(before->at, "/fake");
  EXPECT_TRUE(before->traces.flag("made"));
  EXPECT_TRUE(is_same_server(*before, (*device)->record()));
  const auto after = read_record((*device)->id());
  ASSERT_TRUE(after) << after.error().text;
  EXPECT_EQ(after->traces.text("file_system"), "0:47 made");
  EXPECT_EQ(after->path, "/fake/device");
}

TEST_F(DeviceTest, RequestsAreAsLargeAsItsFrontEndHasThem) {
  ServeOptions wanted = options();
  wanted.frontend.max_io_bytes = 4 << 20;
  const auto device = Device::add(wanted);
  ASSERT_TRUE(device) << device.error().text;
  EXPECT_EQ((*device)->record().max_io_bytes, 1U << 20);
}

TEST_F(DeviceTest, ANumberThatTheKernelHasIsPassedOver) {
  kernel_.numbers = {0, 1};
  const auto device = Device::add(options());
  ASSERT_TRUE(device) << device.error().text;
  EXPECT_EQ((*device)->id(), 2U);
  const auto records = read_records();
  ASSERT_EQ(records.size(), 1U) << "those that were tried are given back";
  EXPECT_EQ(records[0].id, 2U);
}

TEST_F(DeviceTest, OneThatCannotBeMadeLeavesNothing) {
  kernel_.make_error = Error{ENOSPC, "the kernel has no room"};
  const auto device = Device::add(options());
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().text, "the kernel has no room");
  EXPECT_TRUE(read_records().empty());
}

TEST_F(DeviceTest, OneThatIsNeverServedIsForgotten) {
  {
    const auto device = Device::add(options());
    ASSERT_TRUE(device) << device.error().text;
    EXPECT_EQ(read_records().size(), 1U);
  }
  EXPECT_TRUE(read_records().empty());
}

TEST_F(DeviceTest, ANameIsForOneDeviceOnly) {
  ServeOptions named = options();
  named.name = "db";
  const auto first = Device::add(named);
  ASSERT_TRUE(first) << first.error().text;
  const auto second = Device::add(named);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().error, EEXIST);
}

TEST_F(DeviceTest, OnceItIsServedTheRecordSaysByWhom) {
  const auto device = serve();
  EXPECT_TRUE(device->is_served());
  const auto record = read_record(device->id());
  ASSERT_TRUE(record) << record.error().text;
  EXPECT_EQ(record->threads, std::vector<int>{4711});
  EXPECT_EQ(record->mode, "copy");
  EXPECT_EQ(record->mode_reason, "it is a fake");
  EXPECT_TRUE(server_alive(*record));
  EXPECT_EQ(kernel_.calls, (std::vector<std::string>{"prepare", "serve"}));
}

TEST_F(DeviceTest, ANewSizeIsRecordedBeforeItIsTold) {
  const auto device = serve();
  const auto resized = device->resize(2 << 20);
  ASSERT_TRUE(resized) << resized.error().text;
  EXPECT_EQ(*resized, 2U << 20);
  EXPECT_EQ(read_record(device->id())->size_bytes, 2U << 20);
  kernel_.resize_error = Error{EOPNOTSUPP, "not this one"};
  EXPECT_EQ(device->resize(4 << 20).error().error, EOPNOTSUPP);
  const auto record = read_record(device->id());
  EXPECT_EQ(record->spec.number("size", 0), 4U << 20) << "no next server opens less";
  EXPECT_EQ(record->size_bytes, 2U << 20) << "nor does anybody know of more";
}

TEST_F(DeviceTest, TheRecordGoesLast) {
  const auto device = serve();
  EXPECT_TRUE(device->stop(true));
  EXPECT_TRUE(device->has_ended());
  EXPECT_EQ(read_records().size(), 1U);
  device->remove();
  EXPECT_TRUE(read_records().empty());
  EXPECT_EQ(kernel_.calls.back(), "remove");
}

TEST_F(DeviceTest, OneThatServesGoesOnWithoutItsRecord) {
  const auto device = serve();
  const uint32_t id = device->id();
  std::filesystem::remove(record_path(id));
  EXPECT_FALSE(read_record(id));
  device->rewrite_record();
  EXPECT_TRUE(read_record(id));
}

}  // namespace
}  // namespace sluice::test
