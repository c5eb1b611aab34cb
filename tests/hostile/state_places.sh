#!/bin/bash
# Odd, missing and damaged state directories: each problem is reported in one sentence, and nothing
# is left behind.
# shellcheck source=tests/interop/lib_fuse.sh
. "$SLUICE_SOURCE_DIR/tests/interop/lib_fuse.sh"

main() {
    begin_plain
    run_case "names of all kinds" names
    run_case "what is no directory" no_directory
    run_case "it is deleted" deleted
    run_case "it is read-only" read_only
    run_case "it is full" full "size=16k" fill_bytes
    run_case "it can hold no more files" full "size=1m,nr_inodes=8" fill_names
    finish
}

# Serves other.raw as the file `other`.
add_elsewhere() {
    [ -e other.raw ] || truncate -s 16M other.raw
    timeout 20 "$SLUICE" add --frontend fuse --at "$CASE/other" other.raw
}

nothing_but() {
    [ ! -e "$CASE/other" ] || fail "other was left behind"
    ! mounts_in_case | grep -q other || fail "other is still mounted"
    same "state files" "$(state_files)" "$1"
}

# Lists all files except those of events, which stay.
state_files() { find "$SLUICE_STATE_DIR" -mindepth 1 -not -name '.events*' -printf '%f ' ; }

names() {
    local name
    for name in "with a space" $'line\nbreak' $'\xff\xfe' "-dash" "new/and/nested" "quote'" \
            "$(printf 'long%.0s' {1..60})" "deep/$(printf 'd/%.0s' {1..600})end"; do
        export SLUICE_STATE_DIR=$CASE/state/$name
        add_elsewhere > add.txt || fail "'$name': $(cat add.txt)"
        timeout 5 "$SLUICE" stat -n 0 > /dev/null
        timeout 5 "$SLUICE" list -n 0 | grep -q "^dev id 0"
        timeout 20 "$SLUICE" resize -n 0 > /dev/null
        timeout 20 "$SLUICE" del -n 0
        nothing_but ""
    done
    SLUICE_STATE_DIR=relative refused "must be an absolute path" add_elsewhere
    SLUICE_STATE_DIR='' refused "must be an absolute path" add_elsewhere
    SLUICE_STATE_DIR=$CASE/$(printf 'x%.0s' {1..300}) refused "File name too long" add_elsewhere
    SLUICE_STATE_DIR=$CASE/$(printf 'y/%.0s' {1..2010}) refused "File name too long" add_elsewhere
    [ ! -e y ] || fail "y was left behind"
}

no_directory() {
    local command
    echo content > file
    ln -s nowhere dangling
    mkfifo fifo
    for place in file fifo dangling file/below; do
        export SLUICE_STATE_DIR=$CASE/$place
        refused "cannot use the state directory" add_elsewhere
        same "lines said" "$(wc -l < refused.txt)" 1
        [ ! -e other ] || fail "other was left behind"
    done
    for place in file fifo; do
        export SLUICE_STATE_DIR=$CASE/$place
        for command in list stat "del -n 0" "recover -n 0"; do
            # shellcheck disable=SC2086
            refused "Not a directory" timeout 5 "$SLUICE" $command
        done
    done
    same "the file" "$(cat file)" content
}

# The server continues without its directory, and ends on a signal.
deleted() {
    serve_file copy
    rm -rf "$SLUICE_STATE_DIR"
    timeout 5 "$SLUICE" list
    [ ! -e "$SLUICE_STATE_DIR" ] || fail "looking has made it"
    add_elsewhere > /dev/null
    timeout 20 "$SLUICE" del -n 0
    head -c 4096 disk > /dev/null
    stop_serving
    nothing_but ""
}

read_only() {
    mount -t tmpfs -o size=1m,mode=700 tmpfs "$SLUICE_STATE_DIR"
    serve_file copy -n 0
    kill -9 "$SERVER"
    wait_for_end "$SERVER"
    mount -o remount,ro "$SLUICE_STATE_DIR"
    refused "Read-only file system" add_elsewhere
    same "lines said" "$(wc -l < refused.txt)" 1
    timeout 5 "$SLUICE" list -n 0 | grep -q "^dev id 0" || fail "it is not shown"
    refused "Read-only file system" timeout 20 "$SLUICE" del -n 0
    mount -o remount,rw "$SLUICE_STATE_DIR"
    timeout 20 "$SLUICE" del -n 0
    nothing_but ""
    umount "$SLUICE_STATE_DIR"
}

fill_bytes() { head -c 1M /dev/zero > "$SLUICE_STATE_DIR/filler" 2> /dev/null || true; }
fill_names() { touch "$SLUICE_STATE_DIR"/filler{1..9} 2> /dev/null || true; }

full() {
    mount -t tmpfs -o "$1,mode=700" tmpfs "$SLUICE_STATE_DIR"
    serve_file copy -n 0
    $2
    local before
    before=$(state_files)
    refused "No space left on device" add_elsewhere
    same "lines said" "$(wc -l < refused.txt)" 1
    nothing_but "$before"
    truncate -s 512M image.raw
    refused "No space left on device" timeout 20 "$SLUICE" resize -n 0
    nothing_but "$before"
    timeout 5 "$SLUICE" stat -n 0 > /dev/null
    timeout 20 "$SLUICE" del -n 0
    wait_for_end "$SERVER"
    rm -f "$SLUICE_STATE_DIR"/filler*
    nothing_but ""
    umount "$SLUICE_STATE_DIR"
}

main
