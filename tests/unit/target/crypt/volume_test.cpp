// crypt over volumes that cryptsetup and QEMU have made: which are served, and which are not.
#include "target/crypt/volume.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "frontend/direct/device.hpp"
#include "support/work_folder.hpp"
#include "target/crypt/luks2_metadata.hpp"
#include "target/crypt/secret.hpp"
#include "target/open_context.hpp"
#include "target/registry.hpp"
#include "target/stack.hpp"

namespace sluice::test {
namespace {

using testing::HasSubstr;

constexpr std::string_view kQuick = " --batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000 ";

class CryptVolumeTest : public testing::Test {
 protected:
  void SetUp() override {
    if (folder_.run("cryptsetup --version") != 0) GTEST_SKIP() << "there is no cryptsetup";
    run("printf secret > key && chmod 600 key");
  }

  void run(const std::string& command) const {
    ASSERT_EQ(folder_.run(command), 0) << command << ": " << folder_.output();
  }
  void format(const std::string& options, const std::string& size = "20M") const {
    run("truncate -s " + size + " v && cryptsetup luksFormat" + std::string(kQuick) + options +
        " v key");
  }

  std::string spec(const std::string& options = {}) const {
    return "crypt(" + folder_.path() + "/v, key_file=" + folder_.path() + "/key" +
           (options.empty() ? "" : ", " + options) + ")";
  }
  Result<std::unique_ptr<Stack>> open(const std::string& options = {}) const {
    const auto parsed = parse_spec(spec(options), target_vocabulary());
    if (!parsed) return std::unexpected(parsed.error());
    return Stack::open(*parsed, /*read_only=*/false);
  }
  std::string refusal(const std::string& options = {}) const {
    const auto stack = open(options);
    return stack ? std::string() : stack.error().text;
  }
  // T7.1, T7.8: whatever is refused or warned of, not a byte of the volume changes.
  std::string refusal_without_a_trace(const std::string& options = {}) const {
    const auto before = folder_.read("v");
    std::string text = refusal(options);
    EXPECT_EQ(folder_.read("v"), before);
    return text;
  }
  void write(const std::string& name, std::string_view text) const {
    const auto bytes = std::as_bytes(std::span(text));
    folder_.write(name, {bytes.begin(), bytes.end()});
  }
  // Replaces a text in both copies of the metadata, and mends the checksums.
  void change_metadata(const std::string& from, const std::string& to) const {
    constexpr std::string_view kScript =
        "import hashlib\n"
        "words = [open(name, 'rb').read() for name in ('from', 'to')]\n"
        "with open('v', 'r+b') as f:\n"
        "  for at in (0, 16384):\n"
        "    f.seek(at); h = bytearray(f.read(16384))\n"
        "    old = bytes(h[4096:].rstrip(bytes(1)))\n"
        "    new = old.replace(*words)\n"
        "    assert new != old\n"
        "    h[4096:] = new.ljust(16384 - 4096, bytes(1))\n"
        "    h[448:512] = bytes(64); h[448:480] = hashlib.sha256(h).digest()\n"
        "    f.seek(at); f.write(h)\n";
    write("from", from);
    write("to", to);
    write("change.py", kScript);
    run("python3 change.py");
  }

