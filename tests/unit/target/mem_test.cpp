// mem: a sparse disk in memory.
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

TEST(Mem, KeepsWhatIsWritten) {
  LiveStack stack("mem:64M");
  EXPECT_EQ(stack.geometry().size_bytes, 64U << 20);
  EXPECT_FALSE(stack.geometry().volatile_cache);
  EXPECT_TRUE(stack.write(1 << 20, Block(1 << 18, 'm'), /*fua=*/true).ok());
  const Block back(1 << 18);
  EXPECT_TRUE(stack.read(1 << 20, back).ok());
  EXPECT_TRUE(back.all('m'));
  EXPECT_TRUE(stack.read(0, back).ok());
  EXPECT_TRUE(back.all(0));
  EXPECT_TRUE(stack.flush().ok());
}

TEST(Mem, TakesMemoryOnlyForWhatIsWrittenAndGivesItBack) {
  LiveStack stack("mem:1T");
  const std::string file = "/proc/self/fd/" + std::to_string(stack.stack().files()[0]);
  EXPECT_EQ(allocated_bytes(file), 0U);
  EXPECT_TRUE(stack.write(1ULL << 39, Block(1 << 20, 'm')).ok());
  EXPECT_EQ(allocated_bytes(file), 1U << 20);
  EXPECT_TRUE(stack.without_data(Op::discard, 1ULL << 39, 1 << 19).ok());
  EXPECT_EQ(allocated_bytes(file), 1U << 19);
  EXPECT_TRUE(stack.without_data(Op::write_zeroes, 1ULL << 39, 1 << 20).ok());
  EXPECT_EQ(allocated_bytes(file), 0U);
  const Block back(1 << 20, 'x');
  EXPECT_TRUE(stack.read(1ULL << 39, back).ok());
  EXPECT_TRUE(back.all(0));
}

TEST(Mem, ZeroesWithoutFreeingWhereItMayNot) {
  LiveStack stack("mem:1M");
  EXPECT_TRUE(stack.write(0, Block(8192, 'm')).ok());
  EXPECT_TRUE(stack.without_data(Op::write_zeroes, 0, 4096, /*may_unmap=*/false).ok());
  const Block back(4096, 'x');
  EXPECT_TRUE(stack.read(0, back).ok());
  EXPECT_TRUE(back.all(0));
  EXPECT_TRUE(stack.read(4096, back).ok());
  EXPECT_TRUE(back.all('m'));
}

TEST(Mem, RefusesPartsOfBlocks) {
  EXPECT_NE(open_error("mem:1000").find("give 512 or 1024"), std::string::npos);
  EXPECT_NE(open_error("mem:9E").size(), 0U);
}

}  // namespace
}  // namespace sluice::test
