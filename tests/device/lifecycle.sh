#!/usr/bin/env bash
# Deleted devices leave nothing behind.
. "$(dirname "$0")/lib.sh"

WARM_UP=20

main() {
    # Enough to detect one leaked file per device.
    CYCLES=100
    ! full || CYCLES=200
    run_case "$CYCLES devices leave nothing behind" many_cycles
    run_case "an add that fails leaves nothing behind" failed_adds
    run_case "SIGTERM and SIGINT end a server in the background and its device" signals_background
    run_case "SIGTERM and SIGINT end a server in the foreground and its device" signals_foreground
    run_case "many at once" many_at_once
    run_case "del --async" delete_async
    run_case "a device held open" held_open
    run_case "del -a" delete_all
    finish
}

many_cycles() {
    local worker before after
    for worker in {1..4}; do
        mkdir $worker
        (cd $worker; make_stack loop 64M; make_stack stripe 64M)
    done
    four_workers 0 $WARM_UP
    before=$(belongings)
    four_workers $WARM_UP $CYCLES
    after=$(belongings)
    echo "# KiB of the kernel, open files, processes: $before before, $after after"
    within 6144 "${before% * *}" "${after% * *}" || fail "the kernel's memory has grown"
    same "leftovers in /dev and /sys" "$(leftovers)" ""
    same "state files" "$(ls state)" ""
    same servers "$(servers)" ""
    before=${before#* } after=${after#* }
    within 64 "${before% *}" "${after% *}" || fail "the number of open files has grown"
    within 8 "${before#* }" "${after#* }" || fail "the number of processes has grown"
}

# four_workers FIRST END: four workers share the cycles from FIRST to END - 1.
four_workers() {
    local worker cycle workers=()
    for worker in {1..4}; do
        (
            cd $worker
            for ((cycle = $1 + worker - 1; cycle < $2; cycle += 4)); do one_cycle $cycle; done
        ) &
        workers+=($!)
    done
    for worker in "${workers[@]}"; do wait "$worker"; done
}

one_cycle() {
    local modes=($MODES) stacks=("-t null" "-t loop -f disk" "-f leg0 -f leg1 -t stripe")
    local arguments="${stacks[$1 % 3]} --mode ${modes[$1 % 5]} -q $(($1 % 2 + 1))"
    [ $(($1 / 4 % 4)) != 0 ] || arguments+=" -r 1 -i 1"
    # shellcheck disable=SC2086
    add $arguments
    dd if="$DEV" of=/dev/null bs=64k count=4 status=none
    [ $(($1 / 4 % 8)) != 7 ] || kill_server
    "$SLUICE" del -n "$ID"
}

# Prints the kernel's memory in KiB, and the numbers of open files and processes.
belongings() {
    sleep 0.5
    echo "$(awk '/^(SUnreclaim|Percpu|VmallocUsed|KernelStack):/ { sum += $2 } END { print sum }' \
        /proc/meminfo) $(cut -f1 /proc/sys/fs/file-nr) $(processes)"
}

# Does not count the kernel's workers, because their number varies.
processes() {
    grep -shLE '^[0-9]+ \(kworker/' /proc/[0-9]*/stat | wc -l
}

within() {
    [ $(($3 - $2)) -le "$1" ]
}

# Prints the files in /dev and /sys of the devices that this case has made.
leftovers() {
    local id
    for id in $(sort -u made); do
        find /dev /sys/class/ublk-char /sys/block -maxdepth 1 \
            \( -name "ublkb$id" -o -name "ublkc$id" \)
    done
}

# Prints the processes that run $SLUICE for this case.
servers() {
    local process
    for process in $(find /proc -maxdepth 2 -name exe -lname "$(realpath "$SLUICE")" \
            2> /dev/null || true); do
        ! grep -qz "^SLUICE_STATE_DIR=$SLUICE_STATE_DIR$" "${process%/exe}/environ" ||
            echo "${process%/exe}"
    done
}

failed_adds() {
    local before
    before=$(ls /dev /sys/class/ublk-char /sys/block)
    truncate -s 64M disk
    truncate -s 100 tiny
    refuses 'does not exist' "$SLUICE" add -t loop -f missing
    refuses 'directory' "$SLUICE" add -t loop -f /tmp
    refuses 'less than one block' "$SLUICE" add -t loop -f tiny
    refuses 'must see the data' "$SLUICE" add 'fault(disk, cache=volatile)' -z
    refuses 'does not exist' "$SLUICE" add 'stripe(disk, missing, chunk=64k)'
    touch no_directory
    refuses 'cannot use the state directory' \
        env SLUICE_STATE_DIR="$CASE/no_directory" "$SLUICE" add -t loop -f disk
    same "/dev and /sys" "$(ls /dev /sys/class/ublk-char /sys/block)" "$before"
    same servers "$(servers)" ""
    # The file is free.
    add -t loop -f disk
    refuses 'attached for writing elsewhere' "$SLUICE" add -t loop -f disk
    refuses 'already exists' "$SLUICE" add -t null -n "$ID"
    dd if="$DEV" of=/dev/null bs=64k count=4 status=none
    del
}

signals_background() {
    local signal pid
    for signal in TERM INT; do
        add -t null
        pid=$(server)
        kill -$signal "$pid"
        wait_for 10 gone "$pid"
        same "leftovers" "$(leftovers)" ""
        same "state files" "$(ls state)" ""
    done
}

signals_foreground() {
    local signal status
    for signal in TERM INT; do
        status=0
        "$SLUICE" add -t null --foreground > shown 2> log &
        wait_for 10 grep -q /dev/ublkb shown
        DEV=$(head -n 1 shown)
        echo "${DEV#/dev/ublkb}" >> made
        dd if="$DEV" of=/dev/null bs=64k count=4 status=none
        kill -$signal $!
        wait $! || status=$?
        same "exit status after $signal" $status 0
        same "leftovers" "$(leftovers)" ""
        same "state files" "$(ls state)" ""
    done
}

many_at_once() {
    local number adds=()
    for number in {1..12}; do
        sluice add -t null -q 2 > shown$number &
        adds+=($!)
    done
    for number in "${adds[@]}"; do wait "$number"; done
    sed -n 's%^/dev/ublkb%%p' shown* >> made
    same "different devices" "$(sort -u made | wc -l)" 12
    adds=()
    for number in $(cat made); do
        sluice del -n "$number" &
        adds+=($!)
    done
    for number in "${adds[@]}"; do wait "$number"; done
    same "leftovers" "$(leftovers)" ""
    same "state files" "$(ls state)" ""
    same servers "$(servers)" ""
}

delete_async() {
    local pid
    add -t null
    pid=$(server)
    sluice del -n "$ID" --async
    wait_for 10 gone "$pid"
    wait_for 10 no_leftovers
    same "state files" "$(ls state)" ""
}

no_leftovers() {
    [ -z "$(leftovers)" ]
}

# del refuses to delete the device. With --force its holder gets errors, and the number is free once
# the holder closes the device: `add` with this number waits for that, as needed by a service that
# is restarted while udev has its device open.
held_open() {
    local pid
    add -t null
    pid=$(server)
    exec 5< "$DEV"
    refuses 'in use' "$SLUICE" del -n "$ID"
    dd of=/dev/null bs=4k count=1 status=none <&5
    sluice del -n "$ID" --force
    wait_for 10 gone "$pid"
    fails 'error|Invalid' dd of=/dev/null bs=4k count=1 skip=9 iflag=direct <&5
    sluice add -t null -n "$ID" > shown 5<&- &
    sleep 1
    exec 5<&-
    wait $! || fail "its number is not free"
    del
}

delete_all() {
    [ -z "$(ls /sys/class/ublk-char)" ] || skip "there are devices that are not ours"
    sluice del -a
    add -t null
    add -t null
    sluice del -a
    same "leftovers" "$(leftovers)" ""
}

main
