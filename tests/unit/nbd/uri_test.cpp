// NBD URIs: what each part means, what is refused and why, and that they are written as they are
// read.
#include "nbd/uri.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::nbd::test {
namespace {

using testing::HasSubstr;

Uri uri_of(std::string_view text) {
  auto uri = parse_uri(text);
  EXPECT_TRUE(uri) << uri.error().text;
  return uri ? *uri : Uri();
}

std::string fault_of(std::string_view text) {
  const auto uri = parse_uri(text);
  EXPECT_FALSE(uri) << text;
  return uri ? "" : uri.error().text;
}

TEST(NbdUri, NamesAHostAPortAndAnExport) {
  const Uri plain = uri_of("nbd://example.com/disk");
  EXPECT_EQ(plain.transport, Transport::tcp);
  EXPECT_FALSE(plain.tls);
  EXPECT_EQ(plain.host, "example.com");
  EXPECT_EQ(plain.port, 10809U);
  EXPECT_EQ(plain.export_name, "disk");
  EXPECT_EQ(uri_of("nbd://example.com:1/").port, 1U);
  EXPECT_EQ(uri_of("nbd://example.com:/").port, 10809U);
  const Uri six = uri_of("nbd://[::1]:99/a");
  EXPECT_EQ(six.host, "::1");
  EXPECT_EQ(six.port, 99U);
}

// The table of doc/uri.md.
TEST(NbdUri, ExportNamesAreTextBehindTheFirstSlash) {
  EXPECT_EQ(uri_of("nbd://example.com").export_name, "");
  EXPECT_EQ(uri_of("nbd://example.com/").export_name, "");
  EXPECT_EQ(uri_of("nbd://example.com//disk").export_name, "/disk");
  EXPECT_EQ(uri_of("nbd://example.com/hello%20world").export_name, "hello world");
  EXPECT_EQ(uri_of("nbd+unix:///disk?socket=sock").export_name, "disk");
}

TEST(NbdUri, NamesASocket) {
  const Uri uri = uri_of("nbd+unix:///disk?socket=/run/a%20b.sock");
  EXPECT_EQ(uri.transport, Transport::unix_socket);
  EXPECT_EQ(uri.socket, "/run/a b.sock");
  EXPECT_EQ(uri_of("nbd+unix:///?socket=%00/abstract").socket, std::string("\0/abstract", 10));
}

TEST(NbdUri, NamesAVirtualMachine) {
  EXPECT_EQ(uri_of("nbd+vsock:///disk").cid, 2U);
  const Uri uri = uri_of("nbds+vsock://7:100000/disk");
  EXPECT_EQ(uri.cid, 7U);
  EXPECT_EQ(uri.port, 100000U);
  EXPECT_TRUE(uri.tls);
  EXPECT_TRUE(uri.host.empty());
}

TEST(NbdUri, NamesTheFilesOfTls) {
  const Uri uri = uri_of(
      "nbds://alice@host/x?tls-type=psk&tls-psk-file=/etc/keys.psk&tls-hostname=h&"
      "tls-verify-peer=0&tls-certificates=/etc/pki");
  EXPECT_EQ(uri.user, "alice");
  EXPECT_EQ(uri.tls_kind, TlsKind::psk);
  EXPECT_EQ(uri.tls_psk_file, "/etc/keys.psk");
  EXPECT_EQ(uri.tls_hostname, "h");
  EXPECT_FALSE(uri.tls_verify_peer);
  EXPECT_EQ(uri.tls_certificates, "/etc/pki");
}

TEST(NbdUri, OtherTextIsNone) {
  EXPECT_TRUE(is_uri("nbd://"));
  for (const auto* const text :
       {"", "disk.img", "nbd:", "nbd:/x", "http://x/", "NBD://x/", "a/nbd://"}) {
    EXPECT_FALSE(is_uri(text)) << text;
  }
  EXPECT_THAT(fault_of("ndb://x/"), HasSubstr("has no scheme of NBD"));
}

TEST(NbdUri, FaultsAreNamed) {
  EXPECT_THAT(fault_of("nbd:///disk"), HasSubstr("names no host"));
  EXPECT_THAT(fault_of("nbd://h:0/"), HasSubstr("a number from 1 to 65535 is needed"));
  EXPECT_THAT(fault_of("nbd://h:65536/"), HasSubstr("has the port '65536'"));
  EXPECT_THAT(fault_of("nbd://h:nbd/"), HasSubstr("has the port 'nbd'"));
  EXPECT_THAT(fault_of("nbd://::1/"), HasSubstr("write an IPv6 address in brackets"));
  EXPECT_THAT(fault_of("nbd://[::1/"), HasSubstr("has a [ without a ]"));
  EXPECT_THAT(fault_of("nbd://[::1]x/"), HasSubstr("other than a port"));
  EXPECT_THAT(fault_of("nbd://h/%zz"), HasSubstr("write % as %25"));
  EXPECT_THAT(fault_of("nbd://h/%2"), HasSubstr("write % as %25"));
  EXPECT_THAT(fault_of("nbd://h/a%00b"), HasSubstr("an export name with a NUL"));
  EXPECT_THAT(fault_of("nbd://h/a#b"), HasSubstr("write it as %23"));
  EXPECT_THAT(fault_of("nbd://h/" + std::string(5000, 'x')), HasSubstr("of 5000 bytes"));
  EXPECT_THAT(fault_of("nbd+unix:///x"), HasSubstr("add ?socket=PATH"));
  EXPECT_THAT(fault_of("nbd+unix://h/x?socket=s"), HasSubstr("write /// before"));
  EXPECT_THAT(fault_of("nbd+unix:///?socket=" + std::string(108, 'x')), HasSubstr("108 bytes"));
  EXPECT_THAT(fault_of("nbd+unix:///?socket=a%00b"), HasSubstr("a socket path with a NUL"));
  EXPECT_THAT(fault_of("nbd://h/?socket=s"), HasSubstr("needs nbd+unix://"));
  EXPECT_THAT(fault_of("nbd+vsock://guest/x"), HasSubstr("needs a context ID"));
  EXPECT_THAT(fault_of("nbd://h/?frobnicate=1"), HasSubstr("the unknown parameter 'frobnicate'"));
  EXPECT_THAT(fault_of("nbds://h/?tls-what=1"), HasSubstr("the unknown parameter 'tls-what'"));
  EXPECT_THAT(fault_of("nbd://h/?tls-type=psk"), HasSubstr("that needs nbds://"));
  EXPECT_THAT(fault_of("nbds://h/?tls-type=ssl3"), HasSubstr("x509, psk or anon is needed"));
  EXPECT_THAT(fault_of("nbds://h/?tls-verify-peer=yes"), HasSubstr("0 or 1 is needed"));
  EXPECT_THAT(fault_of("nbds://u:secret@h/"), HasSubstr("has a password"));
}

TEST(NbdUri, IsWrittenAsItIsRead) {
  for (const std::string text :
       {"nbd://example.com/", "nbd://example.com:99/disk", "nbd://[fe80::1]:7/a/b",
        "nbd+unix:///disk%3F?socket=/run/a%20b.sock", "nbd+unix:///?socket=%00abstract",
        "nbd+vsock://2/x", "nbds+vsock://9:77/x",
        "nbds://alice@host/x?tls-type=psk&tls-hostname=h&tls-verify-peer=0&tls-certificates=/etc/"
        "pki&tls-psk-file=/etc/keys"}) {
    EXPECT_EQ(to_text(uri_of(text)), text);
  }
}

}  // namespace
}  // namespace sluice::nbd::test
