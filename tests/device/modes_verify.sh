#!/usr/bin/env bash
# Every buffer mode on every kind of stack returns the written data, for any block size. Modes
# `auto` and `copy` are tested on every kind of stack, the others on the most different ones; with
# SLUICE_TEST_FULL=1 all on every kind.
. "$(dirname "$0")/lib.sh"

SIZES=512/5:4k/35:20k/20:64k/20:256k/15:512k/5

main() {
    local mode stack
    for mode in $MODES; do
        run_case "null reads zeroes, mode $mode" reads_zeroes "$mode"
        for stack in loop stripe; do
            run_case "$stack keeps what is written, mode $mode" keeps_data "$mode" "$stack"
        done
        [[ $mode == auto || $mode == copy ]] || full || continue
        run_case "buffered keeps what is written, mode $mode" keeps_data "$mode" buffered
        run_case "loop on ext4 keeps what is written, mode $mode" on_ext4 "$mode"
        run_case "a stripe puts each chunk where it belongs, mode $mode" layout "$mode"
    done
    run_case "zero copy copies nothing" copies_nothing
    finish
}

reads_zeroes() {
    local kib
    add -t null --size 1G --mode "$1"
    for kib in 4 20 256 1024; do
        # The write leaves data in the client's memory, which the read must overwrite.
        dd if=/dev/urandom of="$DEV" bs=${kib}k count=8 oflag=direct status=none
        cmp -n $((kib * 8192)) <(dd if="$DEV" bs=${kib}k count=8 iflag=direct status=none) /dev/zero
    done
    cmp <(dd if="$DEV" bs=512 count=64 iflag=direct status=none) <(head -c 32768 /dev/zero)
    cmp -n 8388608 "$DEV" /dev/zero
    del
}

keeps_data() {
    make_stack "$2"
    add "${STACK[@]}" --mode "$1"
    same mode "$(field mode)" "$1"
    write_and_verify
    through_page_cache
    del
}

on_ext4() {
    make_disk_fs
    truncate -s 512M disk_fs/disk
    add -t loop -f disk_fs/disk --mode "$1"
    write_and_verify
    del
    umount disk_fs
}

# Writes blocks of many sizes, in any order, 16 at a time, with flushes in between, while another
# job reads and writes elsewhere; then reads all back and compares.
write_and_verify() {
    fio --filename="$DEV" --direct=1 --verify=crc32c --do_verify=1 --verify_fatal=1 \
        --bssplit="$SIZES" --output=fio.log \
        --name=writes --ioengine=io_uring --iodepth=16 --rw=randwrite --size=12M --fsync=64 \
        --name=mixed --ioengine=libaio --iodepth=8 --rw=randrw --size=8M --offset=64M ||
        fail "$(tail -n 20 fio.log)"
}

through_page_cache() {
    head -c 4M /dev/urandom > data
    dd if=data of="$DEV" bs=1M seek=128 conv=fsync status=none
    blockdev --flushbufs "$DEV"
    cmp <(dd if="$DEV" bs=1M skip=128 count=4 status=none) data
}

# Reads the members without sluice: they have the chunks in turn.
layout() {
    local chunk
    make_stack stripe
    head -c 1M /dev/urandom > data
    add "${STACK[@]}" --mode "$1"
    dd if=data of="$DEV" bs=200k oflag=direct conv=fsync status=none
    del
    for chunk in {0..15}; do
        dd if=leg$((chunk % 4)) bs=64k skip=$((chunk / 4)) count=1 status=none
    done | cmp - data
}

copies_nothing() {
    local mode
    make_stack loop
    for mode in auto register; do
        "$SLUICE" add "${STACK[@]}" --mode $mode --foreground > shown 2> log &
        wait_for 10 grep -q /dev/ublkb shown
        DEV=$(head -n 1 shown) ID=${DEV#/dev/ublkb}
        write_and_verify
        del
        wait $!
        grep -qE ' [1-9][0-9]* requests, 0 errors, 0 bytes copied, 0 arena overflows' log ||
            fail "the server says: $(cat log)"
    done
}

main
