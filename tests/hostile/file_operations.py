#!/usr/bin/env python3
"""file_operations.py FILE SEED COUNT FOLDER: so many operations on a served file, most of which no
program in its right mind does, from 3 processes of 3 threads each.

Each thread has a part of the file for itself. In its first half it knows every byte; the second
half, what is behind the end and the file's name are for what may do anything but change other
bytes. Whatever is asked may be refused, but not with EIO, and not as if the server had gone. In the
end each leaves what it knows in FOLDER/model.OFFSET. With the same seed each thread does the same.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import random
import signal
import stat
import sys
import threading
import traceback

PROCESSES, THREADS = 3, 3
HALF = 256 << 10                    # bytes
PAGE = 4096
SECONDS = 280                       # after that a process ends itself
NEVER = {errno.EIO, errno.ENOTCONN, errno.ECONNABORTED, errno.ETIMEDOUT, errno.ENOMEM, errno.EPROTO}
FAR = [-1, -PAGE, -2**63, 2**63 - 1, 2**63 - PAGE, 2**63 - 2**21, 2**32, 2**31 - 1]
PUNCH_HOLE, KEEP_SIZE, ZERO_RANGE = 2, 1, 16
RWF = [0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x40, 0x80, 1 << 20]

libc = ctypes.CDLL(None, use_errno=True)
for name in ("fallocate", "sync_file_range", "renameat2"):
    getattr(libc, name).restype = ctypes.c_int


def main(path, seed, count, folder):
    children = []
    for process in range(PROCESSES):
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            os._exit(run_process(path, seed, count // PROCESSES, folder, process))
        children.append(child)
    status = [os.waitpid(child, 0)[1] for child in children]
    for each in status:
        if os.WIFSIGNALED(each):
            print(f"a process was ended by signal {os.WTERMSIG(each)}")
    return 1 if any(status) else 0


def run_process(path, seed, count, folder, process):
    complaints = []
    workers = [Worker(path, f"{seed}/{process}/{each}", process * THREADS + each, folder)
               for each in range(THREADS)]

    def run(worker):
        try:
            worker.run(count // THREADS)
        except Exception:  # every exception is a finding
            complaints.append(f"{worker.latest}: {traceback.format_exc()}")

    threads = [threading.Thread(target=run, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for complaint in complaints:
        print(complaint, flush=True)
    return 1 if complaints else 0


class Worker:
    def __init__(self, path, seed, number, folder):
        self.path, self.folder, self.number = path, folder, number
        self.random = random.Random(seed)
        self.begin = number * 2 * HALF
        self.latest = ""
        self.size = os.stat(path).st_size
        self.aside = os.path.join(folder, f"aside.{number}")
        self.names = [name for name in dir(self) if name.startswith("do_")]

    def run(self, count):
        self.file = os.open(self.path, os.O_RDWR)
        self.direct = os.open(self.path, os.O_RDWR | os.O_DIRECT)
        self.other = os.open(self.aside, os.O_RDWR | os.O_CREAT, 0o600)
        self.model = bytearray(os.pread(self.file, HALF, self.begin))
        for number in range(count):
            name = self.random.choice(self.names)
            self.latest = f"operation {number}, {name}"
            try:
                getattr(self, name)()
            except (OSError, ValueError, OverflowError) as error:
                if getattr(error, "errno", None) in NEVER:
                    raise
            if number % 64 == 63:
                self.check(0, HALF)
        self.check(0, HALF)
        os.fsync(self.file)
        with open(os.path.join(self.folder, f"model.{self.begin}"), "wb") as file:
            file.write(self.model)

    # --- The model of the file

    def place(self, most=3 * PAGE):
        """A range of its first half, at odd bytes mostly."""
        length = self.random.choice([1, 511, 512, 4095, PAGE, self.random.randrange(1, most)])
        offset = self.random.randrange(HALF - length)
        if self.random.random() < 0.3:
            offset &= ~(PAGE - 1)
        return offset, length

    def page_place(self):
        length = PAGE * self.random.randrange(1, 16)
        return self.random.randrange((HALF - length) // PAGE) * PAGE, length

    def bytes(self, length):
        return self.random.randbytes(length)

    def check(self, offset, length):
        self.agree(os.pread(self.file, length, self.begin + offset), offset, length)

    def agree(self, found, offset, length):
        if found != self.model[offset:offset + length]:
            wrong = next((i for i, (a, b) in enumerate(zip(found, self.model[offset:])) if a != b),
                         len(found))
            raise RuntimeError(f"byte {self.begin + offset + wrong} is not what was written, of "
                               f"{len(found)} bytes read at {self.begin + offset}, not {length}")

    def wrote(self, offset, data):
        self.model[offset:offset + len(data)] = data

    # --- Operations that change or read bytes of the model

    def do_pwrite(self):
        offset, length = self.place()
        data = self.bytes(length)
        self.wrote(offset, data[:os.pwrite(self.file, data, self.begin + offset)])

    def do_pread(self):
        self.check(*self.place(HALF // 2))

    def do_direct_write(self):
        offset, length = self.page_place()
        with mmap.mmap(-1, length) as memory:
            memory[:] = self.bytes(length)
            done = os.pwritev(self.direct, [memory], self.begin + offset)
            self.wrote(offset, memory[:done])

    def do_direct_read(self):
        offset, length = self.page_place()
        with mmap.mmap(-1, length) as memory:
            done = os.preadv(self.direct, [memory], self.begin + offset)
            self.agree(memory[:done], offset, length)

    def do_pwritev(self):
        offset, length = self.place()
        data = self.bytes(length)
        flags = self.random.choice([0, os.RWF_DSYNC, os.RWF_SYNC, os.RWF_HIPRI])
        parts = [data[:length // 3], b"", data[length // 3:]]
        self.wrote(offset, data[:os.pwritev(self.file, parts, self.begin + offset, flags)])

    def do_preadv(self):
        offset, length = self.place()
        parts = [bytearray(length // 2), bytearray(0), bytearray(length - length // 2)]
        flags = self.random.choice([0, os.RWF_NOWAIT, os.RWF_HIPRI])
        done = os.preadv(self.file, parts, self.begin + offset, flags)
        self.agree(b"".join(parts)[:done], offset, done)

    def do_mapping(self):
        offset, length = self.page_place()
        with mmap.mmap(self.file, length, offset=self.begin + offset) as mapping:
            self.agree(mapping[:], offset, length)
            data = self.bytes(self.random.randrange(1, length))
            at = self.random.randrange(length - len(data) + 1)
            mapping[at:at + len(data)] = data
            self.wrote(offset + at, data)
            if self.random.random() < 0.5:
                mapping.flush()
            mapping.madvise(self.random.choice([mmap.MADV_DONTNEED, mmap.MADV_RANDOM,
                                                mmap.MADV_WILLNEED, mmap.MADV_SEQUENTIAL]))
            self.agree(mapping[:], offset, length)

    def do_zeroes(self):
        offset, length = self.place()
        mode = self.random.choice([PUNCH_HOLE, ZERO_RANGE]) | KEEP_SIZE
        if self.fallocate(mode, self.begin + offset, length) == 0:
            self.wrote(offset, bytes(length))

    def do_copy_file_range(self):
        length = self.random.randrange(1, HALF // 2)
        there = self.random.randrange(HALF // 2, HALF - length + 1)
        here = self.random.randrange(HALF // 2 - length + 1)
        done = os.copy_file_range(self.file, self.file, length, self.begin + here,
                                  self.begin + there)
        self.wrote(there, bytes(self.model[here:here + done]))

    def do_sendfile(self):
        offset, length = self.place(64 << 10)
        os.lseek(self.other, 0, os.SEEK_SET)
        done = os.sendfile(self.other, self.file, self.begin + offset, length)
        self.agree(os.pread(self.other, done, 0), offset, done)
        data = self.bytes(length)
        os.pwrite(self.other, data, 0)
        os.lseek(self.file, self.begin + offset, os.SEEK_SET)
        self.wrote(offset, data[:os.sendfile(self.file, self.other, 0, length)])

    def do_splice(self):
        offset, length = self.place(32 << 10)
        source, sink = os.pipe()
        try:
            done = os.splice(self.file, sink, length, offset_src=self.begin + offset)
            self.agree(os.read(source, done), offset, done)
            data = self.bytes(min(length, 4096))
            os.write(sink, data)
            done = os.splice(source, self.file, len(data), offset_dst=self.begin + offset)
            self.wrote(offset, data[:done])
        finally:
            os.close(source)
            os.close(sink)

    # --- Operations that are refused, or change no byte of a model

    def far(self):
        """A place in the second half, across the end of the file, behind it, or nowhere."""
        return self.random.choice(FAR + [self.size - 1, self.size, self.size + 1,
                                         self.size + 2**20, self.begin + HALF + 77])

    def do_far_write(self):
        data = self.bytes(self.random.choice([0, 1, 2, PAGE, HALF - 77]))
        flags = self.random.choice(RWF + [0])
        file, offset = self.random.choice([self.file, self.direct]), self.far()
        if offset == -1:        # for pwritev2() this is the current position
            os.pwrite(file, data, offset)
        else:
            os.pwritev(file, [data], offset, flags)

    def do_far_read(self):
        memory = [bytearray(self.random.choice([0, 1, PAGE, HALF]))]
        os.preadv(self.random.choice([self.file, self.direct]), memory, self.far(),
                  self.random.choice(RWF + [0]))

    def do_far_fallocate(self):
        mode = self.random.randrange(256) | self.random.choice([0, 0, 1 << 30])
        offset = self.far()
        length = self.random.choice([0, 1, PAGE, HALF - 77, -1, 2**63 - 1])
        # Not before the end of the model: some modes shift the bytes behind the range.
        if offset < 0 or offset >= self.begin + HALF:
            self.fallocate(mode, offset, length)

    def do_far_copy(self):
        offset = self.far()
        lengths = [2**31, 2**62] if offset > 2**40 else [0, 1, HALF]
        os.copy_file_range(self.file, self.file, self.random.choice(lengths), offset,
                           self.begin + HALF)

    def do_append(self):
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, self.bytes(self.random.choice([1, PAGE])))
        finally:
            os.close(file)

    def do_odd_open(self):
        flags = [os.O_TRUNC, os.O_EXCL, os.O_CREAT, os.O_DIRECTORY, os.O_NOFOLLOW, os.O_PATH,
                 os.O_NONBLOCK, os.O_ASYNC, os.O_NOATIME, os.O_DIRECT, os.O_SYNC, os.O_DSYNC,
                 os.O_TMPFILE, os.O_CLOEXEC, os.O_NOCTTY]
        chosen = self.random.choice([os.O_RDONLY, os.O_WRONLY, os.O_RDWR, 3])
        for flag in self.random.sample(flags, self.random.randrange(4)):
            chosen |= flag
        file = os.open(self.path, chosen, 0o777)
        try:
            os.fstat(file)
            os.read(file, self.random.choice([0, 1, PAGE]))
        finally:
            os.close(file)

    def do_truncate(self):
        size = self.random.choice([0, 1, self.size - 1, self.size, self.size + 1, 2**62, -1])
        if self.random.random() < 0.5:
            os.truncate(self.path, size)
        else:
            os.ftruncate(self.file, size)

    def do_seek(self):
        os.lseek(self.file, self.far(), self.random.choice([os.SEEK_DATA, os.SEEK_HOLE,
                                                            os.SEEK_SET, os.SEEK_END, 17]))

    def do_names(self):
        beside = f"{self.aside}.beside"
        inside = os.path.join(self.path, "inside")
        self.random.choice([
            lambda: os.rename(self.path, beside), lambda: os.rename(self.aside, self.path),
            lambda: os.unlink(self.path), lambda: os.rmdir(self.path),
            lambda: os.link(self.path, beside), lambda: os.symlink("a", self.path),
            lambda: os.link(f"/proc/self/fd/{self.file}", beside, follow_symlinks=True),
            lambda: os.symlink("a", inside), lambda: os.mkdir(inside), lambda: os.mkdir(self.path),
            lambda: os.mknod(inside), lambda: os.mknod(self.path, stat.S_IFIFO | 0o600),
            lambda: os.mknod(self.path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
            lambda: os.open(inside, os.O_CREAT | os.O_RDWR), lambda: os.listdir(self.path),
            lambda: libc.renameat2(-100, self.path.encode(), -100, self.aside.encode(), 2),
            lambda: os.readlink(self.path), lambda: os.chdir(self.path),
            lambda: os.stat(self.path + "/"), lambda: os.statvfs(self.path),
        ])()

    def do_attributes(self):
        name = self.random.choice(["user.a", "security.selinux", "system.posix_acl_access",
                                   "trusted.overlay.opaque", "security.capability", "nothing", ""])
        self.random.choice([
            lambda: os.setxattr(self.path, name, self.bytes(40)),
            lambda: os.getxattr(self.path, name), lambda: os.removexattr(self.path, name),
            lambda: os.listxattr(self.path),
            lambda: os.chmod(self.path, self.random.randrange(0o10000)),
            lambda: os.chown(self.path, self.random.randrange(-1, 2**31), -1),
            lambda: os.utime(self.path, ns=(self.random.choice(FAR), 2**62)),
            lambda: os.utime(self.file), lambda: os.access(self.path, os.X_OK),
        ])()

    def do_ioctl(self):
        numbers = [0x1, 0x2, 0x541B, 0x5401, 0x5421, 0x5452, 0x660B, 0x80086601, 0x40086602,
                   0x40049409, 0x4020940D, 0xC0185879, 0x1277, 0x127F, 0x80081272, 0xC020660B,
                   0x4030582A, 0x4030582B, 0x40305839, 0x8004E500, 0x4C00, 0x4C01,
                   self.random.randrange(0xE500, 0xE5FF)]
        fcntl.ioctl(self.file, self.random.choice(numbers), bytearray(512))

    def do_locks(self):
        kind = self.random.choice([fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN])
        if self.random.random() < 0.5:
            fcntl.flock(self.file, kind | fcntl.LOCK_NB)
        else:
            fcntl.lockf(self.file, kind | fcntl.LOCK_NB, self.random.choice([0, 1, 2**40]),
                        self.random.choice([0, 1, 2**62]))

    def do_advice(self):
        self.random.choice([
            lambda: os.posix_fadvise(self.file, self.begin, HALF, self.random.randrange(8)),
            lambda: libc.sync_file_range(self.file, ctypes.c_int64(self.begin),
                                         ctypes.c_int64(HALF), self.random.randrange(16)),
            lambda: os.fsync(self.file), lambda: os.fdatasync(self.direct),
            lambda: libc.readahead(self.file, ctypes.c_int64(self.begin), HALF),
        ])()

    def do_statx(self):
        memory = ctypes.create_string_buffer(256)
        flags = self.random.choice([0, 0x2000, 0x4000, 0x1000, 0x100, 0x800])
        libc.statx(-100, self.path.encode(), flags, self.random.randrange(2**31), memory)

    def do_path_only(self):
        file = os.open(self.path, os.O_PATH)
        try:
            os.fstat(file)
            os.close(os.open(f"/proc/self/fd/{file}", os.O_RDWR))
            os.pread(file, 1, 0)
        finally:
            os.close(file)

    @staticmethod
    def raw_fallocate(file, mode, offset, length):
        ctypes.set_errno(0)
        return libc.fallocate(file, mode, ctypes.c_int64(offset), ctypes.c_int64(length))

    def fallocate(self, mode, offset, length):
        done = self.raw_fallocate(self.file, mode, offset, length)
        if done != 0 and ctypes.get_errno() in NEVER:
            raise OSError(ctypes.get_errno(), f"fallocate {mode} {offset} {length}")
        return done


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
