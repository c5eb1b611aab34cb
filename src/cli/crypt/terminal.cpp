#include "cli/crypt/terminal.hpp"

#include <fcntl.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include "core/descriptor.hpp"

namespace sluice::cli {
namespace {

constexpr size_t kTypedBytesMax = 512;  // as in cryptsetup
constexpr int kEndingSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

volatile sig_atomic_t ending_signal = 0;

// Hides what is typed while it exists, and holds back the signals that would end the process.
class HiddenTyping {
 public:
  explicit HiddenTyping(int terminal) : terminal_(terminal) {
    ending_signal = 0;
    struct sigaction action{};
    action.sa_handler = [](int number) { ending_signal = number; };
    for (size_t i = 0; i < std::size(kEndingSignals); ++i) {
      sigaction(kEndingSignals[i], &action, &before_[i]);
    }
    if (tcgetattr(terminal_, &shown_) != 0) return;
    termios hidden = shown_;
    hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    hidden.c_lflag |= ICANON | ISIG | ECHONL;
    hides_ = tcsetattr(terminal_, TCSAFLUSH, &hidden) == 0;
  }
  HiddenTyping(const HiddenTyping&) = delete;
  HiddenTyping& operator=(const HiddenTyping&) = delete;
  ~HiddenTyping() {
    if (hides_) tcsetattr(terminal_, TCSAFLUSH, &shown_);
    for (size_t i = 0; i < std::size(kEndingSignals); ++i) {
      sigaction(kEndingSignals[i], &before_[i], nullptr);
    }
    if (ending_signal != 0) raise(ending_signal);
  }

  bool hides() const { return hides_; }

 private:
  const int terminal_;
  std::array<struct sigaction, std::size(kEndingSignals)> before_{};
  termios shown_{};
  bool hides_ = false;
};

std::unexpected<Error> cannot_ask(int error) {
  return fail(error,
              "crypt: no passphrase: there is no terminal to ask on; name its source "
              "(key_file, key_fd or key_cmd)");
}

}  // namespace

Result<crypt::Secret> ask_on_terminal(const std::string& prompt) {
  const Descriptor terminal(open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
  if (!terminal.valid()) return cannot_ask(ENXIO);
  auto typed = crypt::Secret::create(kTypedBytesMax);
  if (!typed) return typed;
  ssize_t got = -1;
  {
    const HiddenTyping typing(terminal.number());
    if (!typing.hides()) return cannot_ask(ENXIO);
    if (write(terminal.number(), prompt.data(), prompt.size()) < 0) return cannot_ask(errno);
    got = read(terminal.number(), typed->text(), typed->size());
  }
  if (got <= 0) return fail(ECANCELED, "crypt: no passphrase was typed");
  size_t length = static_cast<size_t>(got);
  if (typed->text()[length - 1] == '\n') --length;
  if (length == kTypedBytesMax) return fail(EINVAL, "crypt: the passphrase is too long");
  return crypt::Secret::copy_of(std::as_const(*typed).bytes().first(length));
}

}  // namespace sluice::cli
