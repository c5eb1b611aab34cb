#include "frontend/fuse/call.hpp"

#include <gtest/gtest.h>

#include "unit/frontend/fuse/frames.hpp"

namespace sluice::fuse {
namespace {

using test::Bytes;
using test::make_frame;

TEST(FuseCall, SplitsAWriteIntoArgumentsAndData) {
  const Bytes data(512, std::byte{9});
  const Bytes frame = make_frame(FUSE_WRITE, 1, test::write_arguments(4096, 512), data);
  const auto call = parse_call(frame);
  ASSERT_TRUE(call);
  EXPECT_EQ(call->argument<fuse_write_in>()->offset, 4096U);
  EXPECT_EQ(call->payload.size(), 512U);
  EXPECT_EQ(call->payload.data(), frame.data() + 80);
}

TEST(FuseCall, TakesTheNameOfALookup) {
  const Bytes frame = make_frame(FUSE_LOOKUP, 1, test::text_bytes("disk"));
  EXPECT_EQ(parse_call(frame)->name(), "disk");
}

TEST(FuseCall, TakesANameFromThePayloadAsItComesOverIoUring) {
  const Bytes name = test::text_bytes("disk");
  const Bytes junk(128);
  const Call call{.header = {}, .arguments = junk, .payload = name};
  EXPECT_EQ(call.name(), "disk");
}

TEST(FuseCall, ANameWithoutAnEndStopsAtTheEndOfTheRequest) {
  const Bytes frame = make_frame(FUSE_LOOKUP, 1, Bytes(3, std::byte{'a'}));
  EXPECT_EQ(parse_call(frame)->name(), "aaa");
}

TEST(FuseCall, RefusesWhatContradictsItself) {
  Bytes frame = make_frame(FUSE_GETATTR, 1, test::bytes_of(fuse_getattr_in{}));
  EXPECT_TRUE(parse_call(frame));
  frame.pop_back();
  EXPECT_FALSE(parse_call(frame));
  EXPECT_FALSE(parse_call(std::span(frame).first(10)));
  EXPECT_FALSE(parse_call({}));
  EXPECT_FALSE(parse_call(make_frame(FUSE_WRITE, 1, Bytes(20))));
}

TEST(FuseCall, GivesNoStructureThatDidNotCome) {
  const Bytes frame = make_frame(FUSE_SETATTR, 1, Bytes(40));
  EXPECT_FALSE(parse_call(frame)->argument<fuse_setattr_in>());
}

}  // namespace
}  // namespace sluice::fuse
