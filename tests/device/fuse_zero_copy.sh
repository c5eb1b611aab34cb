#!/usr/bin/env bash
# Data path uring_zc: the kernel lends the pages of FUSE requests (Linux 7.3). Nothing is copied for
# programs that open with O_DIRECT and read and write whole blocks; all other I/O is copied, with
# the same results. The memory of file systems in the kernel is never lent. The device ends like
# those of the other data paths.
# SLUICE_TEST_FULL=1: fio verifies four times as much.
#
# shellcheck source=tests/interop/lib_fuse.sh
. "$(dirname "${BASH_SOURCE[0]}")/../interop/lib_fuse.sh"

main() {
    runs_on_linux 7 3 || {
        echo "skipped: zero copy on FUSE takes Linux 7.3, and this is $(uname -r)"
        exit 77
    }
    begin
    [ -e "$SWITCH" ] || { echo "skipped: this kernel's FUSE has no io_uring"; exit 77; }
    MIB=12
    ! full || MIB=48
    mark="fuse_zero_copy begins: $WORK"
    echo "$mark" > /dev/kmsg
    run_case "fio verifies, nothing is copied" verify_in_place --bsrange=4k-256k
    run_case "fio verifies large requests, nothing is copied" verify_in_place --bs=1M
    run_case "fio verifies on two threads, nothing is copied" verify_in_place --bs=4k -- -q 2
    run_case "fio verifies on short queues, nothing is copied" verify_in_place --bs=4k -- -d 1
    run_case "fio verifies a stripe, nothing is copied" verify_stripe
    run_case "fio verifies any bytes" verify_any_bytes
    run_case "any bytes with O_DIRECT" parts_of_blocks
    run_case "from and to memory that the backing does not take" odd_memory
    run_case "mapped and written at once" map_and_write
    run_case "a file system on a device on the file" file_system
    run_case "the memory of a file system is not lent" mount_by_loop
    run_case "no loop devices" no_loop_devices
    run_case "killed with I/O in flight" killed
    run_case "terminated with I/O in flight" terminated
    run_case "only by name" only_by_name
    run_case "what it refuses" refusals
    run_case "without privilege" without_privilege
    run_case "the kernel finds nothing wrong" kernel_is_content
    finish
}

serve() {
    serve_file uring_zc "$@"
}

# Prints the number of bytes that the server has copied since its start.
copied() {
    "$SLUICE" stat -n "$ID" | sed -nE 's/.*, ([0-9]+) bytes copied by the server.*/\1/p'
}

copies_something() {
    [ "$(copied)" -gt 0 ] || fail "nothing was copied"
}

# verify_in_place FIO-OPTION... [-- OPTION...]
verify_in_place() {
    local fio=()
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        fio+=("$1")
        shift
    done
    serve "${@:2}"
    verify_with_fio --filename=disk --size=${MIB}M --numjobs=3 --offset_increment=64M --direct=1 \
        "${fio[@]}"
    same "bytes copied" "$(copied)" 0
    [ "$(stat -c %b image.raw)" -gt $((MIB * 2048)) ] || fail "little has come to image.raw"
    stop_serving
}

verify_stripe() {
    truncate -s 64M a b c
    "$SLUICE" add --frontend fuse --at "$CASE/disk" --mode uring_zc 'stripe(a, b, c, chunk=8k)' \
        > add.txt
    note_server
    verify_with_fio --filename=disk --size=$((3 * MIB))M --direct=1 --bsrange=4k-256k
    same "bytes copied" "$(copied)" 0
    stop_serving
}

verify_any_bytes() {
    serve
    verify_with_fio --filename=disk --size=${MIB}M --direct=0 --bs_unaligned=1 --bsrange=512-70000
    copies_something
    stop_serving
}

parts_of_blocks() {
    serve
    python3 - << 'END'
import os
disk = os.open("disk", os.O_RDWR | os.O_DIRECT)
image = os.open("image.raw", os.O_RDWR)
old = os.urandom(1 << 20)
os.pwrite(image, old, 0)
for offset, length in ((1, 1), (0, 511), (511, 2), (4095, 4098), (12345, 100001), (700, 524288)):
    assert os.pread(disk, length, offset) == old[offset:offset + length]
    new = os.urandom(length)
    assert os.pwrite(disk, new, offset) == length
    old = old[:offset] + new + old[offset + length:]
    assert os.pread(disk, length, offset) == new
    assert os.pread(image, len(old), 0) == old, (offset, length)
end = os.fstat(disk).st_size
assert os.pwrite(disk, bytes(8192), end - 4096) == 4096
assert os.pread(disk, 8192, end - 4096) == bytes(4096)
END
    copies_something
    stop_serving
}

