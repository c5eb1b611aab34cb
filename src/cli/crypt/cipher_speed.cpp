#include "cli/crypt/cipher_speed.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <ctime>

#include "target/crypt/sector_cipher.hpp"

namespace sluice::cli {
namespace {

constexpr size_t kPieceBytes = 64 << 10;  // as target crypt
constexpr int kPiecesAtOnce = 16;         // between two looks at the clock

struct Wanted {
  std::string_view cipher;
  size_t key_bytes;
};
constexpr Wanted kWanted[] = {
    {"aes-xts-plain64", 32}, {"aes-xts-plain64", 64}, {"aes-cbc-essiv:sha256", 32}};
constexpr uint32_t kSectors[] = {512, 4096};

// Of this thread: what else the processors do does not count.
double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <typename Work>
Result<double> mib_per_s(double seconds, Work work) {
  const double begin = processor_seconds();
  uint64_t pieces = 0;
  double spent = 0;
  do {
    for (int i = 0; i < kPiecesAtOnce; ++i) {
      if (!work(pieces++)) return fail(EIO, "OpenSSL cannot encipher");
    }
    spent = processor_seconds() - begin;
  } while (spent < seconds);
  return static_cast<double>(pieces * kPieceBytes) / (1 << 20) / spent;
}

Result<CipherSpeed> measure(const Wanted& wanted, uint32_t sector_bytes, double seconds) {
  std::vector<std::byte> key(wanted.key_bytes);
  for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::byte>(i);
  const auto known = crypt::find_cipher(wanted.cipher, key.size());
  if (!known) return std::unexpected(known.error());
  auto cipher = crypt::SectorCipher::create(*known, key, sector_bytes);
  if (!cipher) return std::unexpected(cipher.error());
  std::vector<std::byte> piece(kPieceBytes);
  const auto encrypting = mib_per_s(
      seconds, [&](uint64_t number) { return (*cipher)->encrypt(number, piece, piece.data()); });
  if (!encrypting) return std::unexpected(encrypting.error());
  const auto decrypting = mib_per_s(
      seconds, [&](uint64_t number) { return (*cipher)->decrypt(number, piece, piece.data()); });
  if (!decrypting) return std::unexpected(decrypting.error());
  return CipherSpeed{.cipher = wanted.cipher,
                     .key_bytes = wanted.key_bytes,
                     .sector_bytes = sector_bytes,
                     .encrypting_mib_per_s = *encrypting,
                     .decrypting_mib_per_s = *decrypting};
}

}  // namespace

Result<std::vector<CipherSpeed>> measure_ciphers(double seconds) {
  std::vector<CipherSpeed> speeds;
  for (const Wanted& wanted : kWanted) {
    for (const uint32_t sector : kSectors) {
      auto speed = measure(wanted, sector, seconds);
      if (!speed) return std::unexpected(speed.error());
      speeds.push_back(*speed);
    }
  }
  return speeds;
}

std::string speeds_text(const std::vector<CipherSpeed>& speeds) {
  std::string text = fmt::format("{:<22} {:>4} {:>7} {:>16} {:>16}\n", "CIPHER", "BITS", "SECTORS",
                                 "ENCIPHER, MiB/s", "DECIPHER, MiB/s");
  for (const CipherSpeed& each : speeds) {
    text += fmt::format("{:<22} {:>4} {:>7} {:>16.0f} {:>16.0f}\n", each.cipher, 8 * each.key_bytes,
                        each.sector_bytes, each.encrypting_mib_per_s, each.decrypting_mib_per_s);
  }
  return text;
}

Json speeds_json(const std::vector<CipherSpeed>& speeds) {
  Json list = Json::array();
  for (const CipherSpeed& each : speeds) {
    Json json = Json::object();
    json.set("cipher", each.cipher);
    json.set("key_bits", 8 * each.key_bytes);
    json.set("sector_bytes", each.sector_bytes);
    json.set("encrypting_mib_per_s", each.encrypting_mib_per_s);
    json.set("decrypting_mib_per_s", each.decrypting_mib_per_s);
    list.push_back(std::move(json));
  }
  return list;
}

}  // namespace sluice::cli
