#!/usr/bin/env bash
# Servers and keepers die at every step of every command, while they wait for an answer, or stop at
# a step: no process hangs, and del removes the rest. Each day another third of the steps is tested,
# and with FUSE another sixth of those that it shares with loop; with SLUICE_TEST_FULL=1 all.
# SLUICE_TEST_SEED=N: which steps, instead of the day.
# seconds: 60
# shellcheck source=tests/hostile/lib_hostile.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_hostile.sh"

main() {
    local frontend
    begin_loop
    say_turn
    for frontend in loop fuse; do
        run_case "a server dies while it is added, $frontend" dies_in_add "$frontend"
        run_case "a server dies while it resizes, $frontend" dies_in_resize "$frontend"
        run_case "a server dies while it stops, $frontend" dies_in_stop "$frontend"
        run_case "the next server dies in an upgrade, $frontend" next_dies_in_upgrade "$frontend"
        run_case "the old server dies in an upgrade, $frontend" old_dies_in_upgrade "$frontend"
        run_case "a server goes no further while it is added, $frontend" held_in_add "$frontend"
        run_case "a server dies while a command waits for its target, $frontend" \
            dies_while_it_waits "$frontend"
    done
    finish
}

# steps_of COMMAND...: writes the steps of the command to steps.txt.
steps_of() {
    rm -f steps.txt
    SLUICE_TEST_STEP=log:$CASE/steps.txt "$@"
    [ -s steps.txt ] || fail "no steps in: $*"
}

