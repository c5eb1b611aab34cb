// The messages when a file cannot be attached.
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>

#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(LoopOpen, AMissingFileCanBeMade) {
  const TempDir directory;
  EXPECT_THAT(
      open_error(directory.path("a.img")),
      AllOf(HasSubstr("does not exist"), HasSubstr("truncate -s SIZE " + directory.path("a.img"))));
  EXPECT_THAT(open_error("\"" + directory.path("it's a.img") + "\""),
              HasSubstr("truncate -s SIZE '" + directory.path("it'\\''s a.img") + "'"));
  EXPECT_THAT(open_error(directory.path("no/a.img")), HasSubstr("neither does its directory"));
  const std::string file = directory.file("b.img", 4096);
  EXPECT_THAT(open_error(file + "/a.img"), HasSubstr("Not a directory"));
}

TEST(LoopOpen, OnlyRegularFilesAndBlockDevicesWillDo) {
  const TempDir directory;
  EXPECT_THAT(open_error(directory.path()),
              AllOf(HasSubstr("is a directory"), HasSubstr("give a regular file")));
  ASSERT_EQ(mkfifo(directory.path("fifo").c_str(), 0600), 0);
  EXPECT_THAT(open_error(directory.path("fifo")), HasSubstr("is a fifo"));
  EXPECT_THAT(open_error("/dev/null"), HasSubstr("is a character device"));

  const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  directory.path("s").copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(socket.number(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_THAT(open_error(directory.path("s")), HasSubstr("is a socket"));
}

TEST(LoopOpen, AnEmptyFileIsNoDevice) {
  const TempDir directory;
  EXPECT_THAT(open_error(directory.file("a.img", 0)),
              AllOf(HasSubstr("has 0 bytes"), HasSubstr("truncate -s SIZE")));
  EXPECT_THAT(open_error(directory.file("b.img", 511)), HasSubstr("has 511 bytes"));
  EXPECT_THAT(open_error(directory.file("c.img", 4096)), IsEmpty());
}

TEST(LoopOpen, TheRangeMustBeInTheFileAndMadeOfBlocks) {
  const TempDir directory;
  const std::string file = "loop(" + directory.file("a.img", 1 << 20) + ", buffered_io, ";
  EXPECT_THAT(open_error(file + "offset=1000)"),
              AllOf(HasSubstr("offset 1000"), HasSubstr("512"), HasSubstr("give 512 or 1024")));
  EXPECT_THAT(open_error(file + "size=1000)"), HasSubstr("size 1000"));
  EXPECT_THAT(open_error(file + "offset=1M)"),
              AllOf(HasSubstr("offset 1048576"), HasSubstr("has 1048576 bytes")));
  EXPECT_THAT(open_error(file + "offset=512k, size=513k)"),
              AllOf(HasSubstr("size 525312"), HasSubstr("524288 bytes from offset 524288")));
  EXPECT_THAT(open_error(file + "offset=512k, size=512k)"), IsEmpty());
  EXPECT_THAT(open_error(file + "size=0)"), HasSubstr("must be 512 or more"));
}

// Root may open any file: the effective user changes for a while.
class AsNobody {
 public:
  AsNobody() : changed_(geteuid() == 0 && seteuid(65534) == 0) {}
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;
  ~AsNobody() {
    if (changed_ && seteuid(0) != 0) std::abort();
  }

 private:
  bool changed_;
};

TEST(LoopOpen, ReadPermissionIsEnoughForAReadOnlyDevice) {
  const TempDir directory;
  const std::string file = directory.file("a.img", 4096);
  chmod(file.c_str(), 0444);
  const AsNobody nobody;
  EXPECT_THAT(open_error(file), AllOf(HasSubstr("no permission"), HasSubstr("read_only")));
  EXPECT_THAT(open_error(file, /*read_only=*/true), IsEmpty());
}

TEST(LoopOpen, NoPermissionAtAll) {
  const TempDir directory;
  const std::string file = directory.file("a.img", 4096);
  chmod(file.c_str(), 0);
  const AsNobody nobody;
  EXPECT_THAT(open_error(file),
              AllOf(HasSubstr("no permission"), testing::Not(HasSubstr("read_only"))));
  EXPECT_THAT(open_error(file, /*read_only=*/true), HasSubstr("no permission"));
}

TEST(LoopOpen, NothingStaysOpenWhenAnotherTargetFails) {
  const TempDir directory;
  const std::string file = directory.file("a.img", 1 << 20);
  EXPECT_THAT(open_error("linear(" + file + ", " + directory.path("missing") + ")"),
              HasSubstr("does not exist"));
  EXPECT_THAT(open_error(file), IsEmpty()) << "the lock went with the descriptor";
}

}  // namespace
}  // namespace sluice::test
