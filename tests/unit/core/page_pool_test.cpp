// PagePool: pages are contiguous, requests wait in order, and small allocations do not fragment the
// space for large ones.
#include "core/page_pool.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

#include "core/task.hpp"

namespace sluice {
namespace {

constexpr size_t kPage = PagePool::kPageBytes;

class PagePoolTest : public testing::Test {
 protected:
  std::unique_ptr<PagePool> make(size_t pages) { return PagePool::create(pages * kPage).value(); }

  // Takes pages, notes `name` in order_, and keeps the pages.
  Service take(PagePool& pool, size_t pages, int name) {
    auto wait = pool.take(ready_, pages * kPage);
    Pages taken = co_await wait;
    order_.push_back(name);
    held_.push_back(std::move(taken));
  }

  ReadyList ready_;
  std::vector<int> order_;
  std::deque<Pages> held_;
};

TEST_F(PagePoolTest, GivesWholePagesThatAreThere) {
  const auto pool = PagePool::create(10 * kPage - 1).value();
  EXPECT_EQ(pool->bytes(), 10 * kPage);
  const Pages pages = pool->try_take(3 * kPage - 5);
  ASSERT_EQ(pages.bytes().size(), 3 * kPage);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(pages.bytes().data()) % kPage, 0U);
#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)  // no mlock() there
  std::vector<unsigned char> there(3);
  ASSERT_EQ(mincore(pages.bytes().data(), pages.bytes().size(), there.data()), 0);
  for (const unsigned char each : there) EXPECT_EQ(each & 1, 1);
#endif
}

TEST_F(PagePoolTest, GivesNothingTwiceAndAllOfIt) {
  const auto pool = make(100);
  std::vector<Pages> all;
  for (int i = 0; i < 50; ++i) all.push_back(pool->try_take(2 * kPage));
  EXPECT_FALSE(pool->try_take(kPage));
  std::vector<std::byte*> places;
  for (const Pages& each : all) places.push_back(each.bytes().data());
  std::ranges::sort(places);
  for (size_t i = 1; i < places.size(); ++i) EXPECT_EQ(places[i] - places[i - 1], 2 * kPage);
  all.clear();
  EXPECT_TRUE(pool->try_take(100 * kPage));
}

TEST_F(PagePoolTest, GivesTheRestBackWhenTrimmed) {
  const auto pool = make(100);
  Pages large = pool->try_take(100 * kPage);
  large.trim(2 * kPage + 1);
  EXPECT_EQ(large.bytes().size(), 3 * kPage);
  const Pages rest = pool->try_take(97 * kPage);
  ASSERT_TRUE(rest);
  EXPECT_EQ(rest.bytes().data(), large.bytes().data() + large.bytes().size());
  large.trim(3 * kPage);
  EXPECT_FALSE(pool->try_take(kPage)) << "nothing was left to give back";
}

TEST_F(PagePoolTest, AFewDoNotLieInTheWayOfMany) {
  const auto pool = make(200);
  const Pages first = pool->try_take(3 * kPage);
  Pages second = pool->try_take(3 * kPage);
  const Pages third = pool->try_take(3 * kPage);
  second.drop();
  EXPECT_TRUE(pool->try_take(191 * kPage));
}

TEST_F(PagePoolTest, ServesThoseWhoWaitInTheirOrder) {
  const auto pool = make(100);
  take(*pool, 60, 1);
  take(*pool, 60, 2);
  take(*pool, 1, 3);  // waits, although there is room
  EXPECT_EQ(order_, std::vector{1});
  held_.clear();
  ready_.run();
  EXPECT_EQ(order_, (std::vector{1, 2, 3}));
  held_.clear();
}

TEST_F(PagePoolTest, ServesSeveralWithWhatOneGivesBack) {
  const auto pool = make(100);
  take(*pool, 100, 1);
  for (int name = 2; name <= 6; ++name) take(*pool, 20, name);
  held_.front().trim(40 * kPage);
  ready_.run();
  EXPECT_EQ(order_, (std::vector{1, 2, 3, 4}));
  held_.pop_front();
  ready_.run();
  EXPECT_EQ(order_, (std::vector{1, 2, 3, 4, 5, 6}));
  held_.clear();
}

TEST_F(PagePoolTest, NobodyStarvesAndNothingIsLostWhateverTheOrder) {
  std::mt19937 random(20261128);
  constexpr size_t kCount = 300;  // no multiple of the bits of a word
  const auto pool = make(kCount);
  int begun = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0 && begun < 5000) {
      take(*pool, random() % 4 == 0 ? random() % kCount + 1 : random() % 20 + 1, begun++);
    } else if (!held_.empty()) {
      std::swap(held_.front(), held_[random() % held_.size()]);
      if (random() % 3 == 0) {
        held_.front().trim(random() % held_.front().bytes().size() + 1);
      } else {
        held_.pop_front();
      }
    }
    ready_.run();
    size_t pages = 0;
    for (const Pages& each : held_) pages += each.bytes().size() / kPage;
    ASSERT_LE(pages, kCount);
  }
  while (order_.size() != static_cast<size_t>(begun)) {
    ASSERT_FALSE(held_.empty()) << "somebody waits for pages that nobody has";
    held_.pop_front();
    ready_.run();
  }
  EXPECT_TRUE(std::ranges::is_sorted(order_));
  held_.clear();
  EXPECT_TRUE(pool->try_take(kCount * kPage));
}

}  // namespace
}  // namespace sluice
