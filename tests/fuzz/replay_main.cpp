// main() for a fuzz target without libFuzzer: runs it on every file of a corpus directory, then on
// mutations of those files made from a fixed seed, for a few seconds at most.
//
//   X_fuzz DIRECTORY|FILE...
//
// An input that kills the program (or hangs it) is left in the current directory as
// X_fuzz.failed-input; `X_fuzz FILE` runs that alone, without mutations. A directory that does not
// exist counts as an empty one.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#if __has_feature(address_sanitizer)
#include <sanitizer/common_interface_defs.h>
#endif

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" [[gnu::weak]] int LLVMFuzzerInitialize(int* argc, char*** argv);

namespace {

using Bytes = std::vector<uint8_t>;
using Clock = std::chrono::steady_clock;

constexpr int kMutations = 20000;
constexpr std::chrono::seconds kMutationTime{5};
constexpr unsigned kHangSeconds = 60;  // for the whole run
constexpr size_t kSizeMaximum = 64 * 1024;
constexpr uint64_t kSeed = 0x5105'5105;

// For the signal handler: the current input, and the file name to keep it.
std::span<const uint8_t> current;
std::string keep_name;

std::vector<Bytes> read_corpus(int count, char** paths);
Bytes read_file(const std::filesystem::path& path);
Bytes mutate(const std::vector<Bytes>& corpus, std::mt19937_64& random);
void edit(Bytes& input, const Bytes& other, std::mt19937_64& random);
void run(const Bytes& input);
void catch_death();
void keep_input();
void on_signal(int number);

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s DIRECTORY|FILE...\n", argv[0]);
    return 2;
  }
  keep_name = std::filesystem::path(argv[0]).filename().string() + ".failed-input";
  catch_death();
  if (LLVMFuzzerInitialize != nullptr) LLVMFuzzerInitialize(&argc, &argv);
  std::vector<Bytes> corpus = read_corpus(argc - 1, argv + 1);
  for (const Bytes& input : corpus) run(input);
  std::printf("%zu inputs of the corpus passed\n", corpus.size());
  if (std::filesystem::is_regular_file(argv[1])) return 0;

  if (corpus.empty()) corpus.emplace_back();
  std::mt19937_64 random(kSeed);
  const Clock::time_point end = Clock::now() + kMutationTime;
  int done = 0;
  for (; done < kMutations && Clock::now() < end; ++done) run(mutate(corpus, random));
  std::printf("%d mutations passed\n", done);
  return 0;
}

namespace {

std::vector<Bytes> read_corpus(int count, char** paths) {
  std::vector<std::filesystem::path> files;
  for (int i = 0; i < count; ++i) {
    if (std::filesystem::is_regular_file(paths[i])) files.emplace_back(paths[i]);
    if (!std::filesystem::is_directory(paths[i])) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(paths[i])) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());  // so that every machine makes the same mutations
  std::vector<Bytes> corpus;
  corpus.reserve(files.size());
  for (const auto& file : files) corpus.push_back(read_file(file));
  return corpus;
}

Bytes read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(stream), {});
}

size_t below(size_t limit, std::mt19937_64& random) { return limit == 0 ? 0 : random() % limit; }

Bytes mutate(const std::vector<Bytes>& corpus, std::mt19937_64& random) {
  Bytes input = corpus[below(corpus.size(), random)];
  const Bytes& other = corpus[below(corpus.size(), random)];
  for (size_t edits = 1 + below(6, random); edits > 0; --edits) edit(input, other, random);
  if (input.size() > kSizeMaximum) input.resize(kSizeMaximum);
  return input;
}

void edit(Bytes& input, const Bytes& other, std::mt19937_64& random) {
  constexpr std::array<uint8_t, 8> kTelling = {0x00, 0x01, 0x7f, 0x80, 0xff, '(', ',', '='};
  const size_t at = below(input.size(), random);
  const auto begin = input.begin() + static_cast<std::ptrdiff_t>(at);
  const size_t length = std::min(input.size() - at, 1 + below(16, random));
  const auto end = begin + static_cast<std::ptrdiff_t>(length);
  const auto byte = static_cast<uint8_t>(random());
  switch (below(6, random)) {
    case 0:
      if (!input.empty()) input[at] ^= static_cast<uint8_t>(1U << (byte & 7U));
      break;
    case 1:
      std::fill(begin, end, kTelling[byte % kTelling.size()]);
      break;
    case 2:
      input.insert(begin, byte);
      break;
    case 3:
      input.erase(begin, end);
      break;
    case 4: {
      const Bytes block(begin, end);
      input.insert(input.begin() + static_cast<std::ptrdiff_t>(below(input.size() + 1, random)),
                   block.begin(), block.end());
      break;
    }
    default: {
      const auto from = static_cast<std::ptrdiff_t>(below(other.size(), random));
      input.resize(at);
      input.insert(input.end(), other.begin() + from, other.end());
      break;
    }
  }
}

void run(const Bytes& input) {
  // A copy without spare capacity, so that a sanitizer sees a read past the end.
  const auto exact = std::make_unique_for_overwrite<uint8_t[]>(input.size());
  std::copy(input.begin(), input.end(), exact.get());
  current = {exact.get(), input.size()};
  LLVMFuzzerTestOneInput(exact.get(), input.size());
  current = {};
}

void catch_death() {
  for (int number : {SIGABRT, SIGFPE, SIGILL, SIGTRAP, SIGALRM}) std::signal(number, on_signal);
#if __has_feature(address_sanitizer)
  __sanitizer_set_death_callback(keep_input);
#else
  for (int number : {SIGSEGV, SIGBUS}) std::signal(number, on_signal);
#endif
  alarm(kHangSeconds);
}

// Calls only async-signal-safe functions.
void keep_input() {
  if (current.data() == nullptr) return;
  const int file = open(keep_name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return;
  const bool kept = write(file, current.data(), current.size()) >= 0;
  close(file);
  current = {};
  constexpr std::string_view kText = "replay: the input is kept in *.failed-input\n";
  if (kept) std::ignore = write(STDERR_FILENO, kText.data(), kText.size());
}

void on_signal(int number) {
  keep_input();
  std::signal(number, SIG_DFL);
  std::raise(number);
}

}  // namespace
