#!/usr/bin/env bash
# Target thin on ublk, with dm-thin of the kernel as the judge, both ways: pools that were
# served under load, with snapshots, activate and are equal, and theirs are served by us.
# SLUICE_TEST_SECONDS=N: the time of each verified load (2).
# seconds: 70
. "$(dirname "$0")/lib_filesystems.sh"
. "$(dirname "$0")/lib_thin.sh"

SECONDS_EACH=${SLUICE_TEST_SECONDS:-2}

main() {
    local mode tool
    for tool in dmsetup thin_check thin_dump fio; do
        command -v $tool > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    make_repository
    for mode in $MODES; do
        run_case "verified load and snapshots, mode $mode" verified_in "$mode"
    done
    run_case "the kernel has what we have written" ours_activates
    run_case "we have what the kernel has written" theirs_is_served
    run_case "ext4, fstrim and a snapshot" file_system
    run_case "killed under load, and in the kernel" killed
    finish
}

make_pool() {
    truncate -s 8M meta
    truncate -s 256M data
    sluice thin create-pool meta data > create.txt
    sluice thin create meta 1
}

# serve ID [OPTION...]: volume ID, of 64 MiB, as $DEV.
serve() {
    add "thin(meta, data, volume=$1, size=64M)" -q 2 "${@:2}"
}

load() {
    fio --name=load --filename="$DEV" --ioengine=libaio --direct=1 --rw=randrw --bsrange=4k-128k \
        --iodepth=16 --size=48M --time_based --runtime="${1:-$SECONDS_EACH}" --verify=crc32c \
        --verify_backlog=64 --verify_fatal=1 --output=fio.log &
    LOAD=$!
}

load_is_well() {
    wait "$LOAD" || fail "$(tail -n 20 fio.log)"
}

verified_in() {
    make_pool
    serve 1 --mode "$1"
    same mode "$(field mode)" "$1"
    load
    sleep 0.5
    sluice ctl -n "$ID" / snapshot 2 > ctl.txt
    sleep 0.3
    sluice ctl -n "$ID" / snapshot 3 > ctl.txt
    sluice ctl -n "$ID" / delete 2 > ctl.txt
    load_is_well
    del
    clean
}

device_sum() {
    dd if="$DEV" bs=1M iflag=direct status=none | sha256sum
}

ours_activates() {
    local id
    make_pool
    serve 1
    load
    for id in 2 3 4; do
        sleep 0.4
        sluice ctl -n "$ID" / snapshot $id > ctl.txt
    done
    load_is_well
    device_sum > 1.sum
    del
    for id in 2 3 4; do
        serve $id
        device_sum > $id.sum
        del
    done
    clean
    activate
    for id in 1 2 3 4; do
        thin volume $id
        sum volume | cmp - $id.sum
        [ $id != 3 ] || fill volume 20
        dmsetup remove --noudevsync --retry volume
    done
    message delete 4
    message create_snap 9 3
    deactivate
    clean
    for id in 1 2; do
        serve $id
        device_sum | cmp - $id.sum
        del
    done
    for id in 3 9; do
        serve $id
        device_sum | cmp - volume.sum
        del
    done
}

theirs_is_served() {
    truncate -s 4M meta
    truncate -s 256M data
    activate
    message create_thin 0
    thin origin 0
    fill origin 30
    message create_snap 5 0
    cp origin.sum before.sum
    fill origin 30
    deactivate origin
    serve 0
    device_sum | cmp - origin.sum
    load
    load_is_well
    blkdiscard -o 8M -l 16M "$DEV"
    device_sum > served.sum
    del
    serve 5
    device_sum | cmp - before.sum
    del
    clean
    activate
    thin origin 0
    thin second 5
    sum origin | cmp - served.sum
    sum second | cmp - before.sum
    fill second 10
    deactivate origin second
    clean
}

file_system() {
    make_pool
    add 'thin(meta, data, volume=1, size=1G)' -q 2
    mkfs.ext4 -q "$DEV"
    mkdir mnt
    mount "$DEV" mnt
    git clone -q "$WORK/repository" mnt/clone
    sync
    sluice ctl -n "$ID" / snapshot 2 > ctl.txt
    git -C mnt/clone fsck --full --no-progress
    rm -rf mnt/clone
    fstrim mnt
    umount mnt
    e2fsck -fn "$DEV" > e2fsck.txt 2>&1 || fail "$(cat e2fsck.txt)"
    del
    clean
    # The snapshot has the clone, once its journal has been replayed.
    add 'thin(meta, data, volume=2, size=1G)'
    mount "$DEV" mnt
    git -C mnt/clone fsck --full --no-progress
    umount mnt
    del
    clean
}

# What is left after a kill is for the kernel as good as for us.
killed() {
    local round
    make_pool
    for round in $(up_to 2 4); do
        serve 1
        fio --name=flushed --filename="$DEV" --rw=randwrite --bs=16k --size=8M --offset=48M \
            --io_size=2M --randseed="$round" --verify=crc32c --do_verify=0 --end_fsync=1 \
            --direct=1 --verify_state_save=0 --output=fio.log
        load 20
        sleep 0.4
        sluice ctl -n "$ID" / snapshot $((10 + round)) > ctl.txt
        sleep "0.$round"
        kill -KILL "$(field pid)"
        wait "$LOAD" || true
        del
        clean
        activate
        thin origin 1
        DEV=/dev/mapper/origin
        fio --name=flushed --filename="$DEV" --rw=randwrite --bs=16k --size=8M --offset=48M \
            --io_size=2M --randseed="$round" --verify=crc32c --verify_only=1 --direct=1 \
            --verify_state_save=0 --output=fio.log || fail "$(cat fio.log)"
        deactivate origin
    done
}

main
