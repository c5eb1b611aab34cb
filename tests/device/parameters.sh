#!/usr/bin/env bash
# The properties that a device reports to the kernel and to users. Each mode is tested with one of
# four pairs of queues and depth, `auto` and `copy` with two, and each size of requests with one
# mode: others each day, with SLUICE_TEST_FULL=1 all.
# SLUICE_TEST_SEED=N: which ones, instead of the day.
# seconds: 80
. "$(dirname "$0")/lib.sh"

main() {
    local mode
    say_turn
    run_case "queue limits of a loop device" limits_of_loop
    run_case "queue limits of a stripe" limits_of_stripe
    run_case "queue limits follow a backing with blocks of 4096 bytes" large_blocks
    for mode in $MODES; do
        run_case "I/O on a backing with blocks of 4096 bytes, mode $mode" large_block_io "$mode"
    done
    run_case "size of the device" sizes
    run_case "partitions appear" partitions
    for mode in $MODES; do
        run_case "queues and depths, mode $mode" queues_and_depths "$mode"
    done
    run_case "more queues than processors" too_many_queues
    run_case "max_io_buf_bytes" max_io
    run_case "set_affinity moves the thread" affinity
    run_case "list tells the truth" listed
    run_case "-z, -g, --usercopy and the default choose the mode" chosen_mode
    run_case "features and targets" facts
    finish
}

limits_of_loop() {
    make_disk_fs
    truncate -s 64M disk_fs/disk
    add -t loop -f disk_fs/disk
    same logical_block_size "$(setting queue/logical_block_size)" 512
    same physical_block_size "$(setting queue/physical_block_size)" 4096
    same write_cache "$(setting queue/write_cache)" "write back"
    same fua "$(setting queue/fua)" 1
    same max_hw_sectors_kb "$(setting queue/max_hw_sectors_kb)" 512
    same dma_alignment "$(setting queue/dma_alignment)" 511
    [ "$(setting queue/discard_max_bytes)" -gt 0 ] || fail "no discard"
    same discard_granularity "$(setting queue/discard_granularity)" 4096
    [ "$(setting queue/write_zeroes_max_bytes)" -gt 0 ] || fail "no write zeroes"
    del
    add -t null --size 1G
    same write_cache "$(setting queue/write_cache)" "write through"
    same fua "$(setting queue/fua)" 0
    del
    # A file in memory requires no alignment.
    truncate -s 64M disk
    add -t loop -f disk
    same dma_alignment "$(setting queue/dma_alignment)" 3
    del
}

limits_of_stripe() {
    make_stack stripe 64M
    add "${STACK[@]}"
    same "size in sectors" "$(setting size)" 131072
    same optimal_io_size "$(setting queue/optimal_io_size)" $((4 * 65536))
    same minimum_io_size "$(setting queue/minimum_io_size)" 65536
    del
}

