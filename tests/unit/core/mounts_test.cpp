#include "core/mounts.hpp"

#include <gtest/gtest.h>

namespace sluice {
namespace {

// A mount with only the fields that matter for paths.
Mount at(int id, int parent, std::string point) {
  return {.id = id, .parent = parent, .point = std::move(point), .type = {}, .source = {}};
}

int id_of(const std::vector<Mount>& mounts, std::string_view path) {
  const Mount* const found = mount_of(mounts, path);
  return found == nullptr ? 0 : found->id;
}

TEST(Mounts, ThisProcessHasARoot) {
  const std::vector<Mount> mounts = read_mounts();
  ASSERT_FALSE(mounts.empty());
  const Mount* const root = mount_of(mounts, "/");
  ASSERT_NE(root, nullptr);
  EXPECT_EQ(root->point, "/");
  EXPECT_FALSE(root->type.empty());
  const Mount* const proc = mount_of(mounts, "/proc/self");
  ASSERT_NE(proc, nullptr);
  EXPECT_EQ(proc->type, "proc");
}

TEST(Mounts, AProcessThatIsNotThereHasNone) {
  EXPECT_TRUE(read_mounts(0).empty());
  EXPECT_EQ(mount_of({}, "/"), nullptr);
}

TEST(Mounts, TheDeepestOnTheWayHoldsAPath) {
  const std::vector<Mount> mounts = {at(1, 0, "/"), at(2, 1, "/srv"), at(3, 2, "/srv/a")};
  EXPECT_EQ(id_of(mounts, "/etc/x"), 1);
  EXPECT_EQ(id_of(mounts, "/srv/x"), 2);
  EXPECT_EQ(id_of(mounts, "/srv/a"), 3);
  EXPECT_EQ(id_of(mounts, "/srv/a/x"), 3);
  EXPECT_EQ(id_of(mounts, "/srv/ab"), 2) << "only whole names count";
}

TEST(Mounts, OneOnTopHidesWhatIsBelow) {
  const std::vector<Mount> twice = {at(1, 0, "/"), at(2, 1, "/srv"), at(3, 2, "/srv")};
  EXPECT_EQ(id_of(twice, "/srv/x"), 3);
  // The upper one was mounted later, on the root, and hides the deeper one as well.
  const std::vector<Mount> hidden = {at(1, 0, "/"), at(2, 1, "/srv/a"), at(3, 1, "/srv")};
  EXPECT_EQ(id_of(hidden, "/srv/a/x"), 3);
  const std::vector<Mount> root_twice = {at(1, 0, "/"), at(2, 1, "/")};
  EXPECT_EQ(id_of(root_twice, "/x"), 2);
}

TEST(Mounts, TheEscapesOfTheKernelAreUndone) {
  EXPECT_EQ(unescape_mount_text("/a\\040b\\011\\012\\134c"), "/a b\t\n\\c");
  EXPECT_EQ(unescape_mount_text("/end\\04"), "/end\\04");
}

}  // namespace
}  // namespace sluice
