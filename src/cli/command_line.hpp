// CommandLine: the options of one command, what was given of them, and the help that lists them.
//
// The only place that knows the parsing library. A command declares its options, parse() reads the
// arguments, and the command then asks for the values by the option's name. Values are kept as they
// were written; values.hpp reads them.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/failure.hpp"

namespace sluice::cli {

struct OptionInfo {
  char letter = 0;         // of the short form; 0: none
  std::string name = {};   // of the long form, with '_'; '-' is understood as well
  std::string value = {};  // stands for the value in the help; empty: a flag
  std::string help = {};
  bool repeated = false;    // may be given several times; otherwise the last one counts
  bool flag_value = false;  // a flag that also takes =yes or =no
  bool of_target = false;   // an option of the target, not of the command

  // As an error names it: -q, or --mode where there is no letter.
  std::string shown() const;
};

class CommandLine {
 public:
  // `command`: "add". Every command has --help.
  explicit CommandLine(std::string command);

  void add(OptionInfo option);
  // Lets the command have one argument that is no option, such as SPEC.
  void add_word(std::string name) { word_name_ = std::move(name); }
  // An option that the command knows and does not take: `why` is the sentence for it.
  void refuse(char letter, std::string name, std::string why);

  Outcome<void> parse(std::vector<std::string> arguments);

  bool has(std::string_view name) const { return !values(name).empty(); }
  // The last value given, or the fallback.
  std::string text(std::string_view name, std::string_view fallback = {}) const;
  // All values given, in order; those of a flag without a value are "yes".
  std::span<const std::string> values(std::string_view name) const;
  const std::optional<std::string>& word() const { return word_; }

  const std::string& command() const { return command_; }
  const std::string& word_name() const { return word_name_; }
  std::span<const OptionInfo> options() const { return options_; }
  const OptionInfo* find(std::string_view name) const;
  // "-n, --number ID   make it /dev/ublkbID", a line per option.
  std::string options_help(bool of_target) const;

 private:
  struct Refused {
    char letter;
    std::string name;
    std::string why;
  };

  Failure explain(std::string_view library_text) const;
  Failure explain_unexpected(const std::string& argument) const;

  std::string command_;
  std::string word_name_;
  std::vector<OptionInfo> options_;
  std::vector<Refused> refused_;
  std::vector<std::vector<std::string>> values_;  // of options_, in their order
  std::optional<std::string> word_;
};

// An option's name as it is declared: --max-io-buf-bytes is max_io_buf_bytes.
std::string canonical_name(std::string_view name);

}  // namespace sluice::cli
