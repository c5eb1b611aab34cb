// The options of `sluice add`: those of ublk's tool have the same meaning as there.
#include "cli/add_options.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "target/registry.hpp"
#include "unit/cli/cli_lines.hpp"

namespace sluice::cli::test {
namespace {

ServeOptions accepted(const Words& words) {
  const auto request = read_words(words);
  EXPECT_TRUE(request.has_value()) << testing::PrintToString(words) << request.error().text;
  return request ? request->serve : ServeOptions{};
}

void expect_refused(const Words& words, Exit exit, const std::string& sentence) {
  const auto request = read_words(words);
  ASSERT_FALSE(request.has_value()) << testing::PrintToString(words);
  EXPECT_EQ(request.error().text, sentence) << testing::PrintToString(words);
  EXPECT_EQ(request.error().exit, exit) << testing::PrintToString(words);
}

TEST(AddOptions, DefaultsAreThoseOfUblk) {
  const ServeOptions options = accepted({"-t", "null"});
  EXPECT_EQ(options.frontend.id, kAnyId);
  EXPECT_EQ(options.frontend.queues, 1);
  EXPECT_EQ(options.frontend.depth, 128);
  EXPECT_EQ(options.frontend.max_io_bytes, 512U * 1024);
  EXPECT_EQ(options.frontend.recovery, Recovery::none);
  EXPECT_EQ(options.frontend.mode, "");
  EXPECT_FALSE(options.frontend.own.flag("zerocopy"));
  EXPECT_FALSE(options.frontend.unprivileged);
  EXPECT_FALSE(options.read_only);
  EXPECT_FALSE(options.force);
  EXPECT_FALSE(options.foreground);
  EXPECT_FALSE(options.resume);
  EXPECT_EQ(options.debug_mask, 0U);
  EXPECT_EQ(options.poll_us, kUsualPollUs);
}

TEST(AddOptions, LongAndShortFormsMeanTheSame) {
  for (const Words& words :
       {Words{"-t", "null", "-n", "5", "-q", "4", "-d", "64", "-g", "1", "-r", "1", "-i", "1"},
        Words{"-tnull", "-n5", "-q4", "-d64", "-g1", "-r1", "-i1"},
        Words{"-t", "null", "-n5", "-q4", "-d64", "-g1", "-r1", "-i1"},
        Words{"--type", "null", "--number", "5", "--queues", "4", "--depth", "64",
              "--need_get_data", "1", "--user_recovery", "1", "--user_recovery_reissue", "1"},
        Words{"--type=null", "--number=5", "--queues=4", "--depth=64", "--need-get-data=1",
              "--user-recovery=1", "--user-recovery-reissue=1"}}) {
    const ServeOptions options = accepted(words);
    EXPECT_EQ(options.spec, Spec{.target = "null"});
    EXPECT_EQ(options.frontend.id, 5U);
    EXPECT_EQ(options.frontend.queues, 4);
    EXPECT_EQ(options.frontend.depth, 64);
    EXPECT_EQ(options.frontend.mode, "get_data");
    EXPECT_EQ(options.frontend.recovery, Recovery::reissue);
  }
}

TEST(AddOptions, TheRestIsPassedOn) {
  const ServeOptions options =
      accepted({"-t", "null", "--unprivileged", "--max_io_buf_bytes", "1M", "--debug_mask=0x3",
                "--foreground", "--resume", "--read-only", "--force", "--mode", "user-copy",
                "--poll", "1.5us"});
  EXPECT_TRUE(options.frontend.unprivileged);
  EXPECT_EQ(options.frontend.max_io_bytes, 1U << 20);
  EXPECT_EQ(options.debug_mask, 3U);
  EXPECT_EQ(options.poll_us, 2U);
  EXPECT_TRUE(options.foreground);
  EXPECT_TRUE(options.resume);
  EXPECT_TRUE(options.read_only);
  EXPECT_TRUE(options.force);
  EXPECT_EQ(options.frontend.mode, "user_copy");
  EXPECT_TRUE(read_words({"-t", "null", "--json"})->json);
}

// The path must be made absolute, because the server has another current directory.
TEST(AddOptions, WhereAFileAppearsIsRelativeToTheCaller) {
  const std::string here = std::filesystem::current_path();
  EXPECT_EQ(accepted({"null:1M", "--at", "view.img"}).frontend.own.text("at"), here + "/view.img");
  EXPECT_EQ(accepted({"null:1M", "--at", "/srv/view.img"}).frontend.own.text("at"),
            "/srv/view.img");
  EXPECT_EQ(accepted({"null:1M"}).frontend.own.text("at"), "");
}

TEST(AddOptions, RecoveryIsWhatUblkCallsIt) {
  const auto recovery = [](const Words& switches) {
    Words words = {"-t", "null"};
    words.insert(words.end(), switches.begin(), switches.end());
    return accepted(words).frontend.recovery;
  };
  EXPECT_EQ(recovery({"-r", "0"}), Recovery::none);
  EXPECT_EQ(recovery({"-r", "0", "-i", "0", "-e", "0"}), Recovery::none);
  EXPECT_EQ(recovery({"-r", "1"}), Recovery::wait);
  EXPECT_EQ(recovery({"-r", "1", "-i", "1", "-e", "0"}), Recovery::reissue);
  EXPECT_EQ(recovery({"-r", "1", "-e", "1"}), Recovery::fail_io);
  const std::string both =
      "-i 1 (repeat requests) and -e 1 (fail them) exclude each other: choose one";
  expect_refused({"-t", "null", "-i", "1"}, Exit::usage,
                 "-i 1 selects how to recover, which also needs -r 1");
  expect_refused({"-t", "null", "-r", "0", "-e", "1"}, Exit::usage,
                 "-e 1 selects how to recover, which also needs -r 1");
  expect_refused({"-t", "null", "-r", "1", "-i", "1", "-e", "1"}, Exit::usage, both);
}

TEST(AddOptions, ModesThatContradictEachOtherAreRefused) {
  EXPECT_EQ(accepted({"-t", "null", "--usercopy", "--mode", "user_copy"}).frontend.mode,
            "user_copy");
  expect_refused({"-t", "null", "-z", "--usercopy"}, Exit::usage,
                 "-z requires zero copy, but mode 'user_copy' copies: drop one of them");
  expect_refused({"-t", "null", "-z", "-g1"}, Exit::usage,
                 "-z requires zero copy, but mode 'get_data' copies: drop one of them");
  expect_refused({"-t", "null", "-g1", "--usercopy"}, Exit::usage,
                 "-g 1 and --usercopy name different modes: drop one of them");
  expect_refused({"-t", "null", "--usercopy", "--mode=copy"}, Exit::usage,
                 "--usercopy and --mode copy name different modes: drop one of them");
  expect_refused({"-t", "null", "-g1", "--mode=copy"}, Exit::usage,
                 "-g 1 and --mode copy name different modes: drop one of them");
  expect_refused({"-t", "null", "--mode", "usr_copy"}, Exit::usage,
                 "unknown mode 'usr_copy': did you mean 'user_copy'?");
  expect_refused({"-t", "null", "--mode", "best"}, Exit::usage,
                 "unknown mode 'best': there are auto, register, user_copy, get_data, copy, "
                 "passthrough, uring_zc, uring, splice");
}

TEST(AddOptions, WhatUblkHasAndSluiceHasNotIsNamed) {
  for (const char* const option :
       {"--shmem_zc", "--rdonly_shmem_buf", "--eventfd=3", "--htlb=/x"}) {
    const auto request = read_words({"-t", "null", option});
    ASSERT_FALSE(request.has_value()) << option;
    EXPECT_EQ(request.error().exit, Exit::usage);
    EXPECT_THAT(request.error().text, testing::HasSubstr("of ublk is not supported: "));
  }
}

TEST(AddOptions, AHintOfUblkIsTakenAndSaidToBeOne) {
  using testing::ElementsAre;
  using testing::StartsWith;
  EXPECT_THAT(read_words({"-t", "null", "-u", "1"})->notes, testing::IsEmpty());
  EXPECT_THAT(read_words({"-t", "null", "-u", "0"})->notes,
              ElementsAre(StartsWith("-u 0 has no effect: ")));
  for (const char* const option : {"-b", "--batch-io", "--batch_io"}) {
    EXPECT_THAT(read_words({"-t", "null", option})->notes,
                ElementsAre(StartsWith("-b has no effect: ")));
  }
}

TEST(AddOptions, ANameIsChecked) {
  EXPECT_EQ(accepted({"-t", "null", "--name", "db"}).name, "db");
  EXPECT_EQ(accepted({"-t", "null"}).name, "");
  expect_refused({"-t", "null", "--name", "7"}, Exit::usage,
                 "'7' cannot be the name of a device: it would be taken for a number");
  expect_refused({"-t", "null", "--name", "../x"}, Exit::usage,
                 "'../x' cannot be the name of a device: it may have letters, digits and +-.:@_");
}

TEST(AddOptions, QuietIsForScriptsAndSoIsJson) {
  EXPECT_TRUE(read_words({"-t", "null", "--quiet"})->quiet);
  EXPECT_TRUE(accepted({"-t", "null", "--quiet"}).quiet);
  expect_refused({"-t", "null", "--quiet", "--json"}, Exit::usage,
                 "--quiet and --json exclude each other: choose one");
}

TEST(AddOptions, LimitsAreThoseOfTheDriver) {
  EXPECT_EQ(accepted({"-t", "null", "-d", "4096"}).frontend.depth, 4096);
  EXPECT_EQ(accepted({"-t", "null", "--max-io-buf-bytes", "32M"}).frontend.max_io_bytes, 32U << 20);
  for (const Words& words : {Words{"-d", "0"}, Words{"-d", "4097"}, Words{"-q", "0"},
                             Words{"-q", "4097"}, Words{"--max_io_buf_bytes", "2k"},
                             Words{"--max_io_buf_bytes", "33M"}, Words{"-n", "1048576"}}) {
    Words all = {"-t", "null"};
    all.insert(all.end(), words.begin(), words.end());
    const auto request = read_words(all);
    ASSERT_FALSE(request.has_value()) << testing::PrintToString(words);
    EXPECT_EQ(request.error().exit, Exit::usage);
  }
  expect_refused({"-t", "null", "--max_io_buf_bytes", "10000"}, Exit::usage,
                 "--max_io_buf_bytes takes a multiple of 4096, found 10000: give 12288");
}

TEST(AddOptions, EveryOptionOfEveryTargetCanBeGiven) {
  for (const TargetSyntax& target : target_vocabulary()) {
    CommandLine line("add");
    declare_add(line, Words{"-t", std::string(target.name)});
    for (const OptionSyntax& option : target.options) {
      const OptionInfo* const info = line.find(option.name);
      ASSERT_NE(info, nullptr) << target.name << " " << option.name;
      // Only the first two are also options of the command itself with the same meaning. --snapshot
      // and --type mean another thing, so that those of qcow2 and crypt must be written in a SPEC.
      const bool is_common = option.name == "file" || option.name == "read_only" ||
                             (target.name == "qcow2" && option.name == "snapshot") ||
                             (target.name == "crypt" && option.name == "type");
      EXPECT_EQ(info->of_target, !is_common) << target.name << " " << option.name;
    }
  }
}

TEST(AddOptions, OptionsOfATargetNeedIt) {
  expect_refused({"--size", "1G"}, Exit::usage,
                 "--size is an option of a target: name the target with -t, or write 'size=...' "
                 "into the SPEC");
  expect_refused({"-t", "null", "--chunk", "64k"}, Exit::usage,
                 "--chunk is an option of stripe, not of null ('sluice help -t null' lists those "
                 "of null)");
  expect_refused({"-t", "nul", "--size", "1G"}, Exit::failure,
                 "unknown target 'nul': did you mean 'null'? ('sluice targets' lists all)");
  // The options of an unknown target are unknown, so the message does not mention them.
  expect_refused({"-t", "bcache", "--peer", "localhost"}, Exit::failure,
                 "unknown target 'bcache': 'sluice targets' lists all");
  expect_refused({"-t", "bcache", "-x"}, Exit::failure,
                 "unknown target 'bcache': 'sluice targets' lists all");
  expect_refused({"-t", "null", "--siez", "1G"}, Exit::usage,
                 "unknown option '--siez' of 'sluice add': did you mean '--size'?");
  expect_refused({"-t", "null", "--frobnicate"}, Exit::usage,
                 "unknown option '--frobnicate' of 'sluice add' (see 'sluice help add')");
}

TEST(AddOptions, ValuesAreNeededAndNotTakenFromElsewhere) {
  expect_refused({"-t", "null", "-n"}, Exit::usage, "option -n needs its ID");
  expect_refused({"-t", "null", "--mode"}, Exit::usage, "option --mode needs its MODE");
  expect_refused({"-t", "null", "--size=", "--json"}, Exit::usage,
                 "option '--size' has an empty value: write it behind the '='");
  expect_refused({"-t", "null", "--json=1"}, Exit::usage, "option --json takes no value");
  expect_refused({"-t", "null", "-n", "-5"}, Exit::usage,
                 "-n takes a whole number from 0 to 1048575, found '-5'");
}

}  // namespace
}  // namespace sluice::cli::test
