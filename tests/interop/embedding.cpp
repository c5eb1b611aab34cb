// An embedding program, which tests/interop/embedding.sh builds with the installed library: a
// device in its own process, and a server that lends the pages of its requests to a file.
#include <fcntl.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <sluice/direct.hpp>
#include <sluice/lend.hpp>
#include <sstream>
#include <vector>

namespace {

// Stores the data in a file, by dev_splice.
class Server final : public sluice::Target {
 public:
  explicit Server(int file) : file_{.number = file} { geometry_.size_bytes = 1 << 20; }

 private:
  sluice::Task do_submit(sluice::Request& request) override {
    using namespace sluice::lend;
    const Consumer op = request.op == sluice::Op::read ? Consumer(Read{file_, request.offset})
                                                       : Consumer(Write{file_, request.offset});
    device_.begin(request);
    const auto length = static_cast<uint32_t>(request.length);
    DevSplice splicing(device_, Provider::position(request).pack(), length, op);
    sluice::Status status;
    {
      sluice::Task running = splicing.run(request);
      status = co_await running;
    }
    device_.end(request);
    co_return status;
  }

  const sluice::File file_;
  sluice::lend::Provider device_{1, 8};
};

int fail(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  return 1;
}

// Opens a stack for which the engine logs that the end of the second member is unused.
bool open_uneven() {
  const auto spec = sluice::parse_spec("stripe(mem(1M), mem(2M))", sluice::target_vocabulary());
  return spec && sluice::Stack::open(*spec, false).has_value();
}

// The engine logs to the logger that the program sets, and never to the default logger.
bool logs_where_it_should() {
  std::ostringstream defaults;
  std::ostringstream given;
  using Sink = spdlog::sinks::ostream_sink_st;
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("program", std::make_shared<Sink>(defaults)));
  bool opened = open_uneven();
  sluice::set_log(std::make_shared<spdlog::logger>("engine", std::make_shared<Sink>(given)));
  opened = opened && open_uneven();
  sluice::set_log(nullptr);
  opened = opened && open_uneven();
  const std::string said = given.str();
  return opened && defaults.str().empty() && !said.empty() && said.find('\n') == said.size() - 1;
}

}  // namespace

int main(int, char** arguments) {
  const int file = open(arguments[1], O_RDWR | O_CREAT, 0600);
  if (file < 0 || ftruncate(file, 1 << 20) != 0) return fail("no file");
  sluice::Stack stack(std::make_unique<Server>(file));
  auto device = sluice::direct::Device::create(stack, {.depth = 8});
  if (!device) return fail(device.error().text.c_str());
  const std::vector<std::byte> written(65536, std::byte{'x'});
  std::vector<std::byte> back(written.size());
  if (!(*device)->write(4096, written).ok()) return fail("it cannot be written");
  if (!(*device)->read(4096, back).ok() || back != written) return fail("it is not read back");
  if ((*device)->reports().front().copied_bytes != 0) return fail("something was copied");

  const auto spec = sluice::parse_spec("mem(1M)", sluice::target_vocabulary());
  auto opened = sluice::Stack::open(*spec, false);
  if (!opened) return fail(opened.error().text.c_str());
  auto memory = sluice::direct::Device::create(**opened, {});
  if (!memory || !(*memory)->write(0, written).ok()) return fail("a stack of ours does not work");
  if (!logs_where_it_should()) return fail("it logs elsewhere");
  std::puts("written and read back");
  return 0;
}
