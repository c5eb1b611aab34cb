#!/usr/bin/env bash
# What an NBD client has flushed, or has written durably (FUA), is there after a power cut: T1.14
# and T1.15 of the traps of NBD servers. The power is cut by killing the server of a disk with a
# volatile cache, and at each entry of the log that dm-log-writes has kept of the disk below the
# server.
# seconds: 90
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_export.sh"
. "$(dirname "$0")/lib_power.sh"

# Seconds after which the kernel gives up a request whose server is dead: 30 otherwise.
PATIENCE=8
SEED=${SLUICE_TEST_SEED:-$((EPOCHSECONDS % 32768))}
ROUNDS=1
! full || ROUNDS=20

main() {
    local client connections mode fs
    need_kernel_client
    echo "# SLUICE_TEST_SEED=$SEED"
    for connections in 1 2; do
        run_case "a power cut takes what was not flushed, $connections connections" \
            with_clients power_cut $connections
    done
    for mode in auto copy; do
        run_case "a power cut takes what was not flushed, target nbd on ublk, mode $mode" \
            with_clients power_cut_below $mode
    done
    for client in kernel libnbd; do
        run_case "the server is killed under load, $client" with_clients killed $client
        run_case "the power is cut after every write to the disk, $client" with_clients logged \
            $client
    done
    for fs in ext4 xfs; do
        run_case "$fs keeps what was synchronised through power cuts" with_clients journal $fs
    done
    finish
}

power_cut() {
    truncate -s 64M disk
    serve 'fault(disk, cache=volatile)' -q 2
    connect -N '' -connections "$1"
    write_some_and_sync
    kill_export
    disconnect
    sluice del -n "$ID"
    survived disk
}

# Both ends are ours: a device on an export.
power_cut_below() {
    local number
    truncate -s 64M disk
    serve 'fault(disk, cache=volatile)' -q 2
    number=$ID
    add "nbd($URI, connections=2, reconnect=1s)" --mode "$1" -q 2
    same mode "$(field mode)" "$1"
    write_some_and_sync
    kill_export
    del
    sluice del -n "$number"
    survived disk
}

# writer CLIENT COUNT [MARKED]: writes with flushes in the background, until it fails or has made
# COUNT flushes and durable writes. Sets WRITER.
writer() {
    local where=$URI
    if [ "$1" = kernel ]; then
        connect -N '' -connections 2 -timeout $PATIENCE
        where=$DEV
    fi
    rm -f book*
    timeout 300 /usr/bin/python3 "$SLUICE_SOURCE_DIR/tests/support/durable_writer.py" write \
        "$where" book "$SEED" "${@:2}" &
    WRITER=$!
    wait_for 120 [ -e book.started ]
}

judge() {
    timeout 120 /usr/bin/python3 "$SLUICE_SOURCE_DIR/tests/support/durable_writer.py" "$@"
}

killed() {
    local round
    for ((round = 0; round < ROUNDS; round++)); do
        rm -f disk
        truncate -s 8M disk
        serve 'fault(disk, cache=volatile, torn=yes)' -q 2
        writer "$1" 1000000
        sleep 0.$((RANDOM % 10))
        kill_export
        wait "$WRITER"
        [ "$1" = libnbd ] || disconnect
        sluice del -n "$ID"
        judge check disk book
    done
}

logged() {
    local name=sluice-test-$$ disk log
    truncate -s 8M disk
    truncate -s 512M log
    disk=$(losetup -f --show disk)
    log=$(losetup -f --show log)
    dmsetup create "$name" --table "0 16384 log-writes $disk $log"
    dmsetup mknodes "$name"
    # shellcheck disable=SC2064
    trap "let_go_logged $name" EXIT
    serve "/dev/mapper/$name" -q 2
    writer "$1" $((ROUNDS * 15 + 15)) "$name"
    wait "$WRITER"
    [ "$1" = libnbd ] || disconnect
    unserve
    dmsetup remove "$name"
    losetup -d "$disk"
    judge check disk book
    judge replay log book
    losetup -d "$log"
}

let_go_logged() {
    local status=$?
    (exit $status; let_go) || status=$?
    ! dmsetup info "$1" > /dev/null 2>&1 || dmsetup remove --force "$1"
    exit $status
}

# As in durability.sh, with the file system on the kernel's client.
journal() {
    local round
    truncate -s 400M disk
    mkdir mnt
    "mkfs.$1" -q disk
    for ((round = 1; round <= ROUNDS; round++)); do
        serve 'fault(disk, cache=volatile, torn=yes)' -q 2
        connect -N '' -connections 2 -timeout $PATIENCE
        mount "$DEV" mnt
        write_files "mnt/round$round" > "acknowledged$round" &
        wait_for 120 at_least 12 "acknowledged$round"
        kill_export
        wait $!
        umount mnt
        disconnect
        sluice del -n "$ID"
        DEV=$(losetup -f --show disk)
        mount "$DEV" mnt
        check_files
        umount mnt
        checker "$1" > check.log 2>&1 || fail "round $round: $(cat check.log)"
        losetup -d "$DEV"
    done
}

main
