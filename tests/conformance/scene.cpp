#include "conformance/scene.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <filesystem>

#include "frontend/fuse/export.hpp"
#include "frontend/ublk/device.hpp"

namespace sluice::test {
namespace {

constexpr uint16_t kDepth = 8;
constexpr uint32_t kMaxIoBytes = 512 * 1024;

bool is_direct(Kind kind) { return kind == Kind::direct || kind == Kind::direct_fixed; }

}  // namespace

std::string to_string(Kind kind) {
  switch (kind) {
    case Kind::direct:
      return "direct";
    case Kind::direct_fixed:
      return "direct_fixed";
    case Kind::fuse:
      return "fuse";
    case Kind::ublk:
      return "ublk";
    case Kind::ublk_by_hand:
      return "ublk_by_hand";
  }
  return {};
}

Server::Server() : provider_(1, kDepth) {
  geometry_.size_bytes = kSizeBytes;
  geometry_.logical_block_bytes = 512;
}

Task Server::do_submit(Request& request) {
  if (!armed_.load() || !is_expected(request)) {
    auto clearing = request.ring->zero(request.op == Op::read ? request.data : View());
    co_return co_await clearing;
  }
  provider_.begin(request);
  Status status;
  {
    Task serving = serve(request);
    status = co_await serving;
  }
  provider_.end(request);
  served_.fetch_add(1);
  co_return status;
}

bool Server::is_expected(const Request& request) const {
  if (!request.has_data()) return true;
  const uint64_t begin = begin_.load();
  const uint64_t length = length_.load();
  const bool inside = request.offset >= begin && request.offset + request.length <= begin + length;
  return inside && (request.length == length || length > kMaxIoBytes);
}

// The other process is made before there are threads, devices and mappings.
void OnEachProvider::SetUp() {
  if (kind() == Kind::fuse && (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0)) {
    GTEST_SKIP() << "no /dev/fuse here, or not root";
  }
  if (kind() == Kind::direct_fixed && geteuid() != 0) {
    GTEST_SKIP() << "not root: RLIMIT_MEMLOCK allows few rings with registered memory";
  }
  if (!is_direct(kind())) client_.emplace();
}

void OnEachProvider::TearDown() {
  direct_.reset();
  if (session_) {
    // Between the test's thread and the end of the server's there is only the kernel, which TSan
    // does not see: a request that looks at what the test has set is between them as well.
    server_->expect(0, 0);
    static_cast<void>(client_->read(path(), 0, 4096));
    EXPECT_TRUE(session_->end());
    session_.reset();
  }
  stack_.reset();
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

void OnEachProvider::open(std::unique_ptr<Server> server) {
  server_ = server.get();
  stack_ = std::make_unique<Stack>(std::move(server));
  open_device();
  if (testing::Test::HasFatalFailure()) return;
  if (session_) {
    ASSERT_EQ(client_->read(path(), 0, 4096), 0);  // now it is open and looked through
  }
  server_->arm();
  copied_before_ = count_copied();
}

void OnEachProvider::open_device() {
  if (is_direct(kind())) {
    memory_.resize(Client::kBytes);
    direct::Device::Options options{.depth = kDepth};
    if (kind() == Kind::direct_fixed) options.registered = memory_;
    auto device = direct::Device::create(*stack_, options);
    ASSERT_TRUE(device) << device.error().text;
    direct_ = std::move(*device);
    return;
  }
  auto made = make_frontend();
  ASSERT_TRUE(made) << made.error().text;
  auto session = Session<>::start(std::move(*made));
  ASSERT_TRUE(session) << session.error().text;
  session_ = std::move(*session);
}

Result<std::unique_ptr<Frontend>> OnEachProvider::make_frontend() {
  if (kind() == Kind::fuse) {
    char name[] = "/tmp/sluice-scene-XXXXXX";
    folder_ = mkdtemp(name);
    auto place = fuse::Place::open(folder_ + "/disk");
    if (!place) return std::unexpected(place.error());
    return fuse::FuseExport::make(*stack_, {.place = std::move(*place),
                                            .depth = kDepth,
                                            .max_io_bytes = kMaxIoBytes,
                                            .path = fuse::DataPath::splice});
  }
  ublk::DeviceOptions options;
  options.depth = kDepth;
  options.max_io_bytes = kMaxIoBytes;
  options.mode_options.named =
      kind() == Kind::ublk ? ublk::BufferMode::auto_register : ublk::BufferMode::register_buf;
  return ublk::UblkDevice::add(*stack_, options);
}

std::span<std::byte> OnEachProvider::memory(size_t bytes, bool fill) {
  const auto place = client_ ? client_->memory(bytes) : std::span(memory_).first(bytes);
  for (size_t i = 0; i < bytes; ++i) place[i] = fill ? pattern(i) : std::byte{0xee};
  return place;
}

int OnEachProvider::write(uint64_t offset, size_t bytes) {
  if (session_) return write_by(*client_, offset, bytes);
  return direct_->write(offset, std::span(memory_).first(bytes)).error();
}

int OnEachProvider::write_by(const Client& program, uint64_t offset, size_t bytes) {
  server_->expect(offset, bytes);
  return seen(program.write(path(), offset, bytes));
}

int OnEachProvider::read(uint64_t offset, size_t bytes) {
  server_->expect(offset, bytes);
  if (session_) return seen(client_->read(path(), offset, bytes));
  return direct_->read(offset, std::span(memory_).first(bytes)).error();
}

int OnEachProvider::flush() {
  if (session_) return seen(client_->flush(path()));
  return direct_->flush().error();
}

int OnEachProvider::seen(int error) const {
  server_->look();
  return error;
}

uint64_t OnEachProvider::copied_bytes() const { return count_copied() - copied_before_; }

uint64_t OnEachProvider::count_copied() const {
  uint64_t sum = 0;
  const auto reports = session_ ? session_->frontend().reports() : direct_->reports();
  for (const QueueReport& report : reports) sum += report.copied_bytes;
  return sum;
}

std::byte pattern(uint64_t position) {
  return static_cast<std::byte>((position * 2654435761U) >> 13);
}

std::vector<std::byte> patterned(size_t bytes, uint64_t position) {
  std::vector<std::byte> made(bytes);
  for (size_t i = 0; i < bytes; ++i) made[i] = pattern(position + i);
  return made;
}

bool has_pattern(std::span<const std::byte> bytes, uint64_t position) {
  return std::ranges::equal(bytes, patterned(bytes.size(), position));
}

Descriptor make_file(size_t bytes, bool fill) {
  Descriptor file(memfd_create("conformance", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(file.number(), static_cast<off_t>(bytes)), 0);
  const auto data = fill ? patterned(bytes) : std::vector<std::byte>();
  EXPECT_EQ(pwrite(file.number(), data.data(), data.size(), 0), static_cast<ssize_t>(data.size()));
  return file;
}

std::vector<std::byte> contents(const Descriptor& file, size_t bytes, uint64_t offset) {
  std::vector<std::byte> found(bytes);
  const ssize_t got = pread(file.number(), found.data(), bytes, static_cast<off_t>(offset));
  found.resize(got < 0 ? 0 : static_cast<size_t>(got));
  return found;
}

// Where the kernel has no ublk driver those tests run in a guest: tests/device/conformance.sh.
std::vector<Kind> kinds_here() {
  std::vector<Kind> kinds{Kind::direct, Kind::direct_fixed, Kind::fuse};
  if (access("/dev/ublk-control", F_OK) == 0) {
    kinds.insert(kinds.end(), {Kind::ublk, Kind::ublk_by_hand});
  }
  return kinds;
}

namespace {

std::vector<Kind> kinds_here_but(bool (*left_out)(Kind)) {
  std::vector<Kind> kinds = kinds_here();
  std::erase_if(kinds, left_out);
  return kinds;
}

std::string name_of(const testing::TestParamInfo<Kind>& kind) { return to_string(kind.param); }

}  // namespace

INSTANTIATE_TEST_SUITE_P(Providers, OnEachProvider, testing::ValuesIn(kinds_here()), name_of);
INSTANTIATE_TEST_SUITE_P(
    Providers, OnEachWithoutPipes,
    testing::ValuesIn(kinds_here_but([](Kind kind) { return kind == Kind::fuse; })), name_of);
INSTANTIATE_TEST_SUITE_P(Providers, OnEachOfTheKernel, testing::ValuesIn(kinds_here_but(is_direct)),
                         name_of);

}  // namespace sluice::test
