#!/bin/bash
# With any umask only its user can access the state directory and its files. A directory to which
# others may have written is refused, with its name.
# shellcheck source=tests/interop/lib_fuse.sh
. "$SLUICE_SOURCE_DIR/tests/interop/lib_fuse.sh"

main() {
    begin_plain
    run_case "modes with umask 0" modes_with_umask 0000
    run_case "modes with umask 0777" modes_with_umask 0777
    run_case "a directory that others can write in" writable_directory
    run_case "a directory of somebody else" foreign_directory
    run_case "another user sees and does nothing" as_nobody
    run_case "a log is written into no other file" logs
    finish
}

modes_with_umask() {
    (
        umask "$1"
        SLUICE_STATE_DIR=$CASE/state/new/er serve_file copy
        same "directory" "$(stat -c %a "$CASE/state/new/er")" 700
        same "its parent" "$(stat -c %a "$CASE/state/new")" 755
        same "record" "$(stat -c %a "$CASE/state/new/er/device-0.json")" 600
        same "socket" "$(stat -c %a "$CASE/state/new/er/device-0.sock")" 600
        [ -e /dev/log ] || same "log" "$(stat -c %a "$CASE/state/new/er/device-0.log")" 600
        SLUICE_STATE_DIR=$CASE/state/new/er "$SLUICE" resize -n 0 512M > /dev/null
        same "record, written again" "$(stat -c %a "$CASE/state/new/er/device-0.json")" 600
        SLUICE_STATE_DIR=$CASE/state/new/er "$SLUICE" del -n 0
    )
}

# all_refuse WORDS: every command fails with WORDS, and `add` leaves nothing behind.
all_refuse() {
    for command in list stat "del -n 0" "recover -n 0" "upgrade -n 0" "resize -n 0" "del -a"; do
        # shellcheck disable=SC2086
        refused "$1" timeout 5 "$SLUICE" $command
    done
    truncate -s 16M other.raw
    refused "$1" timeout 20 "$SLUICE" add --frontend fuse --at "$CASE/other" other.raw
    [ ! -e other ] || fail "other was left behind"
    same "lines said" "$(wc -l < refused.txt)" 1
}

writable_directory() {
    local mode
    serve_file copy
    for mode in 0777 0770 1777; do
        chmod $mode "$SLUICE_STATE_DIR"
        all_refuse "can be written by others (mode $mode)"
    done
    chmod 0755 "$SLUICE_STATE_DIR"
    "$SLUICE" list > /dev/null
    stop_serving
}

foreign_directory() {
    chown nobody "$SLUICE_STATE_DIR"
    all_refuse "belongs to user $(id -u nobody)"
}

as_nobody() {
    serve_file copy
    prepare_for_nobody
    local user=(runuser -u nobody -- env "SLUICE_STATE_DIR=$SLUICE_STATE_DIR" theirs/sluice)
    refused "Permission denied" "${user[@]}" list
    refused "Permission denied" "${user[@]}" stat -n 0
    refused "Permission denied" "${user[@]}" del -n 0
    # The mode of a directory made by an older program.
    chmod 755 "$SLUICE_STATE_DIR"
    refused "Permission denied" "${user[@]}" list
    refused "Permission denied" "${user[@]}" del -n 0
    mkdir "$CASE/own"
    chown nobody "$CASE/own"
    runuser -u nobody -- env SLUICE_STATE_DIR="$CASE/own/state" theirs/sluice add --frontend fuse \
        --at "$CASE/theirs/disk" theirs/image.raw > /dev/null
    same "their directory" "$(stat -c '%a %U' "$CASE/own/state")" "700 nobody"
    runuser -u nobody -- env SLUICE_STATE_DIR="$CASE/own/state" theirs/sluice del -n 0
    stop_serving
}

logs() {
    [ ! -e /dev/log ] || { echo "# logs go to the system's own"; return 0; }
    echo precious > precious
    chmod 600 precious
    ln -s "$CASE/precious" "$SLUICE_STATE_DIR/device-0.log"
    serve_file copy -n 0
    "$SLUICE" del -n 0
    ln precious "$SLUICE_STATE_DIR/device-0.log"
    serve_file copy -n 0
    "$SLUICE" del -n 0
    same "the file that a log pointed to" "$(cat precious)" precious
    mkfifo "$SLUICE_STATE_DIR/device-0.log"
    serve_file copy -n 0
    grep -q "is live" "$SLUICE_STATE_DIR/device-0.log" || fail "there is no log"
    echo old > "$SLUICE_STATE_DIR/device-0.1.log"
    "$SLUICE" del -n 0
    same "state files left" "$(ls "$SLUICE_STATE_DIR")" ""
}

main
