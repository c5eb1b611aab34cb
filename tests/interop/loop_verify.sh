#!/usr/bin/env bash
# Reads from a loop device on FUSE return the written data: fio with checksums, several jobs at
# once, in direct and in buffered loop mode, on every data path. With direct I/O the loop driver
# sends the parts of one request at the same time. SLUICE_TEST_FULL=1: four times as much.
# shellcheck source=tests/interop/lib_loop.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_loop.sh"

main() {
    local path direct
    begin_loop
    MIB=8
    ! full || MIB=32
    for path in $PATHS; do
        for direct in 1 0; do
            run_case "verify, $path, loop direct I/O $direct" verify "$path" "$direct"
        done
    done
    for direct in 1 0; do
        run_case "verify a stripe, loop direct I/O $direct" verify_stripe "$direct"
        run_case "pages and device at once, loop direct I/O $direct" both_ways "$direct"
        run_case "discard and write zeroes, loop direct I/O $direct" cleared "$direct"
    done
    run_case "read only" read_only
    run_case "blocks of 4096 bytes" big_blocks
    finish
}

verify() {
    serve_loop "$1" "$2"
    check_device
    stop_loop
    same "size" "$(stat -c %s image.raw)" $((512 << 20))
}

# Direct and buffered I/O, also of sizes that the driver has to split.
check_device() {
    verify_with_fio --filename="$DEV" --direct=1 --bsrange=512-128k --numjobs=4 \
        --size=${MIB}M --offset_increment=32M
    verify_with_fio --filename="$DEV" --direct=0 --bsrange=4k-1m --numjobs=2 \
        --size=$((2 * MIB))M --offset_increment=64M --end_fsync=1
    verify_with_fio --filename="$DEV" --direct=1 --bs=2m --rw=write --size=$((4 * MIB))M \
        --offset=256M
}

verify_stripe() {
    truncate -s 256M one.raw two.raw three.raw
    serve_loop copy "$1" 'stripe(one.raw, two.raw, three.raw, chunk=64k)'
    check_device
    stop_loop
}

# Direct and buffered I/O on the same ranges, one after the other.
both_ways() {
    serve_loop copy "$1"
    head -c "${MIB}M" /dev/urandom > random.raw
    dd if=random.raw of="$DEV" bs=1M oflag=direct status=none
    cmp -n $((MIB << 20)) random.raw "$DEV"
    dd if=random.raw of="$DEV" bs=4k seek=1000 conv=fsync status=none
    dd if="$DEV" bs=1M iflag=direct,skip_bytes,count_bytes skip=$((1000 * 4096)) \
        count=$((MIB << 20)) status=none | cmp - random.raw
    stop_loop
    cmp -i $((1000 * 4096)):0 -n $((MIB << 20)) image.raw random.raw
}

cleared() {
    serve_loop copy "$1"
    dd if=/dev/urandom of="$DEV" bs=1M count=64 oflag=direct status=none
    blkdiscard -o 4M -l 8M "$DEV"
    blkdiscard -z -o 32M -l 8M "$DEV"
    dd if="$DEV" bs=1M skip=4 count=8 iflag=direct status=none | cmp -n $((8 << 20)) - /dev/zero
    dd if="$DEV" bs=1M skip=32 count=8 iflag=direct status=none | cmp -n $((8 << 20)) - /dev/zero
    [ "$(stat -c %b image.raw)" -le $((57 << 11)) ] || fail "what was discarded still has blocks"
    stop_loop
}

read_only() {
    head -c 16M /dev/urandom > image.raw
    serve_loop copy 1 --read_only image.raw
    same "read only" "$(blockdev --getro "$DEV")" 1
    cmp image.raw "$DEV"
    refused "" dd if=/dev/zero of="$DEV" bs=4k count=1 status=none
    stop_loop
}

# The device has the block size of its backing, here of another loop device.
big_blocks() {
    local base
    truncate -s 64M image.raw
    base=$(losetup -f --show -b 4096 image.raw)
    serve_loop copy 1 "$base"
    same "logical block" "$(blockdev --getss "$DEV")" 4096
    verify_with_fio --filename="$DEV" --direct=1 --bsrange=4k-128k --blockalign=4k --size=${MIB}M
    stop_loop
    losetup -d "$base"
}

main
