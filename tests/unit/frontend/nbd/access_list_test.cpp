#include "frontend/nbd/access_list.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstring>

namespace sluice::nbd::test {
namespace {

sockaddr_storage peer(const char* address) {
  sockaddr_storage name{};
  in_addr four{};
  in6_addr six{};
  if (inet_pton(AF_INET, address, &four) == 1) {
    name.ss_family = AF_INET;
    reinterpret_cast<sockaddr_in&>(name).sin_addr = four;
  } else if (inet_pton(AF_INET6, address, &six) == 1) {
    name.ss_family = AF_INET6;
    reinterpret_cast<sockaddr_in6&>(name).sin6_addr = six;
  }
  return name;
}

bool allows(std::string_view lines, const char* address) {
  const auto list = AccessList::parse(lines);
  EXPECT_TRUE(list) << lines;
  return list && list->allows(peer(address));
}

TEST(NbdAccessList, AnEmptyListAllowsAll) {
  EXPECT_TRUE(allows("", "10.1.2.3"));
  EXPECT_TRUE(allows("", "fe80::1"));
}

TEST(NbdAccessList, NetworksOfBothKinds) {
  EXPECT_TRUE(allows("10.0.0.0/8", "10.255.0.1"));
  EXPECT_FALSE(allows("10.0.0.0/8", "11.0.0.1"));
  EXPECT_TRUE(allows("10.0.0.0/9", "10.127.0.1"));
  EXPECT_FALSE(allows("10.0.0.0/9", "10.128.0.1"));
  EXPECT_TRUE(allows("192.168.1.7", "192.168.1.7"));
  EXPECT_FALSE(allows("192.168.1.7", "192.168.1.8"));
  EXPECT_TRUE(allows("fd00::/8", "fd12::1"));
  EXPECT_FALSE(allows("fd00::/8", "fe80::1"));
  EXPECT_TRUE(allows("::1\n127.0.0.0/8", "::1"));
  EXPECT_TRUE(allows("::1\n127.0.0.0/8", "127.0.0.1"));
  EXPECT_TRUE(allows("0.0.0.0/0", "8.8.8.8"));
  EXPECT_FALSE(allows("0.0.0.0/0", "2001:db8::1"));
  EXPECT_TRUE(allows("::/0", "2001:db8::1"));
  EXPECT_FALSE(allows("::/0", "8.8.8.8"));
}

// T1.19.
TEST(NbdAccessList, MappedAddressesAreTheSame) {
  EXPECT_TRUE(allows("10.0.0.0/8", "::ffff:10.0.0.1"));
  EXPECT_FALSE(allows("10.0.0.0/8", "::ffff:11.0.0.1"));
  EXPECT_TRUE(allows("::ffff:10.0.0.0/104", "10.0.0.1"));
}

TEST(NbdAccessList, SocketFilesHaveRightsOfTheirOwn) {
  sockaddr_storage name{};
  name.ss_family = AF_UNIX;
  EXPECT_TRUE(AccessList::parse("10.0.0.0/8")->allows(name));
}

TEST(NbdAccessList, RefusesAnythingElse) {
  for (const char* const text : {"x", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "::/129",
                                 "10.0.0.1/8", "fd00::1/8", "host/8", "\n"}) {
    const auto list = AccessList::parse(text);
    ASSERT_FALSE(list) << text;
    EXPECT_EQ(list.error().error, EINVAL);
  }
}

}  // namespace
}  // namespace sluice::nbd::test
