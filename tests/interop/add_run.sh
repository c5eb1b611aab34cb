#!/usr/bin/env bash
# `sluice add --run COMMAND`: the device exists for the time of a command.
# shellcheck source=tests/interop/lib_nbd.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_nbd.sh"

main() {
    begin_plain
    command -v nbdcopy > /dev/null || { echo "skipped: there is no nbdcopy"; exit 77; }
    run_case "its status" with_servers gives_its_status
    run_case "a copy" with_servers copies
    run_case "where it runs" with_servers runs_where_it_was_called
    run_case "other front ends" with_servers runs_with_a_file
    run_case "signals" with_servers is_ended_by_signals
    run_case "a command that does not end" with_servers kills_what_does_not_end
    run_case "del" with_servers outlives_its_device
    run_case "the last client" with_servers goes_on_after_the_last_client
    run_case "killed" with_servers is_killed
    run_case "failures" with_servers does_not_run_without_a_device
    finish
}

# run COMMAND [OPTION...]: an export for this command, without a word of its own.
run() {
    local command=$1
    shift
    [ -e image.raw ] || truncate -s 8M image.raw
    TMPDIR=$CASE "$SLUICE" add --frontend nbd --run "$command" "$@" image.raw
}

# begin COMMAND [OPTION...]: the same in the background. Sets SERVER, and ID once the command writes
# to the file `begun`.
begin_run() {
    run "$@" < /dev/null > out.txt 2> run.log &
    appears begun
    note_server
}

nothing_is_left() {
    same "state files" "$(ls "$SLUICE_STATE_DIR")" ""
    if compgen -G 'sluice-nbd.*'; then fail "the socket's directory was left behind"; fi
}

gives_its_status() {
    local status got
    # shellcheck disable=SC2016
    same said "$(run 'nbdinfo --size "$uri"')" 8388608
    for status in 0 1 2 42 255; do
        got=0
        run "exit $status" || got=$?
        same status $got "$status"
    done
    # shellcheck disable=SC2016
    run 'kill -KILL $$' || same status $? 137
    run '/no/such/program' 2> err.txt || same status $? 127
    nothing_is_left
}

copies() {
    head -c 8M /dev/urandom > data
    # shellcheck disable=SC2016
    run 'nbdcopy data "$uri" && nbdcopy "$SLUICE_URI" -' -q 2 > back
    cmp data back
    cmp data image.raw
    nothing_is_left
}

# In the directory and the mounts of the caller, with its files and its environment.
runs_where_it_was_called() {
    mkdir mounted
    mount -t tmpfs sluice-test mounted
    echo here > mounted/file
    # shellcheck disable=SC2016
    WORD=said run 'cat mounted/file; pwd; echo $WORD; cat <&5; umask' 5< <(echo five) > told.txt
    same told "$(cat told.txt)" "here
$CASE
said
five
$(umask)"
    sh -c 'ls /proc/self/fd' > files.txt
    run 'ls /proc/self/fd' --listen "unix:$CASE/sock" --ready-fd 9 9> ready > told.txt
    same files "$(cat told.txt)" "$(cat files.txt)"
    same URI "$(cat ready)" "nbd+unix:///?socket=$CASE/sock"
    umount mounted
    nothing_is_left
}

runs_with_a_file() {
    echo hello > image.raw
    truncate -s 1M image.raw
    # shellcheck disable=SC2016
    same said "$("$SLUICE" add --at disk --run 'head -c 5 "$path"; echo "$uri"' image.raw)" hello
    [ ! -e disk ] || fail "disk was left behind"
    nothing_is_left
}

is_ended_by_signals() {
    local signal process
    for signal in TERM INT HUP; do
        rm -f begun
        begin_run 'echo $$ > begun; sleep 1000 & wait'
        kill -$signal "$SERVER"
        wait_for_end "$SERVER"
        for process in $(cat begun) $(pgrep -g "$(cat begun)"); do wait_for_end "$process"; done
        nothing_is_left
    done
}

kills_what_does_not_end() {
    begin_run 'trap "" TERM; echo $$ > begun; while :; do sleep 0.2; done'
    kill -TERM "$SERVER"
    wait_for_end "$SERVER"
    wait_for_end "$(cat begun)"
    nothing_is_left
}

# By another command: the one of --run finds that out, and is waited for.
outlives_its_device() {
    # shellcheck disable=SC2016
    begin_run 'echo x > begun; while [ ! -e go ]; do sleep 0.05; done; nbdinfo "$uri" || exit 9'
    refused 'cannot have another server' "$SLUICE" upgrade -n "$ID"
    refused 'cannot have another server' "$SLUICE" quiesce -n "$ID"
    "$SLUICE" del -n "$ID" --async
    for _ in {1..200}; do [ -e "$SLUICE_STATE_DIR/device-$ID.json" ] || break; sleep 0.05; done
    nothing_is_left
    touch go
    wait_for_end "$SERVER"
    # A command that deletes its own device does not wait for it.
    # shellcheck disable=SC2016
    run '"$SLUICE" del -a --async'
    nothing_is_left
}

goes_on_after_the_last_client() {
    # shellcheck disable=SC2016
    same said "$(run 'nbdinfo --size "$uri"; sleep 0.5; nbdinfo "$uri" 2> /dev/null || echo gone' \
        --exit-after-last)" "8388608
gone"
    nothing_is_left
}

# The shell is told to end; the device and the socket are remains.
is_killed() {
    begin_run 'echo $$ > begun; while :; do sleep 0.1; done'
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    wait_for_end "$(cat begun)"
    compgen -G 'sluice-nbd.*/sock' > found.txt
    "$SLUICE" list > list.txt
    "$SLUICE" del -n "$ID"
    nothing_is_left
}

does_not_run_without_a_device() {
    truncate -s 8M image.raw
    refused 'does not exist' "$SLUICE" add --frontend nbd --run 'touch ran' none.raw
    refused 'No such file' "$SLUICE" add --listen unix:none/sock --run 'touch ran' image.raw
    refused '--run is empty' "$SLUICE" add --frontend nbd --run '' image.raw
    refused '--json does not go with --run' \
        "$SLUICE" add --frontend nbd --json --run 'touch ran' image.raw
    refused 'cannot write to --ready_fd' \
        "$SLUICE" add --frontend nbd --run 'touch ran' --ready-fd 7 image.raw 7> /dev/full
    TMPDIR=/proc/none refused 'cannot make the directory' \
        "$SLUICE" add --frontend nbd --run 'touch ran' image.raw
    [ ! -e ran ] || fail "the command has run"
    nothing_is_left
}

main
