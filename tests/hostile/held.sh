#!/usr/bin/env bash
# `del` refuses to delete a loop device that is in use, and names the user: a mount in any
# namespace, another device, swap, a program that uses any node. It never waits for files or
# processes that hang. Other tests make namespaces, which copy the mounts of this one.
# alone: 1
# shellcheck source=tests/interop/lib_loop.sh
. "$(dirname "${BASH_SOURCE[0]}")/../interop/lib_loop.sh"

main() {
    begin_loop_plain
    run_case "by a loop device" by_a_loop_device
    run_case "by a loop device on a partition" by_a_partition
    run_case "by a mount" by_a_mount
    run_case "by a mount in another namespace" by_a_mount_elsewhere
    run_case "by a mount that is gone" by_a_mount_that_is_gone
    run_case "by swap" by_swap
    run_case "by a program with another node" by_another_node
    run_case "by a program that has it mapped" by_a_mapping
    run_case "by a program for a moment" for_a_moment
    run_case "files of a file system that hangs" files_that_hang
    run_case "a process that hangs" process_that_hangs
    run_case "a loop device that hangs" loop_device_that_hangs
    finish
}

serve() {
    serve_loop copy 1
}

# held USER: del refuses, names USER, and changes nothing.
held() {
    refused "device $ID ($DEV) is in use ($1): release it first, or use --force" \
        "$SLUICE" del -n "$ID"
    [ -d "/proc/$SERVER" ] || fail "the server has ended"
}

# del succeeds. It runs in the background, in case it hangs.
freed() {
    "$SLUICE" del -n "$ID" &
    wait_for_end $!
    wait $!
    wait_for_end "$SERVER"
    wait_until_detached
}

by_a_loop_device() {
    local upper
    serve
    mkfs.ext4 -q "$DEV"
    upper=$(losetup -f --show "$DEV")
    mkdir mnt
    mount "$upper" mnt
    held "$upper"
    umount mnt
    losetup -d "$upper"
    mknod node b 7 "${DEV#/dev/loop}"
    upper=$(losetup -r -f --show "$PWD/node")
    held "$upper"
    rm node
    losetup -d "$upper"
    freed
}

by_a_partition() {
    local upper
    truncate -s 512M image.raw
    echo 2048,16384 | sfdisk -q image.raw
    serve
    [ -b "${DEV}p1" ] || { echo "# this kernel knows no partitions of loop devices"; return 0; }
    mkfs.ext4 -q "${DEV}p1"
    upper=$(losetup -f --show "${DEV}p1")
    held "$upper"
    losetup -d "$upper"
    mkdir mnt
    mount "${DEV}p1" mnt
    held "mounted at $CASE/mnt"
    umount mnt
    freed
}

by_a_mount() {
    serve
    mkfs.ext4 -q "$DEV"
    mkdir mnt "an odd name"
    mount "$DEV" mnt
    held "mounted at $CASE/mnt"
    mount --bind mnt "an odd name"
    umount mnt
    held "mounted at $CASE/an odd name"
    umount "an odd name"
    # A file system that only the name of its disk connects with the disk.
    if mkfs.btrfs -q -f "$DEV" 2> /dev/null && mount "$DEV" mnt 2> /dev/null; then
        held "mounted at $CASE/mnt"
        umount mnt
    fi
    freed
}

by_a_mount_elsewhere() {
    local there
    serve
    mkfs.ext4 -q "$DEV"
    mkdir mnt
    mkfifo ready
    # shellcheck disable=SC2016
    DEV=$DEV unshare -m --propagation private bash -c '
        mount "$DEV" mnt && echo $$ > ready; exec sleep 60' &
    # shellcheck disable=SC2064
    trap "kill $! 2> /dev/null || true" EXIT
    read -r there < ready
    held "mounted at $CASE/mnt in the mount namespace of process $there"
    kill "$there"
    wait_for_end "$there"
    freed
}

by_a_mount_that_is_gone() {
    serve
    mkfs.ext4 -q "$DEV"
    mkdir mnt
    mount "$DEV" mnt
    exec 7> mnt/file
    umount -l mnt
    held "a file system (ext4)"
    exec 7>&-
    freed
}

by_swap() {
    serve
    mkswap -q "$DEV"
    # shellcheck disable=SC2064
    trap "swapoff $DEV 2> /dev/null || true" EXIT
    swapon "$DEV"
    held "swap"
    swapoff "$DEV"
    freed
}

by_another_node() {
    serve
    mknod node b 7 "${DEV#/dev/loop}"
    exec 7< node
    rm node
    tail -f /dev/null &
    exec 7>&-
    held "process $! (tail)"
    kill $!
    wait $! || true
    freed
}

by_a_mapping() {
    local program
    serve
    mkfifo ready
    python3 -c '
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
mapping = mmap.mmap(file, 4096, prot=mmap.PROT_READ)  # with a descriptor of its own
os.closerange(3, 100)
print("ready", flush=True)
import time; time.sleep(60)' "$DEV" > ready &
    program=$!
    read -r _ < ready
    held "process $program (python3)"
    kill "$program"
    wait "$program" || true
    freed
}

# A program has the device open for a moment, as udev does.
for_a_moment() {
    serve
    timeout 0.3 tail -f /dev/null 7< "$DEV" &
    freed
}

files_that_hang() {
    local seconds program
    serve
    sleepy asleep
    # Not in this shell: its children would inherit the files, and hang when they close them.
    (exec < asleep/x > asleep/y 7< asleep/dir; touch "$CASE/opened"; exec sleep 60) &
    program=$!
    until [ -e opened ]; do sleep 0.02; done
    kill -STOP "$SLEEPY"
    seconds=$SECONDS
    freed
    [ $((SECONDS - seconds)) -le 2 ] || fail "took $((SECONDS - seconds)) seconds"
    kill -CONT "$SLEEPY"
    kill "$program"
}

# One thread waits in a page fault for a page under writeback to the file system, a second thread
# waits for the first, and any process that reads their mappings waits for both.
process_that_hangs() {
    local program
    serve
    sleepy asleep
    mkfifo ready
    python3 - asleep/x > ready <<'END' &
import ctypes, mmap, os, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_long, ctypes.c_long, ctypes.c_uint]
START_WRITING = 2
file = os.open(sys.argv[1], os.O_RDWR)
place = libc.mmap(None, 1 << 20, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, file, 0)
ctypes.memset(place, 1, 1)
print(os.getpid(), flush=True)
time.sleep(0.5)  # meanwhile the file system is stopped
threading.Thread(target=lambda: libc.sync_file_range(file, 0, 4096, START_WRITING)).start()
time.sleep(0.2)
threading.Thread(target=lambda: ctypes.memset(place, 1, 1)).start()
time.sleep(0.2)
threading.Thread(target=lambda: libc.munmap(place, 1 << 20)).start()
time.sleep(60)
END
    read -r program < ready
    kill -STOP "$SLEEPY"
    sleep 1.2
    ! timeout -s KILL 1 cat "/proc/$program/maps" > /dev/null 2>&1 || echo "# it does not hang"
    freed
    kill -CONT "$SLEEPY"
    kill "$program"
}

loop_device_that_hangs() {
    local loop
    serve
    sleepy asleep
    loop=$(losetup -f --show asleep/x)
    kill -STOP "$SLEEPY"
    freed
    kill -CONT "$SLEEPY"
    losetup -d "$loop"
}

main