large_blocks() {
    local loop
    truncate -s 64M disk
    loop=$(losetup --find --show --sector-size 4096 --direct-io=on disk)
    add "$loop"
    same logical_block_size "$(setting queue/logical_block_size)" 4096
    same dma_alignment "$(setting queue/dma_alignment)" 4095
    # ublk must pass on the backing's limits on memory, or the backing would refuse lent pages.
    [ "$(setting queue/max_segments)" -le "$(cat "/sys/block/${loop#/dev/}/queue/max_segments")" ]
    del
    add "$loop" --mode copy
    same logical_block_size "$(setting queue/logical_block_size)" 4096
    del
    losetup -d "$loop"
}

large_block_io() {
    local loop
    truncate -s 64M disk
    head -c 8M /dev/urandom > data
    loop=$(losetup --find --show --sector-size 4096 --direct-io=on disk)
    add "$loop" --mode "$1"
    dd if=data of="$DEV" bs=300k oflag=direct conv=fsync status=none
    cmp -n 8388608 "$DEV" data
    fails 'Invalid argument' dd if="$DEV" of=/dev/null bs=512 count=1 iflag=direct status=none
    fio --name=verify --filename="$DEV" --direct=1 --ioengine=io_uring --iodepth=8 --size=4M \
        --offset=16M --rw=randwrite --bsrange=4k-128k --verify=crc32c --do_verify=1 \
        --verify_fatal=1 --output=fio.log || fail "$(cat fio.log)"
    del
    losetup -d "$loop"
}

sizes() {
    truncate -s $((1048576 + 512)) disk
    add -t loop -f disk
    same "size in sectors" "$(setting size)" 2049
    del
    truncate -s $((1048576 + 700)) disk
    add -t loop -f disk
    same "size in sectors" "$(setting size)" 2049
    del
    add -t null
    same "size in bytes" "$(blockdev --getsize64 "$DEV")" $((250 << 30))
    del
    add -t null --size 4096P
    same "size in bytes" "$(blockdev --getsize64 "$DEV")" $((4096 << 50))
    del
}

partitions() {
    truncate -s 64M disk
    printf 'label: gpt\nsize=8MiB\nsize=16MiB\n' | sfdisk -q --no-tell-kernel disk
    add -t loop -f disk
    wait_for 10 [ -b "${DEV}p2" ]
    same "first partition" "$(blockdev --getsize64 "${DEV}p1")" 8388608
    same "second partition" "$(blockdev --getsize64 "${DEV}p2")" 16777216
    head -c 1M /dev/urandom > data
    dd if=data of="${DEV}p2" bs=64k oflag=direct conv=fsync status=none
    # A partition in use keeps the device.
    mkfs.ext4 -qF "${DEV}p1"
    mkdir mnt
    mount "${DEV}p1" mnt
    refuses 'in use' "$SLUICE" del -n "$ID"
    umount mnt
    del
    [ ! -e "${DEV}p1" ]
    cmp -n 1048576 -i $((9 * 1048576)):0 disk data
    # Partitions made while the device exists.
    truncate -s 0 disk
    truncate -s 64M disk
    add -t loop -f disk
    printf 'label: dos\nsize=8MiB\n' | sfdisk -q "$DEV"
    wait_for 10 [ -b "${DEV}p1" ]
    del
}

queues_and_depths() {
    local pair queues depth each=4
    [[ $1 != auto && $1 != copy ]] || each=2
    truncate -s 64M disk
    for pair in $(printf '%s\n' 1/1 2/1 2/4096 1/4096 | one_of $each); do
        queues=${pair%/*} depth=${pair#*/}
        add -t loop -f disk --mode "$1" -q "$queues" -d "$depth"
        same queues "$(ls "/sys/block/${DEV#/dev/}/mq" | wc -l)" "$queues"
        same depth "$(field depth)" "$depth"
        fio --filename="$DEV" --direct=1 --ioengine=io_uring --iodepth=64 --rw=randwrite \
            --size=2M --bs=8k --verify=crc32c --do_verify=1 --verify_fatal=1 --thread \
            --output=fio.log --name=one --name=two --offset=32M || fail "$(cat fio.log)"
        del
    done
}

too_many_queues() {
    local processors
    processors=$(nproc --all)
    "$SLUICE" add -t null -q 4096 -d 4096 > shown 2> err
    DEV=$(head -n 1 shown) ID=$(sed -n '1s%^/dev/ublkb%%p' shown)
    grep -q 'one per processor' err || fail "nothing is said: $(cat err)"
    [ "$(field queues)" -le "$processors" ]
    dd if="$DEV" of=/dev/null bs=1M count=16 iflag=direct status=none
    del
}

max_io() {
    local size mode
    truncate -s 64M disk
    head -c 4M /dev/urandom > data
    while read -r size mode <&3; do
        add -t loop -f disk --max_io_buf_bytes "$size" --mode "$mode"
        dd if=data of="$DEV" bs=4M oflag=direct conv=fsync status=none
        cmp -n 4194304 "$DEV" data
        del
    done 3< <(printf '%s\n' "4k copy" "4k auto" "64k auto" "64k copy" "1M copy" "1M auto" \
        "32M auto" "32M copy" | one_of 2)
}

affinity() {
    local thread
    [ "$(nproc)" -gt 1 ] || skip "there is but one processor"
    add -t null
    thread=$(field threads)
    sluice set_affinity -n "$ID" -q 0 --cpuset 1
    same "allowed processors" "$(allowed "$thread")" 1
    dd if="$DEV" of=/dev/null bs=64k count=64 iflag=direct status=none
    same "the processor it ran on" "$(sed 's/.*) //' "/proc/$thread/stat" | cut -d' ' -f37)" 1
    same affinities "$(field affinities)" 1
    sluice set_affinity -n "$ID" -q 0 --cpuset 0-1
    same "allowed processors" "$(allowed "$thread")" 0-1
    refuses 'no queue 1' "$SLUICE" set_affinity -n "$ID" -q 1 --cpuset 0
    refuses '^sluice: ' "$SLUICE" set_affinity -n "$ID" -q 0 --cpuset 1023
    same "allowed processors" "$(allowed "$thread")" 0-1
    del
}

allowed() {
    awk '$1 == "Cpus_allowed_list:" { print $2 }' "/proc/$1/status"
}

listed() {
    truncate -s 64M disk
    add -t loop -f disk -q 2 -d 64 -r 1 -i 1 --mode register --read_only
    same device "$(field device)" "$DEV"
    same state "$(field state)" LIVE
    same queues "$(field queues)" 2
    same depth "$(field depth)" 64
    same size_bytes "$(field size_bytes)" 67108864
    same pid "$(field pid)" "$(server)"
    same mode "$(field mode)" register
    same recovery "$(field recovery)" reissue
    same read_only "$(field read_only)" true
    same number "$(field number)" "$(setting dev)"
    same target "$(field target)" loop
    field spec | grep -q "$CASE/disk" || fail "the spec is $(field spec)"
    for thread in $(field threads); do
        same "a queue's thread" "$(cut -c1-8 "/proc/$(server)/task/$thread/comm")" sluice-q
    done
    sluice list -n "$ID" > shown
    grep -q "^dev id $ID: nr_hw_queues 2 queue_depth 64 " shown || fail "$(cat shown)"
    sluice list -v | grep -q "^dev id $ID: "
    del
    refuses 'there is no device' "$SLUICE" list -n "$ID"
}

chosen_mode() {
    truncate -s 64M disk
    chooses auto -z
    chooses auto
    chooses user_copy --usercopy
    chooses get_data -g 1
    add 'fault(disk, cache=volatile)'
    same mode "$(field mode)" user_copy
    field mode_reason | grep -q 'must see the data'
    del
    add 'fault(disk, cache=volatile)' -g 1
    same mode "$(field mode)" get_data
    del
}

chooses() {
    local mode=$1
    shift
    add -t loop -f disk "$@"
    same "mode with '$*'" "$(field mode)" "$mode"
    del
}

facts() {
    sluice features > features
    grep -q AUTO_ZC features
    lacks unknown features
    sluice features --json | python3 -c 'import json, sys; json.load(sys.stdin)'
    sluice targets | grep -q stripe
    sluice targets --json | python3 -c 'import json, sys; json.load(sys.stdin)'
}

main
