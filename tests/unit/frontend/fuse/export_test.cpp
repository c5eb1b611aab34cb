// FuseExport with the real kernel, as seen by a program that opens the file. Skipped without
// /dev/fuse or root; tests/interop has tests with other programs.
#include "frontend/fuse/export.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "frontend/session.hpp"
#include "target/registry.hpp"

namespace sluice::fuse {
namespace {

constexpr uint64_t kSize = 8U << 20;

class FuseExportTest : public testing::TestWithParam<DataPath> {
 protected:
  void SetUp() override {
    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) GTEST_SKIP() << "no /dev/fuse";
    char name[] = "/tmp/sluice-fuse-XXXXXX";
    folder_ = mkdtemp(name);
    at_ = folder_ + "/disk.raw";
    image_ = folder_ + "/image";
    const Descriptor image(open(image_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(ftruncate(image.number(), kSize), 0);
    open_stack(image_, false);
    const auto trial = make(folder_ + "/trial");
    if (!trial && trial.error().error == EOPNOTSUPP) GTEST_SKIP() << trial.error().text;
  }

  void TearDown() override {
    end();
    stack_.reset();
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }

  void open_stack(const std::string& text, bool read_only) {
    stack_.reset();
    const auto spec = parse_spec(text, target_vocabulary());
    auto stack = Stack::open(*spec, read_only);
    ASSERT_TRUE(stack) << stack.error().text;
    stack_ = std::move(*stack);
  }

  // Mounts the export and serves it.
  void start() {
    auto made = make(at_);
    ASSERT_TRUE(made) << made.error().text;
    auto session = Session<FuseExport>::start(std::move(*made));
    ASSERT_TRUE(session) << session.error().text;
    session_ = std::move(*session);
    export_ = &session_->frontend();
  }

  Result<std::unique_ptr<FuseExport>> make(const std::string& at) const {
    auto place = Place::open(at);
    if (!place) return std::unexpected(place.error());
    return FuseExport::make(*stack_, {.place = std::move(*place),
                                      .queues = 2,
                                      .depth = 8,
                                      .max_io_bytes = 524288,
                                      .path = path()});
  }

  void end() {
    if (!session_) return;
    EXPECT_TRUE(session_->end());
    session_.reset();
  }

  // Hands over to another export in this process, in the same way as to another process.
  void change_hands() {
    auto next = FuseExport::adopt(*stack_, export_->handover_state());
    ASSERT_TRUE(next) << next.error().text;
    auto session = Session<FuseExport>::prepare(std::move(*next));
    ASSERT_TRUE(session) << session.error().text;
    ASSERT_TRUE(export_->pause());
    session_->wait_for_pause();
    auto handover = export_->let_go();
    ASSERT_TRUE(handover);
    ASSERT_TRUE((*session)->frontend().take(std::move(*handover)));
    ASSERT_TRUE((*session)->frontend().serve());
    export_->leave();
    session_ = std::move(*session);
    export_ = &session_->frontend();
    export_->settle();
  }

  // A handover in which the next server fails.
  void change_hands_in_vain() {
    ASSERT_TRUE(export_->pause());
    session_->wait_for_pause();
    ASSERT_TRUE(export_->let_go());
    ASSERT_TRUE(export_->resume());
  }

  static DataPath path() { return GetParam(); }
  static bool passthrough() { return path() == DataPath::passthrough; }

  static Descriptor open_file(const std::string& name, int flags = O_RDWR) {
    return Descriptor(open(name.c_str(), flags | O_CLOEXEC));
  }

  std::string folder_;
  std::string at_;
  std::string image_;
  std::unique_ptr<Stack> stack_;
  std::unique_ptr<Session<FuseExport>> session_;
  FuseExport* export_ = nullptr;  // the front end of the session
};

TEST_P(FuseExportTest, TheFileIsTheStack) {
  start();
  EXPECT_EQ(export_->path(), at_);
  EXPECT_EQ(export_->mode_name(), to_string(path()));
  const Descriptor file = open_file(at_);
  struct stat status{};
  ASSERT_EQ(fstat(file.number(), &status), 0);
  EXPECT_EQ(static_cast<uint64_t>(status.st_size), kSize);
  EXPECT_TRUE(S_ISREG(status.st_mode));
  const std::string text = "any bytes at any place";
  const auto length = static_cast<ssize_t>(text.size());
  ASSERT_EQ(pwrite(file.number(), text.data(), text.size(), 5001), length);
  EXPECT_EQ(fsync(file.number()), 0);
  std::string found(text.size(), ' ');
  ASSERT_EQ(pread(file.number(), found.data(), found.size(), 5001), length);
  EXPECT_EQ(found, text);
  const Descriptor image = open_file(image_, O_RDONLY);
  ASSERT_EQ(pread(image.number(), found.data(), found.size(), 5001), length);
  EXPECT_EQ(found, text);
}

// Requests large enough for pipes on data paths that use them; whole blocks and parts of blocks.
TEST_P(FuseExportTest, LargeRequestsArrive) {
  start();
  const Descriptor file = open_file(at_);
  std::vector<char> data(300'000);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 31 >> 8);
  for (const auto& [offset, length] : std::initializer_list<std::pair<uint64_t, size_t>>{
           {4096, 262144}, {4096, 300'000}, {777, 262144}, {kSize - 131072, 131072}}) {
    const auto place = static_cast<off_t>(offset);
    const auto wanted = static_cast<ssize_t>(length);
    ASSERT_EQ(pwrite(file.number(), data.data(), length, place), wanted)
        << offset << ": " << std::strerror(errno);
    std::vector<char> found(length);
    ASSERT_EQ(pread(file.number(), found.data(), length, place), wanted);
    EXPECT_TRUE(std::equal(found.begin(), found.end(), data.begin())) << offset;
  }
  if (passthrough()) return;  // the backing file would grow
  EXPECT_EQ(pwrite(file.number(), data.data(), 131072, kSize - 65536), 65536);
  EXPECT_EQ(pread(file.number(), data.data(), 131072, kSize - 65536), 65536);
}

// One request has so many child requests that the arena of its tag overflows.
TEST_P(FuseExportTest, ARequestOfManyPartsArrives) {
  if (passthrough()) GTEST_SKIP() << "passthrough takes one bare file only";
  std::string members;
  for (int i = 0; i < 100; ++i) members += "mem(1M),";
  open_stack("stripe(" + members + "chunk=4k)", false);
  start();
  const Descriptor file = open_file(at_);
  const std::vector<char> data(400 * 1024, 'x');
  const auto length = static_cast<ssize_t>(data.size());
  std::vector<char> found(data.size());
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(pwrite(file.number(), data.data(), data.size(), 0), length);
    ASSERT_EQ(pread(file.number(), found.data(), data.size(), 0), length);
    EXPECT_EQ(found, data);
  }
}

TEST_P(FuseExportTest, AFileThatWasMadeIsRemovedAgain) {
  start();
  end();
  EXPECT_FALSE(std::filesystem::exists(at_));
}

TEST_P(FuseExportTest, AFileThatWasThereComesBack) {
  Descriptor(open(at_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0640));
  start();
  struct stat status{};
  ASSERT_EQ(stat(at_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0640U);
  end();
  EXPECT_EQ(std::filesystem::file_size(at_), 0U);
}

TEST_P(FuseExportTest, InADirectoryTheFileIsCalledDisk) {
  std::filesystem::create_directory(at_);
  start();
  EXPECT_EQ(export_->path(), at_ + "/disk");
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(at_)) {
    names.push_back(entry.path().filename());
  }
  EXPECT_EQ(names, std::vector<std::string>{"disk"});
  EXPECT_EQ(std::filesystem::file_size(at_ + "/disk"), kSize);
  EXPECT_FALSE(open_file(at_ + "/other").valid());
  char byte = 1;
  EXPECT_EQ(pread(open_file(at_ + "/disk").number(), &byte, 1, 0), 1);
}

TEST_P(FuseExportTest, AReadOnlyStackIsAReadOnlyFile) {
  open_stack(image_, true);
  start();
  EXPECT_FALSE(open_file(at_).valid());
  EXPECT_EQ(errno, EROFS);
  char byte = 1;
  EXPECT_EQ(pread(open_file(at_, O_RDONLY).number(), &byte, 1, 0), 1);
  EXPECT_EQ(byte, 0);
}

TEST_P(FuseExportTest, IsNotStoppedWhileInUseUnlessItMust) {
  start();
  const Descriptor file = open_file(at_);
  const auto refused = export_->stop(/*even_if_used=*/false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().error, EBUSY);
  char byte = 0;
  EXPECT_EQ(pread(file.number(), &byte, 1, 0), 1);
  end();
  if (passthrough()) return;  // the kernel itself serves files that are still open
  EXPECT_EQ(pread(file.number(), &byte, 1, 0), -1);
  // ECANCELED only while the kernel destroys the ring.
  EXPECT_TRUE(errno == ENOTCONN || errno == ECONNABORTED || errno == ECANCELED) << errno;
}

TEST_P(FuseExportTest, EndsWhenSomebodyUnmountsIt) {
  start();
  ASSERT_EQ(umount2(at_.c_str(), 0), 0);
  session_->wait_for_end();
  EXPECT_TRUE(export_->remove());
  EXPECT_FALSE(std::filesystem::exists(at_));
  session_.reset();
}

TEST_P(FuseExportTest, ANewSizeShowsAtOnce) {
  start();
  const Descriptor file = open_file(at_);
  struct stat status{};
  EXPECT_FALSE(export_->resize(2 * kSize)) << "first the stack";
  ASSERT_TRUE(stack_->resize(2 * kSize));
  ASSERT_TRUE(export_->resize(2 * kSize));
  ASSERT_EQ(fstat(file.number(), &status), 0);
  EXPECT_EQ(static_cast<uint64_t>(status.st_size), 2 * kSize);
  EXPECT_EQ(pwrite(file.number(), "new", 3, kSize + 5), 3);
  char text[4] = {};
  EXPECT_EQ(pread(file.number(), text, 3, kSize + 5), 3);
  EXPECT_STREQ(text, "new");
  EXPECT_EQ(export_->resize(kSize).has_value(), !passthrough());
}

// Programs notice only a short delay.
TEST_P(FuseExportTest, IsHandedOverUnderLoad) {
  start();
  if (is_over_uring(path())) {
    EXPECT_EQ(export_->check_handover().error().error, EOPNOTSUPP);
    return;
  }
  std::atomic<bool> done = false;
  std::atomic<uint64_t> failed = 0;
  std::atomic<uint64_t> written = 0;
  std::thread user([&] {
    const Descriptor file = open_file(at_);
    for (uint64_t i = 0; !done; ++i) {
      const auto place = static_cast<off_t>(i * 4096 % kSize);
      uint64_t back = 0;
      failed += pwrite(file.number(), &i, sizeof(i), place) != sizeof(i);
      failed += pread(file.number(), &back, sizeof(back), place) != sizeof(back) || back != i;
      written = i;
    }
  });
  for (int i = 0; i < 20; ++i) {
    if (i % 4 == 3) {
      change_hands_in_vain();
    } else {
      change_hands();
    }
    if (testing::Test::HasFatalFailure()) break;
    for (const uint64_t before = written; written < before + 20;) std::this_thread::yield();
  }
  done = true;
  user.join();
  EXPECT_EQ(failed, 0U);
}

TEST_P(FuseExportTest, SaysWhatIsInTheWay) {
  const auto refuse = [&](const std::string& at) {
    const auto made = make(at);
    return made ? 0 : made.error().error;
  };
  EXPECT_EQ(refuse(folder_ + "/nowhere/disk"), ENOENT);
  EXPECT_EQ(refuse("/dev/null"), EINVAL);
  start();
  EXPECT_EQ(refuse(at_), EBUSY);
}

INSTANTIATE_TEST_SUITE_P(OnEveryPath, FuseExportTest,
                         testing::Values(DataPath::passthrough, DataPath::uring_zc, DataPath::uring,
                                         DataPath::copy, DataPath::splice),
                         [](const auto& each) { return std::string(to_string(each.param)); });

TEST(FuseExportOptions, SizesThatFuseCannotHaveAreRefused) {
  const auto spec = parse_spec("null:1M", target_vocabulary());
  const auto stack = Stack::open(*spec, false);
  for (const uint32_t bytes : {0U, 4096U, 10000U, 2U << 20}) {
    const auto made =
        FuseExport::make_detached(**stack, {.place = {}, .max_io_bytes = bytes, .path = {}});
    EXPECT_EQ(made.error().error, EINVAL) << bytes;
  }
}

}  // namespace
}  // namespace sluice::fuse
