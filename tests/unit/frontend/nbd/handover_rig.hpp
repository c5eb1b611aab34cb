// NbdHandoverTest: an export whose connections go on in another one, as in another process.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "target/open_context.hpp"
#include "target/registry.hpp"
#include "unit/frontend/nbd/export_rig.hpp"

namespace sluice::nbd::test {

struct NbdHandoverTest : NbdExportTest {
  void begin(std::string_view text, uint16_t queues = 1) {
    spec = *parse_spec(text, target_vocabulary());
    serve(text, false, queues);
  }
  void begin_until_deserted() {
    spec = *parse_spec("mem:4M", target_vocabulary());
    stack = std::move(*sluice::test::open_stack("mem:4M"));
    auto made = NbdExport::make(*stack, {.addresses = {*ListenAddress::parse("unix:" + path)},
                                         .name = "disk",
                                         .depth = 8,
                                         .until_deserted = true});
    ASSERT_TRUE(made) << made.error().text;
    session = std::move(*Session<NbdExport>::start(std::move(*made)));
  }
  void pause() const {
    ASSERT_TRUE(session->frontend().pause());
    session->wait_for_pause();
  }
  // The next server, up to where the old one is told to pause.
  void prepare_next() {
    std::vector<Descriptor> files;
    for (const int file : stack->files()) files.emplace_back(fcntl(file, F_DUPFD_CLOEXEC, 0));
    OpenContext context(false, {.files = std::move(files), .missing = {}});
    context.let_clients_address_bytes(true);
    auto taken = Stack::open(spec, context);
    ASSERT_TRUE(taken) << taken.error().text;
    next_stack = std::move(*taken);
    auto adopted = NbdExport::adopt(*next_stack, session->frontend().handover_state());
    ASSERT_TRUE(adopted) << adopted.error().text;
    auto prepared = Session<NbdExport>::prepare(std::move(*adopted));
    ASSERT_TRUE(prepared) << prepared.error().text;
    next = std::move(*prepared);
  }
  void move() {
    auto handover = session->frontend().let_go();
    ASSERT_TRUE(handover) << handover.error().text;
    stack->stop();
    ASSERT_TRUE(next_stack->start());
    const auto taken = next->frontend().take(std::move(*handover));
    ASSERT_TRUE(taken) << taken.error().text;
    ASSERT_TRUE(next->frontend().serve());
    session->frontend().leave();
    next->frontend().settle();
    session = std::move(next);
    stack = std::move(next_stack);
  }
  void hand_over() {
    prepare_next();
    pause();
    move();
  }

  Spec spec;
  std::unique_ptr<Stack> next_stack;
  std::unique_ptr<Session<NbdExport>> next;
};

}  // namespace sluice::nbd::test
