// CommandLine: the options of one command, their given values, and the help that lists them.
//
// Only this class uses the parsing library. A command declares its options, parse() reads the
// arguments, and the command then gets the values by the option's name. Values are unparsed text;
// values.hpp converts them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/failure.hpp"

namespace sluice::cli {

// The dialect of the command line: a program called `ublk` behaves like ublk's tool where the two
// differ.
enum class Grammar : uint8_t { sluice, ublk };

struct OptionInfo {
  char letter = 0;         // of the short form; 0: none
  std::string name = {};   // of the long form; '_' and '-' are accepted in place of each other
  std::string value = {};  // the value's placeholder in the help; empty: a flag
  std::string help = {};
  bool repeated = false;    // may be given several times; otherwise the last one counts
  bool flag_value = false;  // a flag that also takes =yes or =no
  bool of_target = false;   // an option of the target, not of the command

  // The name for error messages: -q, or --mode without a letter.
  std::string shown() const;
};

class CommandLine {
 public:
  // `command`: "add". Every command has --help.
  explicit CommandLine(std::string command, Grammar grammar = Grammar::sluice);

  void add(OptionInfo option);
  // Adds an argument that is no option, such as SPEC, after those added before. "ARGUMENT...": any
  // number of them.
  void add_word(std::string name) { word_names_.push_back(std::move(name)); }
  // Declares an option that the command recognises but refuses, with the message `why`.
  void refuse(char letter, std::string name, std::string why);
  // Sets the failure for all unknown options.
  void blame_unknown(Failure failure) { blame_ = std::move(failure); }

  Outcome<void> parse(std::vector<std::string> arguments);

  bool has(std::string_view name) const { return !values(name).empty(); }
  // The last value given, or the fallback.
  std::string text(std::string_view name, std::string_view fallback = {}) const;
  // All values given, in order; those of a flag without a value are "yes".
  std::span<const std::string> values(std::string_view name) const;
  // The names of the options in the order in which they were given, as often as they were.
  std::span<const std::string> order() const { return order_; }
  // The arguments that are no options, as many as add_word() allows.
  std::span<const std::string> words() const { return words_; }
  // The first word.
  std::optional<std::string> word() const;

  const std::string& command() const { return command_; }
  Grammar grammar() const { return grammar_; }
  std::span<const std::string> word_names() const { return word_names_; }
  std::span<const OptionInfo> options() const { return options_; }
  // In either spelling.
  const OptionInfo* find(std::string_view name) const;
  // The failure of an option declared by refuse(), by its long name.
  std::optional<Failure> refusal_of(std::string_view name) const;
  // The failure for an unexpected word.
  Failure explain_word(const std::string& word) const;
  // "-n, --number ID   make it /dev/ublkbID", a line per option.
  std::string options_help(bool of_target) const;

 private:
  struct Refused {
    char letter;
    std::string name;
    std::string why;
  };

  Failure explain(std::string_view library_text) const;
  Failure explain_option(const std::string& argument) const;

  std::string command_;
  Grammar grammar_;
  std::vector<std::string> word_names_;
  std::vector<OptionInfo> options_;
  std::vector<Refused> refused_;
  std::vector<std::vector<std::string>> values_;  // of options_, in their order
  std::vector<std::string> order_;
  std::vector<std::string> words_;
  std::optional<Failure> blame_;
};

// Converts an option's name to the form with '_': max-io-buf-bytes to max_io_buf_bytes.
std::string canonical_name(std::string_view name);

}  // namespace sluice::cli
