#!/usr/bin/env bash
# Disks of 4096-byte blocks, with content that was made for blocks of 512: a message says so, and
# with block=512 all of the content is found, in every mode. Writes of single sectors change only
# these sectors.
. "$(dirname "$0")/../../device/lib.sh"

main() {
    local mode
    run_case "a table for small blocks is told" told
    run_case "a table for large blocks is told" told_large
    run_case "an image of another format is told" format_told
    for mode in $MODES; do
        run_case "partitions and a file system, mode $mode" partitions "$mode"
        run_case "single sectors, mode $mode" sectors "$mode"
    done
    run_case "zeroes and discards" zeroes
    run_case "through the other front ends" other_front_ends
    run_case "XFS on XFS" xfs
    run_case "large blocks of a file" large_blocks
    finish
}

quietly() {
    "$@" 2> notes
}

# Makes a disk of 64 MiB in blocks of 4096 from the file `bytes`. Sets DISK.
make_disk() {
    [ -e bytes ] || truncate -s 64M bytes
    DISK=$(losetup --sector-size 4096 -f --show bytes)
    [ "$(blockdev --getss "$DISK")" = 4096 ] || skip "no loop devices of large blocks"
}

make_table() {
    truncate -s 64M bytes
    printf 'label: gpt\n2048,65536\n67584,\n' | sfdisk -q bytes
}

told() {
    make_table
    make_disk
    add "$DISK" 2> notes
    grep -qF "'$DISK' holds a partition table for blocks of 512 bytes, and is served in" notes ||
        fail "said '$(cat notes)'"
    grep -qF "of 4096, as the disk demands: its partitions would be at other offsets" notes
    grep -qF "; give the option block=512" notes
    [ ! -e "${DEV}p1" ] || fail "it has partitions"
    del
    add -t loop -f "$DISK" --block 512 2> notes
    lacks "partition table" notes
    wait_for 5 test -b "${DEV}p1"
    del
}

told_large() {
    make_disk
    printf 'label: gpt\n256,\n' | sfdisk -q --no-reread "$DISK" 2> /dev/null
    losetup -d "$DISK"
    add bytes 2> notes
    grep -q "for blocks of 4096 bytes, and is served in blocks of 512: .* block=4096" notes ||
        fail "said '$(cat notes)'"
    del
    quietly add 'loop(bytes, block=4k)'
    wait_for 5 test -b "${DEV}p1"
    same "blocks" "$(blockdev --getss "$DEV")" 4096
    del
}

format_told() {
    qemu-img create -q -f qcow2 a.qcow2 16M
    truncate -s 1M a.qcow2
    add a.qcow2 2> notes
    grep -q "is a qcow2 image, but its raw bytes are served, not the disk inside" notes ||
        fail "said '$(cat notes)'"
    del
}

partitions() {
    make_table
    make_disk
    quietly add "loop($DISK, block=512)" --mode "$1"
    same "logical blocks" "$(blockdev --getss "$DEV")" 512
    same "physical blocks" "$(blockdev --getpbsz "$DEV")" 4096
    wait_for 5 test -b "${DEV}p1"
    mkfs.ext4 -q -b 1024 "${DEV}p1" 2> /dev/null
    mkdir here there
    mount "${DEV}p1" here
    cp -r "$SLUICE_SOURCE_DIR/src/core" here
    umount here
    dd if=/dev/urandom of=data bs=512 count=33 status=none
    dd if=data of="${DEV}p2" bs=512 seek=5 conv=fsync status=none
    del
    losetup -d "$DISK"
    # The kernel's loop device serves the same bytes in blocks of 512.
    DISK=$(losetup -P -f --show bytes)
    e2fsck -fn "${DISK}p1" > check.log 2>&1 || fail "$(cat check.log)"
    mount -o ro "${DISK}p1" there
    diff -r "$SLUICE_SOURCE_DIR/src/core" there/core
    umount there
    cmp -n 16896 -i 0:2560 data "${DISK}p2"
}

sectors() {
    make_disk
    quietly add "loop($DISK, block=512)" --mode "$1" -q 2
    timeout 100 fio --name=verify --filename="$DEV" --rw=randrw --bsrange=512-20k --bs_unaligned=0 \
        --blockalign=512 --ioengine=libaio --iodepth=16 --direct=1 --size=8M --io_size=8M \
        --verify=crc32c --verify_fatal=1 --output=fio.log || fail "$(cat fio.log)"
    del
}

# Discarded bytes are undefined; all others are unchanged.
zeroes() {
    make_disk
    python3 -c 'print("o" * 65536, end="")' > before
    python3 -c 'print("o" * 512 + "\0" * 12288 + "o" * 52736, end="")' > expected
    dd if=before of="$DISK" bs=64K conv=fsync,notrunc status=none
    quietly add "loop($DISK, block=512)"
    blkdiscard -z -o 512 -l 12288 "$DEV"
    blkdiscard -o 20992 -l 8192 "$DEV"
    dd if="$DEV" of=found bs=512 count=128 iflag=direct status=none
    cmp -n 20992 found expected
    cmp -i 29184 found expected
    del
}

other_front_ends() {
    local file
    make_disk
    "$SLUICE" add --frontend fuse --at view "loop($DISK, block=512)" > /dev/null
    printf abc | dd of=view bs=1 seek=1000 conv=notrunc status=none
    same "bytes" "$(dd if=view bs=1 skip=1000 count=3 status=none)" abc
    "$SLUICE" del -a
    "$SLUICE" add --frontend loop "loop($DISK, block=512)" > out
    file=$(head -n 1 out)
    same "blocks" "$(blockdev --getss "$file")" 512
    dd if=/dev/urandom of=data bs=512 count=9 status=none
    dd if=data of="$file" bs=512 seek=3 oflag=direct conv=notrunc status=none
    cmp data <(dd if="$file" bs=512 skip=3 count=9 iflag=direct status=none)
    same "bytes" "$(dd if="$file" bs=1 skip=1000 count=3 status=none)" abc
    "$SLUICE" del -a
}

# XFS writes its log in sectors, from memory of any alignment.
xfs() {
    truncate -s 700M bytes
    make_disk
    mkfs.xfs -q -f "$DISK"
    mkdir lower upper
    mount "$DISK" lower
    truncate -s 400M lower/image
    quietly add 'loop(lower/image, block=512)'
    mkfs.xfs -q -f -s size=512 -b size=1024 "$DEV"
    mount "$DEV" upper
    cp -r "$SLUICE_SOURCE_DIR/src" upper
    sync -f upper
    umount upper
    xfs_repair -n "$DEV" > check.log 2>&1 || fail "$(cat check.log)"
    mount "$DEV" upper
    diff -r "$SLUICE_SOURCE_DIR/src" upper/src
    umount upper
    del
    umount lower
}

large_blocks() {
    truncate -s 8M bytes
    quietly add 'loop(bytes, block=4096)'
    same "blocks" "$(blockdev --getss "$DEV")" 4096
    dd if=/dev/urandom of=data bs=4k count=5 status=none
    dd if=data of="$DEV" bs=4k seek=3 oflag=direct status=none
    cmp -n 20480 -i 0:12288 data bytes
    del
    truncate -s 8389120 bytes
    add 'loop(bytes, block=4096)' 2> notes
    grep -q "last 512 bytes are left out" notes
    del
}

main
