// The stack of `sluice add`: given in one word, as JSON, on the standard input, or by options.
#include <unistd.h>

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/cli/cli_lines.hpp"

namespace sluice::cli::test {
namespace {

Spec spec_of(const Words& words, const std::string& input = {}) {
  const auto request = read_words(words, input);
  EXPECT_TRUE(request.has_value()) << testing::PrintToString(words) << request.error().text;
  return request ? request->serve.spec : Spec{};
}

std::string refused(const Words& words, Exit exit = Exit::failure, const std::string& input = {}) {
  const auto request = read_words(words, input);
  if (request) return "accepted";
  EXPECT_EQ(request.error().exit, exit) << testing::PrintToString(words);
  return request.error().text;
}

Spec file(const std::string& path) { return {.target = "loop", .options = {{"file", path}}}; }

TEST(AddSpec, AWordIsASpec) {
  EXPECT_EQ(spec_of({"null:1G"}),
            (Spec{.target = "null", .options = {{"size", uint64_t{1} << 30}}}));
  EXPECT_EQ(spec_of({"/a.img"}), file("/a.img"));
  EXPECT_EQ(spec_of({"-n", "3", "linear(/a, /b)", "-q", "2"}),
            (Spec{.target = "linear", .options = {}, .children = {file("/a"), file("/b")}}));
  EXPECT_EQ(spec_of({R"({"target":"loop","file":"/a.img"})"}), file("/a.img"));
}

TEST(AddSpec, ADashReadsTheInput) {
  EXPECT_EQ(spec_of({"-"}, "  /a.img\n"), file("/a.img"));
  EXPECT_EQ(spec_of({"-"}, "{\"target\":\"loop\",\n \"file\":\"/a.img\"}\n"), file("/a.img"));
  EXPECT_NE(refused({"-"}, Exit::failure, ""), "accepted");
  EXPECT_THAT(refused({"-"}, Exit::failure, std::string(kSpecBytesMax + 10, 'a')),
              testing::HasSubstr("1048576"));
}

TEST(AddSpec, RelativePathsAreOfThisDirectory) {
  const std::string here = std::filesystem::current_path();
  EXPECT_EQ(spec_of({"a.img"}), file(here + "/a.img"));
  EXPECT_EQ(spec_of({"-t", "loop", "-f", "a.img"}), file(here + "/a.img"));
  EXPECT_EQ(spec_of({"-t", "stripe", "-f", "a", "-f", "/b"}).children[0], file(here + "/a"));
}

TEST(AddSpec, OptionsMakeTheSameSpec) {
  EXPECT_EQ(spec_of({"-t", "null", "--size", "1G"}), spec_of({"null:1G"}));
  EXPECT_EQ(spec_of({"-t", "loop", "-f", "/a", "-o", "8s", "--buffered_io", "--size=1M"}),
            (Spec{.target = "loop",
                  .options = {{"file", "/a"},
                              {"offset", uint64_t{4096}},
                              {"size", uint64_t{1} << 20},
                              {"buffered_io", true}}}));
  EXPECT_EQ(spec_of({"-t", "loop", "-f", "/a", "--buffered-io=no"}).flag("buffered_io"), false);
  EXPECT_EQ(spec_of({"--chunk", "128k", "-f", "/a", "-t", "stripe", "-f", "/b"}),
            spec_of({"stripe(/a, /b, chunk=128k)"}));
  EXPECT_EQ(spec_of({"-t", "fault", "-f", "/a", "--errors", "1%", "--power-cut-after", "3"}),
            spec_of({"fault(/a, errors=\"1%\", power_cut_after=3)"}));
}

// ublk's tool counts sectors in this option.
TEST(AddSpec, ABareOffsetIsSectorsOrBytes) {
  const auto with_offset = [](const std::string& option, const std::string& value) {
    return Words{"-t", "loop", "-f", "/a", option, value};
  };
  EXPECT_EQ(refused(with_offset("-o", "2048")),
            "'2048' for --offset could be sectors or bytes: write 2048s (that is 1M) or 2k");
  EXPECT_EQ(refused(with_offset("--offset", "8")),
            "'8' for --offset could be sectors or bytes: write 8s (that is 4k) or 8B");
  EXPECT_THAT(refused({"-t", "linear", "-f", "/a", "--offset=4096"}),
              testing::HasSubstr("sectors or bytes"));
  for (const char* const value : {"2048s", "1M", "1048576B", "1024k"}) {
    EXPECT_EQ(spec_of(with_offset("-o", value)).number("offset", 7), 1U << 20) << value;
  }
  EXPECT_EQ(spec_of(with_offset("-o", "0")).number("offset", 7), 0U);
  EXPECT_EQ(spec_of({"loop(/a, offset=2048)"}).number("offset", 7), 2048U);
  EXPECT_EQ(spec_of({R"({"target":"loop","file":"/a","offset":2048})"}).number("offset", 7), 2048U);
}

TEST(AddSpec, CalledAsUblkABareOffsetIsSectors) {
  const auto offset_of = [](const std::string& value) {
    const Words words = {"-t", "loop", "-f", "/a", "-o", value};
    const auto request = read_words(words, {}, Grammar::ublk);
    EXPECT_TRUE(request.has_value()) << request.error().text;
    return request ? request->serve.spec.number("offset", 7) : 0;
  };
  EXPECT_EQ(offset_of("2048"), 1U << 20);
  EXPECT_EQ(offset_of("8s"), 4096U);
  EXPECT_EQ(offset_of("1M"), 1U << 20);
  const auto in_spec = read_words({"loop(/a, offset=2048)"}, {}, Grammar::ublk);
  EXPECT_EQ(in_spec->serve.spec.number("offset", 7), 2048U);
  EXPECT_EQ(grammar_of("/usr/bin/ublk"), Grammar::ublk);
  EXPECT_EQ(grammar_of("ublk"), Grammar::ublk);
  EXPECT_EQ(grammar_of("/ublk/sluice"), Grammar::sluice);
  EXPECT_EQ(grammar_of(""), Grammar::sluice);
}

TEST(AddSpec, BehindTwoDashesThereIsNoOption) {
  const std::string here = std::filesystem::current_path();
  EXPECT_EQ(spec_of({"-n", "3", "--", "/a.img"}), file("/a.img"));
  EXPECT_EQ(spec_of({"--", "--weird.img"}), file(here + "/--weird.img"));
  EXPECT_EQ(spec_of({"--", "-"}, "/a.img"), file("/a.img"));
  EXPECT_EQ(refused({"--", "/a", "/b"}, Exit::usage),
            "unexpected argument '/b' (see 'sluice help add')");
  EXPECT_EQ(refused({"/a", "--", "-q"}, Exit::usage),
            "unexpected argument '-q' (see 'sluice help add')");
}

TEST(AddSpec, FilesAreAsManyAsTheTargetTakes) {
  EXPECT_EQ(refused({"-t", "loop"}), "target 'loop' needs -f FILE, a regular file or block device");
  EXPECT_EQ(refused({"-t", "loop", "-f", "a", "-f", "b"}),
            "target 'loop' takes one -f FILE, found 2");
  EXPECT_EQ(refused({"-t", "null", "-f", "a"}), "target 'null' takes no -f FILE");
  EXPECT_EQ(refused({"-t", "stripe"}), "target 'stripe' takes at least 1 -f FILE, found 0");
  EXPECT_EQ(refused({"-t", "fault", "-f", "a", "-f", "b"}),
            "target 'fault' takes at most 1 -f FILE, found 2");
}

TEST(AddSpec, ValuesOfATargetAreChecked) {
  EXPECT_THAT(refused({"-t", "null", "--size", "10X"}),
              testing::StartsWith("'10X' for --size is not a size"));
  EXPECT_EQ(refused({"-t", "null", "--size", "0"}), "--size takes 512 or more");
  EXPECT_EQ(refused({"-t", "stripe", "-f", "/a", "--chunk", "2G"}), "--chunk takes 1G or less");
  EXPECT_EQ(refused({"-t", "fault", "-f", "/a", "--after", "-1"}),
            "--after takes a whole number, found '-1'");
  EXPECT_EQ(refused({"-t", "loop", "-f", "/a", "--buffered_io=maybe"}),
            "--buffered_io takes yes or no, found 'maybe'");
  EXPECT_EQ(refused({"-t", "null", "--size", "1G", "--size", "2G"}),
            "--size is given twice: give it once");
  EXPECT_EQ(refused({"-t", "mem"}), "target 'mem' needs --size SIZE, size of the disk");
}

TEST(AddSpec, ThereIsOneWayToSayWhat) {
  EXPECT_EQ(refused({}, Exit::usage),
            "nothing to serve: give -t TYPE or SPEC (see 'sluice help add')");
  EXPECT_EQ(refused({"-t", "null", "null:1G"}, Exit::usage),
            "-t null and the SPEC 'null:1G' both say what to serve: give one of them");
  EXPECT_EQ(refused({"null:1G", "-f", "a"}, Exit::usage),
            "-f goes with -t TYPE only: write the file into the SPEC, as in 'stripe(a, b)'");
  EXPECT_EQ(refused({"null:1G", "null:2G"}, Exit::usage),
            "unexpected argument 'null:2G' (see 'sluice help add')");
}

// Whatever the target calls its own options.
TEST(AddSpec, SnapshotPutsAnOverlayAboveTheStack) {
  const Spec below{.target = "linear", .options = {}, .children = {file("/a"), file("/b")}};
  const Spec overlay{.target = "overlay", .options = {}, .children = {below}};
  EXPECT_EQ(spec_of({"--snapshot", "linear(/a, /b)"}), overlay);
  EXPECT_EQ(spec_of({"linear(/a, /b)", "--snapshot", "--read-only"}), overlay);
  EXPECT_EQ(spec_of({"-t", "linear", "-f", "/a", "-f", "/b", "--snapshot"}), overlay);
  EXPECT_EQ(spec_of({"overlay(linear(/a, /b))"}), overlay);
  EXPECT_EQ(spec_of({"-t", "overlay", "-f", "/a"}), spec_of({"--snapshot", "/a"}));
  const Spec image{.target = "qcow2", .options = {{"file", "/a"}}};
  EXPECT_EQ(spec_of({"-t", "qcow2", "-f", "/a", "--snapshot"}),
            (Spec{.target = "overlay", .options = {}, .children = {image}}));
  EXPECT_EQ(spec_of({"--snapshot", "exports(/a, /b, names=x+y)"}),
            spec_of({"exports(overlay(/a), overlay(/b), names=x+y)"}));
}

TEST(AddSpec, SnapshotTakesNoValue) {
  EXPECT_EQ(refused({"-t", "qcow2", "-f", "/a", "--snapshot", "first"}, Exit::usage),
            "--snapshot takes no name: for the internal snapshot 'first' write SPEC"
            " 'qcow2(FILE, snapshot=NAME)'");
  EXPECT_EQ(refused({"-t", "loop", "-f", "/a", "--snapshot", "first"}, Exit::usage),
            "-t loop and the SPEC 'first' both say what to serve: give one of them");
  EXPECT_EQ(refused({"--snapshot=first", "/a"}, Exit::usage), "option --snapshot takes no value");
}

TEST(AddSpec, ASpecThatIsWrongIsAFailure) {
  EXPECT_THAT(refused({"strip(a, b)"}), testing::HasSubstr("did you mean 'stripe'?"));
  EXPECT_NE(refused({"stripe(a"}), "accepted");
  EXPECT_NE(refused({"null(size=10X)"}), "accepted");
  EXPECT_NE(refused({""}), "accepted");
}

}  // namespace
}  // namespace sluice::cli::test
