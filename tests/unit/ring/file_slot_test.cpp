// FileSlot: no two files of the process have the same slot.
#include "ring/file_slot.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

using testing::ElementsAre;

TEST(FileSlot, IsUniqueWhileItExistsAndTheLowestFree) {
  std::optional<FileSlot> first(std::in_place);
  const FileSlot second;
  EXPECT_NE(first->file().number, second.file().number);
  EXPECT_TRUE(first->file().registered);
  const int32_t number = first->file().number;
  first.reset();
  const FileSlot third;
  EXPECT_EQ(third.file().number, number);
}

TEST(FileSlot, MovesItsNumber) {
  FileSlot first;
  const int32_t number = first.file().number;
  const FileSlot moved(std::move(first));
  EXPECT_EQ(moved.file().number, number);
  EXPECT_NE(FileSlot().file().number, number);
}

TEST(FileSlot, ATableHasEmptyPlaces) {
  const std::vector<RegisteredFile> files = {
      {.slot = {.number = 3, .registered = true}, .descriptor = 30},
      {.slot = {.number = 1, .registered = true}, .descriptor = 10}};
  EXPECT_THAT(file_table(files), ElementsAre(-1, 10, -1, 30));
}

// Two stacks on one ring: each reads from its own file, and through its slot.
TEST(FileSlot, TwoStacksOnOneRingDoNotCollide) {
  const TempDir directory;
  std::vector<std::unique_ptr<Stack>> stacks;
  std::vector<RegisteredFile> files;
  for (const char* const name : {"a", "b"}) {
    const std::string path = directory.file(name, 1 << 20);
    stacks.push_back(std::move(*open_stack(path)));
    std::ranges::copy(stacks.back()->registered_files(), std::back_inserter(files));
  }
  const std::vector<int> table = file_table(files);
  auto ring = std::move(*KernelRing::create({.files = table}));
  for (const RegisteredFile& file : files) {
    const File found = ring->files().find(file.slot, file.descriptor);
    EXPECT_TRUE(found.registered);
    EXPECT_EQ(found.number, file.slot.number);
  }
  ASSERT_EQ(files.size(), 2U);
  EXPECT_NE(files[0].slot.number, files[1].slot.number);
}

}  // namespace
}  // namespace sluice::test
