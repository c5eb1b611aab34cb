#include "unit/target/loop_rig.hpp"

#include <fcntl.h>
#include <spdlog/sinks/ostream_sink.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "core/log.hpp"
#include "spec/spec.hpp"
#include "target/open_context.hpp"
#include "target/registry.hpp"

namespace sluice::test {
namespace {

template <typename T>
T value_or_throw(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().text);
  return std::move(*result);
}

}  // namespace

Result<std::unique_ptr<Stack>> open_stack(std::string_view text, bool read_only, bool to_the_byte) {
  auto spec = parse_spec(text, target_vocabulary());
  if (!spec) return std::unexpected(spec.error());
  OpenContext context(read_only);
  context.let_clients_address_bytes(to_the_byte);
  return Stack::open(*spec, context);
}

std::string open_error(std::string_view text, bool read_only) {
  auto stack = open_stack(text, read_only);
  return stack ? std::string() : stack.error().text;
}

Block::Block(size_t bytes, int fill) : buffer_(bytes) {
  std::ranges::fill(buffer_.bytes(), std::byte(fill));
}

bool Block::all(int value) const {
  return std::ranges::all_of(bytes(), [value](std::byte byte) { return byte == std::byte(value); });
}

LiveQueue::LiveQueue(Stack& stack)
    : stack_(stack),
      ring_(value_or_throw(KernelRing::create({.files = stack.files()}))),
      tag_(std::make_unique<TestTag>(*ring_)) {}

Status LiveQueue::read(uint64_t offset, const Block& block) {
  return serve(tag_->make(Op::read, offset, block.bytes()));
}

Status LiveQueue::write(uint64_t offset, const Block& block, bool fua) {
  Request& request = tag_->make(Op::write, offset, block.bytes());
  request.fua = fua;
  return serve(request);
}

Status LiveQueue::without_data(Op op, uint64_t offset, uint64_t length, bool may_unmap) {
  Request& request = tag_->make(op, offset, length);
  request.may_unmap = may_unmap;
  return serve(request);
}

Status LiveQueue::serve(Request& request) {
  Task task = stack_.submit(request);
  while (!task.finished()) ring_->run_once(true);
  return task.status();
}

LiveStack::LiveStack(std::string_view spec, bool read_only)
    : stack_(value_or_throw(open_stack(spec, read_only))), queue_(*stack_) {}

void make_file(const std::string& path, uint64_t bytes) {
  const Descriptor made(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644));
  if (ftruncate(made.number(), static_cast<off_t>(bytes)) != 0) ADD_FAILURE() << "ftruncate";
}

TempDir::TempDir() : TempDir(std::filesystem::temp_directory_path()) {}

TempDir::TempDir(const std::string& parent) : path_(parent + "/sluice-test-XXXXXX") {
  if (mkdtemp(path_.data()) == nullptr) throw std::runtime_error("cannot make " + path_);
  chmod(path_.c_str(), 0755);
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TempDir::file(const std::string& name, uint64_t bytes) const {
  make_file(path(name), bytes);
  return path(name);
}

LogCapture::LogCapture() {
  auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(text_);
  before_ = set_log(std::make_shared<spdlog::logger>("test", sink));
}

LogCapture::~LogCapture() { set_log(before_); }

size_t LogCapture::lines() const {
  return static_cast<size_t>(std::ranges::count(text_.str(), '\n'));
}

CommandResult run_command(const std::string& command) {
  CommandResult result;
  FILE* const pipe = popen(("{ " + command + "; } 2>&1").c_str(), "r");
  if (pipe == nullptr) return result;
  char line[4096];
  while (fgets(line, sizeof(line), pipe) != nullptr) result.output += line;
  const int status = pclose(pipe);
  if (WIFEXITED(status)) result.code = WEXITSTATUS(status);
  if (result.output.ends_with('\n')) result.output.pop_back();
  return result;
}

Undoable::Undoable(const std::string& command, std::string undo)
    : result_(run_command(command)), undo_(std::move(undo)) {}

Undoable::~Undoable() {
  if (!works()) return;
  const size_t place = undo_.find("{}");
  if (place != std::string::npos) undo_.replace(place, 2, result_.output);
  const CommandResult undone = run_command(undo_);
  if (undone.code != 0) ADD_FAILURE() << undo_ << ": " << undone.output;
}

bool has_command(const std::string& name) { return run_command("command -v " + name).code == 0; }

uint64_t allocated_bytes(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return 0;
  return static_cast<uint64_t>(status.st_blocks) * 512;
}

}  // namespace sluice::test