# find_steps FRONTEND: writes the steps of a server's life to a file for each command; they are
# recorded only once.
find_steps() {
    local file had=$WORK/$1.steps
    truncate -s 64M image.raw
    if [ ! -d "$had" ]; then
        log_steps "$1"
        mkdir "$had"
        for file in *.steps; do awk '!seen[$0]++' "$file" > "$had/$file"; done
    fi
    if [ "$1" = loop ] || full; then
        cp "$had"/* .
        return
    fi
    find_steps loop
    for file in *.steps; do
        awk -v skip=$((TURN / 3 % 2)) '
            NR == FNR { had[$0]; next }
            !($0 in had) || n++ % 2 == skip' "$file" "$had/$file" > own
        mv own "$file"
    done
}

log_steps() {
    steps_of serve "$1"
    mv steps.txt add.steps
    "$SLUICE" resize -n 0 > /dev/null
    mv steps.txt resize.steps
    "$SLUICE" upgrade -n 0 > /dev/null
    # Without the steps of `add`, at which the server would die before the upgrade.
    grep -vxFf add.steps steps.txt > old.steps
    steps_of "$SLUICE" upgrade -n 0 > /dev/null
    mv steps.txt next.steps
    "$SLUICE" del -n 0
    steps_of serve "$1"
    rm steps.txt
    make_dirty
    "$SLUICE" del -n 0
    grep -vxFf add.steps steps.txt > stop.steps
}

# for_each_step FILE COMMAND...: runs COMMAND with each step, and clears up after each.
for_each_step() {
    local file=$1 step
    shift
    one_of 3 < "$file" > each
    while read -r step <&3; do
        rm -f once
        SLUICE_TEST_ONCE=$CASE/once "$@" "$step"
        nobody_hangs "$step"
        all_is_cleared "$step"
    done 3< each
}

dies_in_add() {
    find_steps "$1"
    for_each_step add.steps killed_in_add "$1"
}

killed_in_add() {
    SLUICE_TEST_STEP="kill:$2" serve "$1" || true
}

dies_in_resize() {
    find_steps "$1"
    for_each_step resize.steps killed_in resize "$1"
}

dies_in_stop() {
    find_steps "$1"
    for_each_step stop.steps killed_in del "$1"
}

killed_in() {
    SLUICE_TEST_STEP="kill:$3" serve "$2"
    make_dirty
    timeout 20 "$SLUICE" "$1" -n 0 > command.txt 2>&1 || true
}

next_dies_in_upgrade() {
    find_steps "$1"
    for_each_step next.steps next_killed "$1"
}

# If the new server dies before it serves, the old one continues, with all written data; afterwards
# its death is that of the device's server.
next_killed() {
    serve "$1"
    make_dirty
    echo "$2" | dd of="$DEV" conv=notrunc,fsync status=none
    SLUICE_TEST_STEP="kill:$2" timeout 60 "$SLUICE" upgrade -n 0 > upgrade.txt 2>&1 || true
    case $2 in "old server told"|"socket opened"|announced) return 0 ;; esac
    wait_until_served "$2"
    same "what is read after $2" "$(head -n 1 "$DEV")" "$2"
}

# A loop device that is not open may disappear for a moment, and is made again.
wait_until_served() {
    for _ in {1..100}; do
        ! timeout 5 "$SLUICE" stat -n 0 > stat.txt 2>&1 || [ -z "$(head -c 1 "$DEV")" ] || return 0
        sleep 0.05
    done
    fail "nobody serves it after $1: $(cat stat.txt)"
}

old_dies_in_upgrade() {
    find_steps "$1"
    for_each_step old.steps old_killed "$1"
}

# A process that is held at a step blocks no other command, and can be killed.
held_in_add() {
    local step adding
    find_steps "$1"
    one_of 3 < add.steps > each
    while read -r step <&3; do
        SLUICE_TEST_STEP="hold:$step" serve "$1" &
        adding=$!
        sleep 0.4
        nobody_hangs "held at $step"
        # shellcheck disable=SC2046
        kill -KILL $(ours) 2> /dev/null || true
        wait $adding || true
        nobody_hangs "killed at $step"
        all_is_cleared "held at $step"
    done 3< each
}

# A request takes so long that the server is killed before it ends.
dies_while_it_waits() {
    local command delay delays waiting
    delays=$(printf '%s\n' 0.4 1 0.1 | one_of 3)
    truncate -s 64M image.raw
    for command in add resize upgrade del; do
        for delay in $delays; do
            rm -f done
            if [ $command = add ]; then
                serve_slowly "$1" &
            else
                serve_slowly "$1" || fail "$(cat add.err)"
                # Writes to a file are write-through, and would wait for each block.
                [ "$1" = fuse ] || make_dirty
                dd if="$DEV" of=/dev/null bs=4k count=1 skip=4000 iflag=direct > dd.txt 2>&1 &
                sleep 0.1
                timeout 30 "$SLUICE" $command -n 0 > command.txt 2>&1 &
            fi
            waiting=$!
            sleep $delay
            # shellcheck disable=SC2046
            kill -KILL $(servers) 2> /dev/null || true
            nobody_hangs "killed in $command after $delay s"
            wait $waiting || true
            all_is_cleared "killed in $command after $delay s"
        done
    done
}

serve_slowly() {
    local place=()
    [ "$1" = loop ] || place=(--at "$CASE/disk")
    timeout 20 "$SLUICE" add -n 0 --frontend "$1" --mode copy "${place[@]}" \
        "fault(image.raw, delay=700ms)" > add.txt 2> add.err || return
    DEV=$(head -n 1 add.txt)
}

# Prints the processes of `ours` that answer requests.
servers() {
    local pid
    for pid in $(ours); do
        ! grep -qsx sluice "/proc/$pid/comm" || echo "$pid"
    done
}

# The death of the old server is that of the device's server, unless the next one can serve already.
old_killed() {
    SLUICE_TEST_STEP="kill:$2" serve "$1"
    make_dirty
    echo "$2" | dd of="$DEV" conv=notrunc,fsync status=none
    timeout 60 "$SLUICE" upgrade -n 0 > upgrade.txt 2>&1 || true
    [[ $2 == committed || $2 == keeper* ]] || return 0
    wait_until_served "$2"
    same "what is read after $2" "$(head -n 1 "$DEV")" "$2"
}

main