  const WorkFolder folder_;
};

TEST_F(CryptVolumeTest, EachTypeOpensAndKeepsData) {
  for (const char* each :
       {"--type luks2 --sector-size 512", "--type luks2 --sector-size 4096", "--type luks1",
        "--type luks2 --cipher aes-cbc-essiv:sha256 --key-size 256",
        "--type luks1 --cipher aes-xts-plain --key-size 256"}) {
    run("rm -f v");
    format(each);
    auto stack = open();
    ASSERT_TRUE(stack) << each << ": " << stack.error().text;
    EXPECT_TRUE((*stack)->geometry().needs_bytes);
    ASSERT_TRUE((*stack)->start());
    {
      auto device = direct::Device::create(**stack, {.queues = 2});
      ASSERT_TRUE(device);
      std::vector<std::byte> data(300 << 10, std::byte{0x5a});
      ASSERT_TRUE((*device)->write(8192, data).ok());
      std::vector<std::byte> back(data.size());
      ASSERT_TRUE((*device)->read(8192, back).ok());
      EXPECT_EQ(back, data) << each;
      const auto raw = folder_.read("v");
      EXPECT_EQ(std::ranges::search(raw, std::span(data).first(512)).size(), 0U)
          << "the data is readable on the disk";
    }
    (*stack)->stop();
  }
}

TEST_F(CryptVolumeTest, LargeSectorsAreTheBlocks) {  // T7.4, T7.5
  format("--type luks2 --sector-size 4096", "20971520");
  run("truncate -s +3584 v");
  auto stack = open();
  ASSERT_TRUE(stack) << stack.error().text;
  EXPECT_EQ((*stack)->geometry().logical_block_bytes, 4096U);
  EXPECT_GE((*stack)->geometry().physical_block_bytes, 4096U);
  EXPECT_EQ((*stack)->geometry().size_bytes, 4U << 20) << "the tail is left out";
}

TEST_F(CryptVolumeTest, AWrongPassphraseIsRefused) {  // T7.10
  format("--type luks2");
  run("printf 'secret\\n' > key");
  EXPECT_THAT(refusal_without_a_trace(), HasSubstr("no keyslot opens with this passphrase"));
  EXPECT_EQ(refusal_without_a_trace("key_file_size=6"), "") << "without the newline";
  EXPECT_THAT(refusal_without_a_trace("key_file_size=6, keyslot=3"), HasSubstr("not in use"));
}

TEST_F(CryptVolumeTest, PassphrasesMayHoldAnyByte) {  // T7.14
  run("printf 'a\\0b\\n\\377' > key");
  format("--type luks2");
  EXPECT_EQ(refusal(), "");
  run("printf 'a' > key");
  EXPECT_NE(refusal(), "") << "it does not end at the NUL";
}

TEST_F(CryptVolumeTest, OtherFilesAreRefusedPlainly) {  // T7.11
  run("head -c 1M /dev/urandom > v");
  EXPECT_THAT(refusal_without_a_trace(), HasSubstr("no LUKS header"));
  run("truncate -s 0 v; truncate -s 512 v");
  EXPECT_THAT(refusal_without_a_trace(), HasSubstr("no LUKS header"));
  format("--type luks2");
  run("truncate -s 16M v");
  EXPECT_THAT(refusal_without_a_trace(), HasSubstr("ends too early"));
}

TEST_F(CryptVolumeTest, TheSecondHeaderIsUsedIfTheFirstIsDestroyed) {  // T7.8
  format("--type luks2");
  run("dd if=/dev/zero of=v bs=4096 count=1 conv=notrunc status=none");
  EXPECT_EQ(refusal_without_a_trace(), "");
  run("dd if=/dev/urandom of=v bs=4096 seek=4 count=1 conv=notrunc status=none");
  EXPECT_THAT(refusal_without_a_trace(), HasSubstr("no LUKS header"));
}

TEST_F(CryptVolumeTest, ATornFirstHeaderIsNotUsed) {  // T7.8
  format("--type luks2");
  run("dd if=/dev/zero of=v bs=512 seek=9 count=1 conv=notrunc status=none");
  EXPECT_EQ(refusal_without_a_trace(), "");
  const auto bytes = folder_.read("v");
  const auto copies = crypt::look_at_copies(std::span(bytes).first(crypt::kFirstHeaderBytes));
  EXPECT_FALSE(copies.first.valid);
  EXPECT_TRUE(copies.second.valid);
}

TEST_F(CryptVolumeTest, ReencryptionAndUnknownRequirementsAreRefused) {  // T7.1, T7.2
  format("--type luks2");
  change_metadata(R"("config":{)",
                  R"("config":{"requirements":{"mandatory":["offline-reencrypt"]},)");
  EXPECT_THAT(refusal_without_a_trace(), HasSubstr("being re-encrypted"));
  change_metadata("offline-reencrypt", "future-thing");
  EXPECT_THAT(refusal_without_a_trace(), HasSubstr("future-thing"));
  format("--type luks2", "40M");
  run("cryptsetup reencrypt --init-only --force-offline-reencrypt --resilience checksum "
      "--pbkdf pbkdf2 --pbkdf-force-iterations 1000 --batch-mode --key-file key v");
  EXPECT_THAT(refusal_without_a_trace(), HasSubstr("being re-encrypted"));
}

TEST_F(CryptVolumeTest, SectorsOf8192BytesAreRefused) {  // T7.4
  format("--type luks2 --sector-size 4096", "32M");
  change_metadata(R"("sector_size":4096)", R"("sector_size":8192)");
  EXPECT_NE(refusal_without_a_trace(), "");
}

TEST_F(CryptVolumeTest, IntegrityIsRefusedInWords) {
  format("--type luks2");
  change_metadata(R"("sector_size":)", R"("integrity":{"type":"aead","journal_encryption":"none",)"
                                       R"("journal_integrity":"none"},"sector_size":)");
  EXPECT_THAT(refusal_without_a_trace(), HasSubstr("integrity"));
}

TEST_F(CryptVolumeTest, OtherCiphersAreRefusedByName) {  // T7.6
  format("--type luks2 --cipher aes-cbc-plain64 --key-size 256");
  EXPECT_THAT(refusal_without_a_trace(), HasSubstr("aes-cbc-plain64"));
}

TEST_F(CryptVolumeTest, TheMemoryOfArgon2IsLimitedBeforeItRuns) {  // T7.13
  run("truncate -s 20M v && cryptsetup luksFormat --batch-mode --type luks2 --pbkdf argon2id "
      "--pbkdf-memory 65536 --pbkdf-force-iterations 4 --pbkdf-parallel 1 v key");
  EXPECT_EQ(refusal("pbkdf_memory=64M"), "");
  EXPECT_THAT(refusal_without_a_trace("pbkdf_memory=63M"), HasSubstr("pbkdf_memory=64M"));
  change_metadata(R"("memory":65536)", R"("memory":4194304)");
  EXPECT_THAT(refusal_without_a_trace(), HasSubstr("4G of memory"));
}

TEST_F(CryptVolumeTest, ADetachedHeader) {  // T7.7
  run("truncate -s 4M v && cryptsetup luksFormat --type luks2 --header h" + std::string(kQuick) +
      "v key");
  auto stack = open("header=" + folder_.path() + "/h");
  ASSERT_TRUE(stack) << stack.error().text;
  EXPECT_EQ((*stack)->geometry().size_bytes, 4U << 20);
  stack->reset();
  run("mv h v");
  EXPECT_THAT(refusal_without_a_trace(), HasSubstr("detached header"));
}

TEST_F(CryptVolumeTest, ADetachedHeaderInAnImage) {  // T7.7
  run("truncate -s 4M v && cryptsetup luksFormat --type luks2 --header h" + std::string(kQuick) +
      "v key");
  if (folder_.run("qemu-img convert -f raw -O qcow2 h h.qcow2") != 0) {
    GTEST_SKIP() << "there is no qemu-img";
  }
  const auto before = folder_.read("h.qcow2");
  auto stack = open("header=qcow2:" + folder_.path() + "/h.qcow2");
  ASSERT_TRUE(stack) << stack.error().text;
  stack->reset();
  EXPECT_EQ(folder_.read("h.qcow2"), before);
  EXPECT_THAT(refusal("header=\"stripe(\""), HasSubstr("crypt: header: "));
}

TEST(CryptOptions, PathsOfTheHeaderAreMadeAbsolute) {
  const auto absolute = [](std::string_view text) {
    auto spec = parse_spec(text, target_vocabulary());
    const auto made = make_paths_absolute(*spec, target_vocabulary(), "/home");
    return made ? to_text(*spec, target_vocabulary()) : made.error().text;
  };
  EXPECT_EQ(absolute("crypt(v, header=h)"), "crypt(/home/v, header=/home/h)");
  EXPECT_EQ(absolute("crypt(v, header=nbd://server/h)"), "crypt(/home/v, header=nbd://server/h)");
  EXPECT_EQ(absolute("crypt(v, header=\"linear(a, \\\"b c\\\")\")"),
            "crypt(/home/v, header=\"linear(/home/a, \\\"/home/b c\\\")\")");
  EXPECT_THAT(absolute("crypt(v, header=\"linear(\")"), HasSubstr("option 'header': "));
}

TEST(CryptSecret, AProcessThatHasOneIsNotDumpable) {  // T7.14
  ASSERT_TRUE(crypt::Secret::create(1));
  EXPECT_EQ(prctl(PR_GET_DUMPABLE), 0);
}

TEST_F(CryptVolumeTest, DiscardsFollowTheHeaderOrTheOption) {  // T7.12
  format("--type luks2");
  EXPECT_FALSE((*open())->geometry().can_discard);
  EXPECT_TRUE((*open("allow_discards"))->geometry().can_discard);
  change_metadata(R"("config":{)", R"("config":{"flags":["allow-discards"],)");
  EXPECT_TRUE((*open())->geometry().can_discard);
  EXPECT_FALSE((*open("allow_discards=no"))->geometry().can_discard);
}

TEST_F(CryptVolumeTest, AnyChangeOfTheHeaderIsRefusedOrHarmless) {  // T7.9
  format("--type luks1", "4M");
  const auto sound = folder_.read("v");
  for (size_t at = 0; at < 208; ++at) {
    if (at == 165) continue;  // 16 million iterations, which are allowed
    auto bytes = sound;
    bytes[at] = static_cast<std::byte>(~std::to_integer<unsigned>(bytes[at]));
    folder_.write("v", bytes);
    const std::string text = refusal_without_a_trace();
    if (at == 164) EXPECT_THAT(text, HasSubstr("may take hours"));
  }
}

TEST_F(CryptVolumeTest, TheNextServerGetsTheKeyAndNoPassphrase) {  // T7.10
  format("--type luks2");
  auto first = open();
  ASSERT_TRUE(first) << first.error().text;
  run("rm key");
  const auto pass = [&](const Stack& stack) {
    InheritedFiles files;
    for (const int each : stack.files()) files.files.emplace_back(dup(each));
    OpenContext context(false, std::move(files));
    return Stack::open(stack.spec(), context);
  };
  auto next = pass(**first);
  ASSERT_TRUE(next) << next.error().text;
  first->reset();  // which wipes its own copy only
  auto third = pass(**next);
  EXPECT_TRUE(third) << third.error().text;
  run("printf other > key && cryptsetup luksFormat --type luks2" + std::string(kQuick) + "v key");
  const auto stale = pass(**next);
  ASSERT_FALSE(stale);
  EXPECT_THAT(stale.error().text, HasSubstr("its digest differs"));
}

TEST_F(CryptVolumeTest, PlainVolumesHashLikeCryptsetup) {
  // sha256 of "secret", as cryptsetup would use it, and for a key twice as long.
  const auto passphrase = crypt::Secret::copy_of(std::as_bytes(std::span("secret", 6)));
  for (const uint32_t bytes : {32U, 64U}) {
    const auto volume =
        crypt::Volume::plain({.cipher = "aes-xts-plain64", .key_bytes = bytes, .hash = "sha256"});
    ASSERT_TRUE(volume) << volume.error().text;
    const auto key = (*volume)->unlock(*passphrase, {});
    ASSERT_TRUE(key) << key.error().text;
    ASSERT_EQ(key->size(), bytes);
    run("printf secret | sha256sum | cut -c1-64 | tr -d '\\n' && "
        "printf Asecret | sha256sum | cut -c1-64");
    std::string digits;
    for (const std::byte each : key->bytes()) {
      digits += "0123456789abcdef"[std::to_integer<unsigned>(each) >> 4];
      digits += "0123456789abcdef"[std::to_integer<unsigned>(each) & 15];
    }
    EXPECT_EQ(digits, folder_.output().substr(0, 2 * bytes));
  }
}

}  // namespace
}  // namespace sluice::test
