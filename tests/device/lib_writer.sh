# shellcheck shell=bash
# Clients that record their writes, and survive the server's death, for the recovery tests.

# write_numbered DEVICE BOOK [MAY_FAIL]: four threads overwrite blocks of 16 KiB with direct I/O,
# each block filled with (its number, its generation), and read some back, until the file BOOK.stop
# exists. Then BOOK has the last acknowledged and the last attempted generation of each block.
# BOOK.started is created once every thread has written.
write_numbered() {
    python3 -c "$numbered_blocks" write "$@"
}

# verify_numbered DEVICE BOOK: checks that no acknowledged write is lost, and that each sector has
# data that was written to it.
verify_numbered() {
    python3 -c "$numbered_blocks" verify "$@"
}

numbered_blocks='
import json, mmap, os, random, struct, sys, threading, time

BYTES, THREADS, BLOCKS = 16384, 4, 64       # of one block, and blocks of each thread
SECTOR = 512
verb, device, book = sys.argv[1:4]
may_fail = len(sys.argv) > 4

def content(block, generation):
    return struct.pack("<QQ", block, generation) * (BYTES // 16)

class Writer(threading.Thread):
    def __init__(self, number):
        super().__init__()
        self.blocks = range(number * BLOCKS, (number + 1) * BLOCKS)
        self.acknowledged = dict.fromkeys(self.blocks, 0)
        self.attempted = dict.fromkeys(self.blocks, 0)
        self.errors, self.wrong = 0, []

    def run(self):
        file = os.open(device, os.O_RDWR | os.O_DIRECT)
        memory = mmap.mmap(-1, BYTES)
        chance = random.Random(self.blocks[0])
        while not os.path.exists(book + ".stop"):
            block = chance.choice(self.blocks)
            try:
                if chance.random() < 0.3:
                    self.read(file, memory, block)
                else:
                    self.write(file, memory, block)
            except OSError as error:
                self.errors += 1
                if not may_fail:
                    self.wrong.append(str(error))
                    return
                time.sleep(0.002)
        os.close(file)

    def write(self, file, memory, block):
        self.attempted[block] += 1
        memory[:] = content(block, self.attempted[block])
        self.expect_all(os.pwritev(file, [memory], block * BYTES))
        self.acknowledged[block] = self.attempted[block]

    def read(self, file, memory, block):
        memory[:] = b"?" * BYTES
        self.expect_all(os.preadv(file, [memory], block * BYTES))
        self.check(block, bytes(memory))

    def expect_all(self, count):
        if count == 0:
            raise OSError("the device ends here")   # it was removed
        if count != BYTES:
            self.wrong.append(f"{count} bytes were moved")

    # Only acknowledged writes are complete: if the server is killed during a write, the kernel ends
    # that write between two pages.
    def check(self, block, found):
        allowed = {content(block, generation)[:SECTOR] if generation else bytes(SECTOR)
                   for generation in range(self.acknowledged[block], self.attempted[block] + 1)}
        for at in range(0, BYTES, SECTOR):
            sector = found[at:at + SECTOR]
            if sector not in allowed:
                self.wrong.append(f"block {block} is {sector[:16].hex()} ... at {at}, not of "
                                  f"generation {self.acknowledged[block]} to "
                                  f"{self.attempted[block]}")
                return

def load(writers):
    with open(book) as file:
        kept = json.load(file)
    for writer in writers:
        for block in writer.blocks:
            writer.acknowledged[block], writer.attempted[block] = kept["blocks"][block]

def write(writers):
    for writer in writers:
        writer.start()
    while not all(any(w.acknowledged.values()) or not w.is_alive() for w in writers):
        time.sleep(0.01)
    open(book + ".started", "w").close()
    for writer in writers:
        writer.join()
    with open(book, "w") as file:
        json.dump({"errors": sum(w.errors for w in writers),
                   "blocks": [[w.acknowledged[b], w.attempted[b]]
                              for w in writers for b in w.blocks]}, file)
    return sum(sum(w.acknowledged.values()) for w in writers)

def verify(writers):
    load(writers)
    with open(device, "rb") as file:
        for writer in writers:
            for block in writer.blocks:
                writer.check(block, file.read(BYTES))

writers = [Writer(number) for number in range(THREADS)]
done = {"write": write, "verify": verify}[verb](writers)
wrong = [text for writer in writers for text in writer.wrong]
if wrong or done == 0:
    sys.exit("# " + ("; ".join(wrong[:5]) or "nothing was written"))
'

# watched_buffers read|write DEVICE: eight threads make one request of 128 KiB each, each in another
# MiB, from the second on. After a failed read, its memory must not change any more. After a failed
# write, its memory is overwritten at once, and the new bytes must not reach the device. Ends a
# second after the last answer; prints "MIN-MAX errors N", where MIN and MAX are the seconds until
# the answers.
watched_buffers() {
    python3 -c '
import mmap, os, sys, threading, time

verb, device = sys.argv[1:3]
BYTES, COUNT = 131072, 8
spent, errors, wrong = [], [], []

def one(number):
    file = os.open(device, os.O_RDWR | os.O_DIRECT)
    memory = mmap.mmap(-1, BYTES)
    memory[:] = (b"A" if verb == "write" else b"?") * BYTES
    begin = time.monotonic()
    try:
        operation = os.pwritev if verb == "write" else os.preadv
        operation(file, [memory], (number + 1) << 20)
    except OSError as error:
        if verb == "write":
            memory[:] = b"B" * BYTES
        errors.append(error)
    spent.append(time.monotonic() - begin)
    after = bytes(memory)
    os.close(file)
    time.sleep(1)
    if bytes(memory) != after:
        wrong.append(f"the memory of request {number} was written after its answer")

threads = [threading.Thread(target=one, args=(number,)) for number in range(COUNT)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"{min(spent):.2f}-{max(spent):.2f} errors {len(errors)}")
if wrong:
    sys.exit("# " + "; ".join(wrong))
' "$@"
}