# The backing is a block device that requires memory aligned to sectors; the memory of a program may
# have any alignment.
odd_memory() {
    truncate -s 64M image.raw
    local device
    device=$(losetup -f --show image.raw)
    "$SLUICE" add --frontend fuse --at "$CASE/disk" --mode uring_zc "$device" > add.txt
    note_server
    python3 - << 'END'
import mmap, os
disk = os.open("disk", os.O_RDWR | os.O_DIRECT)
place = mmap.mmap(-1, 1 << 20)
for begin, length in ((3, 4096), (1000, 300000 // 512 * 512), (4096, 65536)):
    memory = memoryview(place)[begin:begin + length]
    data = os.urandom(length)
    memory[:] = data
    assert os.pwrite(disk, memory, 8192) == length
    memory[:] = bytes(length)
    assert os.preadv(disk, [memory], 8192) == length
    assert bytes(memory) == data, (begin, length)
    memory.release()
os.fsync(disk)
END
    copies_something
    stop_serving
    losetup -d "$device"
}

map_and_write() {
    serve
    python3 "$SLUICE_SOURCE_DIR/tests/interop/fuse_map.py" disk
    stop_serving
}

# The device on the file copies, so its server does I/O on the file with memory of its own, which
# the kernel can lend.
file_system() {
    local below device check
    [ -e /dev/ublk-control ] || { echo "# not tested: no ublk driver"; return 0; }
    serve
    below=$ID
    device=$("$SLUICE" add -t loop -f disk --mode copy | head -n 1)
    mkfs.ext4 -qF "$device"
    mkdir mnt
    mount "$device" mnt
    head -c 20000000 /dev/urandom > data
    cp data mnt/data
    dd if=data of=mnt/direct bs=1000k oflag=direct conv=fsync status=none
    umount mnt
    check=$(e2fsck -fn "$device" 2>&1) || fail "$check"
    mount -o ro "$device" mnt
    cmp data mnt/data
    cmp data mnt/direct
    umount mnt
    "$SLUICE" del -n "${device#/dev/ublkb}"
    ID=$below
    same "bytes copied below" "$(copied)" 0
    stop_serving
    check=$(e2fsck -fn image.raw 2>&1) || fail "$check"
}

# XFS reads its superblock into memory of the kernel: if it were lent, the kernel would complain.
mount_by_loop() {
    truncate -s 512M image.raw
    serve
    mkfs.xfs -q image.raw
    mkdir mnt
    mount -o loop disk mnt
    dd if=/dev/zero of=mnt/data bs=1M count=8 status=none
    umount mnt
    copies_something
    stop_serving
}

no_loop_devices() {
    truncate -s 64M image.raw
    refused "data path 'uring_zc' is not possible: a loop device hands over memory" \
        "$SLUICE" add --frontend loop --mode uring_zc image.raw
}

start_load() {
    fio --name=load --filename=disk --size=64M --rw=randrw --bs=64k --ioengine=libaio --direct=1 \
        --iodepth=32 --time_based --runtime=5 > load.log 2>&1 &
    LOAD=$!
    for _ in $(seq 500); do
        [ "$(stat -c %b image.raw)" -lt 2000 ] || return 0
        sleep 0.02
    done
    fail "no load: $(cat load.log)"
}

killed() {
    serve
    start_load
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    refused "connect" timeout 5 head -c 1 disk      # "not connected", or "connection abort"
    wait_for_end "$LOAD"
    grep -q "error" load.log || fail "fio did not notice: $(cat load.log)"
    umount disk
    rm disk
    serve
    stop_serving
}

terminated() {
    serve
    start_load
    stop_server
    wait_for_end "$LOAD"
    [ ! -e disk ] || fail "disk was left behind"
}

only_by_name() {
    truncate -s 64M image.raw
    "$SLUICE" add --frontend fuse --at "$CASE/disk" 'linear(image.raw)' > add.txt
    note_server
    same "data path" "$(field mode)" uring
    "$SLUICE" list -n "$ID" | grep -qF "not 'uring_zc': only by name" ||
        fail "$("$SLUICE" list -n "$ID")"
    stop_serving
}

refusals() {
    truncate -s 64M image.raw other.raw
    refused "a target of the stack must see the data" "$SLUICE" add --frontend fuse \
        --at "$CASE/disk" --mode uring_zc 'verify(image.raw, other.raw)'
    [ ! -e disk ] || fail "disk was left behind"
    serve
    refused "cannot be handed over" "$SLUICE" upgrade -n "$ID"
    same "still served" "$(head -c 5 disk | wc -c)" 5
    stop_serving
}

without_privilege() {
    command -v fusermount3 > /dev/null || { echo "# not tested: no fusermount3"; return 0; }
    prepare_for_nobody
    refused "it needs CAP_SYS_ADMIN" runuser -u nobody -- env SLUICE_STATE_DIR="$CASE/theirs" \
        theirs/sluice add --frontend fuse --at "$CASE/theirs/disk" --mode uring_zc theirs/image.raw
    [ ! -e theirs/disk ] || fail "disk was left behind"
}

kernel_is_content() {
    local complaints
    complaints=$(dmesg | awk -v mark="$mark" 'found; index($0, mark) { found = 1 }' |
        grep -E -A 20 'BUG:|WARNING:|Oops|Not a kmalloc|blocked for more than' | head -n 40 || true)
    [ -z "$complaints" ] || fail "$complaints"
}

main
