// Another device of ours as what is done with the lent bytes (S57): a stack with files of its own,
// on the ring of the device whose request it is.
#include "conformance/serves_with.hpp"
#include "lend/dev_splice.hpp"
#include "support/member_target.hpp"
#include "target/registry.hpp"

namespace sluice::test {
namespace {

constexpr uint32_t kBytes = 128 * 1024;
constexpr uint64_t kAt = 8192;  // in the other device

using Splices = ServesWith<lend::DevSplice>;

std::unique_ptr<Stack> open_other(const std::string& spec) {
  auto stack = Stack::open(*parse_spec(spec, target_vocabulary()), false);
  EXPECT_TRUE(stack) << stack.error().text;
  return std::move(*stack);
}

// All of a request, to or from the other device.
Splices::Make onto(Stack& other, uint64_t offset = kAt) {
  return [&other, offset](auto& command, Request& request, lend::Provider& device) {
    const lend::Device to(other);
    const lend::Consumer reads = lend::ReadDevice{.device = to, .offset = offset};
    const lend::Consumer writes = lend::WriteDevice{.device = to, .offset = offset};
    command.emplace(device, lend::Provider::position(request).pack(),
                    static_cast<uint32_t>(request.length), request.op == Op::read ? reads : writes);
  };
}

// The ring's registered files are those of its own device: slot 0 is another file there.
TEST_P(OnEachProvider, S57_AnotherDeviceTakesAWriteAndFillsARead) {
  const auto other = open_other("mem(1M)");
  auto& server = serve_with<Splices>(onto(*other));
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(), kBytes);
  EXPECT_EQ(server.references_left(), 2U);
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.result(), kBytes);
  EXPECT_TRUE(has_pattern(back));
  EXPECT_EQ(server.references_left(), 2U);
}

TEST_P(OnEachProvider, S57_E_WhatAnotherDeviceRefuses) {
  const auto other = open_other("mem(64K)");
  auto& server = serve_with<Splices>(
      Splices::Makers{onto(*other, 4096), onto(*other, 100), onto(*other, UINT64_MAX)});
  const auto mine = memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(server.result(i), -EINVAL) << i;
  EXPECT_EQ(server.submissions(), 0U);
  EXPECT_EQ(server.references_left(), 2U);
  EXPECT_TRUE(has_pattern(mine));
  memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(server.result(i), -EINVAL) << i;
  EXPECT_EQ(server.filled_bytes(), 0U);
}

// Says that all is well, and looks at nothing.
class Nods final : public Target {
 public:
  Nods() { geometry_.size_bytes = 1 << 20; }
  Op op = Op::flush;
  uint64_t offset = 0;
  bool fua = false;

 private:
  Task do_submit(Request& request) override {
    op = request.op;
    offset = request.offset;
    fua = request.fua;
    return kOk;
  }
};

TEST(Rules, S57_AnotherDeviceIsToldWhatIsWanted) {
  Nods other;
  OneRequest one(Op::write, 4096);
  for (const bool fua : {true, false}) {
    const lend::WriteDevice write{.device = lend::Device(other), .offset = 8192, .fua = fua};
    lend::Consumption writing(one.loan().view(), write);
    const Task task = writing.run(one.request);
    EXPECT_EQ(writing.result(), 4096);
    EXPECT_EQ(other.op, Op::write);
    EXPECT_EQ(other.offset, 8192U);
    EXPECT_EQ(other.fua, fua);
  }
}

// The command is still there, the pages are not.
TEST(Rules, S59_P2_E_TheWrongDirectionHoldsNothing) {
  Nods other;
  const lend::Device device(other);
  for (const bool reads : {false, true}) {
    OneRequest one(reads ? Op::read : Op::write, 4096);
    const lend::Consumer fills = lend::ReadDevice{.device = device};
    const lend::Consumer takes = lend::WriteDevice{.device = device};
    lend::Consumption refused(one.loan().view(), reads ? takes : fills);
    const Task task = refused.run(one.request);
    EXPECT_EQ(task.status().error(), EACCES);
    EXPECT_EQ(one.loan().references(), 2U);
    EXPECT_TRUE(one.untouched());
  }
}

TEST(Rules, S57_P2_AnotherDeviceGivesThePagesBackWhenItHasEnded) {
  Member other(5, 1 << 20);
  OneRequest one(Op::write, 4096);
  lend::Consumption writing(one.loan().view(), lend::WriteDevice{.device = lend::Device(other)});
  const Task task = writing.run(one.request);
  one.ring.settle();
  EXPECT_EQ(writing.moved_bytes(), 0U);
  EXPECT_GT(one.loan().references(), 2U);
  one.ring.complete(0, 4096);
  EXPECT_EQ(writing.result(), 4096);
  EXPECT_EQ(one.loan().references(), 2U);
}

}  // namespace
}  // namespace sluice::test
