# shellcheck shell=bash
# Common code of the tests of the FUSE front end. A script sources this file and then calls
#
#   run_case NAME FUNCTION [ARGUMENT...]
#
# and `finish` at its end. $PATHS are the data paths that this kernel has. Each case is a process of
# its own in an empty directory with a state directory of its own; its exports, mounts and loop
# devices are removed after it. FUSE over io_uring is switched on while a script runs.
#
# CASES='PATTERN' in the environment runs only the cases whose names match.
set -Eeuo pipefail
# shellcheck source=tests/support/extent.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/extent.sh"

SWITCH=/sys/module/fuse/parameters/enable_uring

begin() {
    begin_plain
    if [ -e "$SWITCH" ]; then
        switch_on
        PATHS+=" uring"
    fi
}

# Scripts that find the switch on share the lock; a script that must change it takes it exclusively.
switch_on() {
    local found
    exec 9< "$SWITCH"
    flock --shared 9
    found=$(< "$SWITCH")
    if [ "$found" != Y ]; then
        flock 9
        switched=$(< "$SWITCH")
        echo Y > "$SWITCH"
    fi
}

# Leaves FUSE over io_uring as it is, and waits for no other script.
begin_plain() {
    : "${SLUICE:?the program under test}" "${SLUICE_SOURCE_DIR:?the checkout}"
    [ "$(id -u)" = 0 ] || { echo "skipped: these tests need root"; exit 77; }
    [ -e /dev/fuse ] || modprobe fuse || true
    [ -e /dev/fuse ] || { echo "skipped: this kernel has no FUSE"; exit 77; }
    WORK=$(mktemp -d "${WORK_PLACE:-/tmp}/sluice-fuse.XXXXXX")
    CASE=$WORK/case
    passed=0 failed=0 switched=''
    trap leave EXIT
    trap 'exit 130' HUP INT TERM
    PATHS="copy splice"
    ! runs_on_linux 6 9 || PATHS+=" passthrough"
}

# sleepy DIRECTORY: a file system that answers until it is stopped.
sleepy() {
    mkdir -p "$1"
    mkfifo "$1.ready"
    python3 "$SLUICE_SOURCE_DIR/tests/support/sleepy_fuse.py" "$1" > "$1.ready" &
    SLEEPY=$!
    # shellcheck disable=SC2064
    trap "kill -KILL $SLEEPY; wait $SLEEPY 2> /dev/null || true; umount -l $1" EXIT
    read -r _ < "$1.ready"
}

# is_instrumented: the program was built with a sanitizer.
is_instrumented() {
    grep -qaE '__(asan|tsan)_init' "$SLUICE"
}

runs_on_linux() {
    local release major minor
    release=$(uname -r)
    major=${release%%.*} minor=${release#*.} minor=${minor%%[!0-9]*}
    [ "$major" -gt "$1" ] || { [ "$major" -eq "$1" ] && [ "$minor" -ge "$2" ]; }
}

run_case() {
    local name=$1 status=0 began=$EPOCHREALTIME took
    # shellcheck disable=SC2053
    [[ $name == ${CASES:-*} ]] || return 0
    shift
    mkdir -p "$CASE/state"
    export SLUICE_STATE_DIR=$CASE/state
    # In the background, because `set -e` has no effect in a foreground command whose status is
    # tested.
    (
        trap - EXIT
        trap 'echo "# ${BASH_SOURCE[0]##*/}:$LINENO: failed: $BASH_COMMAND" >&2' ERR
        cd "$CASE"
        "$@"
    ) &
    wait $! || status=$?
    tear_down
    took="($(((${EPOCHREALTIME/[.,]/} - ${began/[.,]/}) / 1000)) ms)"
    if [ $status -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok $name $took"
    else
        failed=$((failed + 1))
        echo "not ok $name $took"
    fi
}

finish() {
    echo "$passed cases passed, $failed failed"
    [ "$failed" -eq 0 ]
}

leave() {
    local status=$?
    tear_down
    [ -z "$switched" ] || echo "$switched" > "$SWITCH"
    rm -rf "$WORK"
    exit $status
}

# Removes in this order: mounts, loop devices, servers, the mounts of servers.
tear_down() {
    local record
    for point in $(mounts_in_case | grep -v ' fuse.sluice$' | cut -d' ' -f1 | tac); do
        umount -l "$point" || true
    done
    losetup -l -n -O NAME,BACK-FILE | awk -v case="$CASE/" 'index($2, case) { print $1 }' |
        xargs -r -n1 losetup -d || true
    for record in "$CASE"/state/device-*.json; do
        [ -e "$record" ] || continue
        timeout 20 "$SLUICE" del -n "$(id_of "$record")" --force > /dev/null 2>&1 || true
    done
    for point in $(mounts_in_case | cut -d' ' -f1 | tac); do
        umount -l "$point" || true
    done
    rm -rf "$CASE"
}

mounts_in_case() {
    awk -v case="$CASE/" 'index($2, case) == 1 { print $2, $3 }' /proc/mounts
}

# serve_file PATH [OPTION...]: serves image.raw as the file `disk`, by this data path. Sets ID and
# SERVER.
serve_file() {
    local path=$1
    shift
    [ -e image.raw ] || truncate -s 256M image.raw
    "$SLUICE" add --frontend fuse --at "$CASE/disk" --mode "$path" "$@" image.raw > add.txt
    note_server
    same "data path" "$(field mode)" "$path"
}

note_server() {
    local records=("$SLUICE_STATE_DIR"/device-*.json)
    ID=$(id_of "${records[0]}")
    SERVER=$(field pid)
}

id_of() {
    local name=${1##*/device-}
    echo "${name%.json}"
}

# field NAME: prints a field of the device's record, which has each field on a line of its own.
field() {
    local line
    while IFS= read -r line; do
        [[ $line == "  \"$1\": "* ]] || continue
        line=${line#*: } line=${line%,}
        line=${line#\"} line=${line%\"}
        echo "$line"
        return 0
    done < "$SLUICE_STATE_DIR/device-$ID.json"
    return 1
}

stop_serving() {
    stop_server
    [ ! -e disk ] || fail "disk was left behind"
}

stop_server() {
    kill -TERM "$SERVER"
    wait_for_end "$SERVER"
}

# unmount POINT: and waits until the file system on the device has gone. The server of another test,
# while it starts, has a copy of all mounts.
unmount() {
    local device
    device=$(findmnt -n -o SOURCE "$1")
    umount "$1"
    for _ in {1..200}; do
        ! is_free "$device" || return 0
        sleep 0.05
    done
    fail "$device is still mounted somewhere"
}

is_free() {
    /usr/bin/python3 -c 'import os, sys; os.open(sys.argv[1], os.O_RDONLY | os.O_EXCL)' "$1" \
        2> /dev/null
}

# A zombie has ended: its parent may take a second to notice.
wait_for_end() {
    for _ in {1..400}; do
        ! is_running "$1" || { sleep 0.05; continue; }
        return 0
    done
    fail "process $1 does not end"
}

is_running() {
    local tasks=("/proc/$1/task"/*)
    [ ${#tasks[@]} -gt 1 ] || grep -qs '^State:.[^ZX]' "/proc/$1/status"
}

verify_with_fio() {
    fio --name=verify --rw=randrw --ioengine=libaio --iodepth=16 --verify=crc32c \
        --verify_fatal=1 --group_reporting --output=fio.log "$@" ||
        fail "$(cat fio.log)"
}

same() {
    [ "$2" = "$3" ] || fail "$1: '$2' instead of '$3'"
}

# refused WORDS COMMAND...: the command fails, and its output contains WORDS.
refused() {
    local words=$1
    shift
    if "$@" > refused.txt 2>&1; then fail "was not refused: $*"; fi
    grep -qF -- "$words" refused.txt || fail "$*: said '$(cat refused.txt)', not '$words'"
}

fail() {
    echo "# $*" >&2
    exit 1
}

# Copies the program and makes an image in the folder theirs/, for the user `nobody`, and makes
# /dev/fuse accessible to all users until the case ends.
prepare_for_nobody() {
    local mode
    mode=$(stat -c %a /dev/fuse)
    # shellcheck disable=SC2064
    trap "chmod $mode /dev/fuse" EXIT
    chmod 666 /dev/fuse
    chmod 755 "$WORK" "$CASE"
    mkdir theirs
    cp "$SLUICE" theirs/sluice
    truncate -s 64M theirs/image.raw
    chown -R nobody theirs
}

# Makes a repository in $WORK with some sources of the project, with SLUICE_TEST_FULL=1 all.
make_repository() {
    local git="git -c user.name=test -c user.email=test@example.org -C $WORK/repository"
    mkdir "$WORK/repository"
    $git init -q -b main
    mkdir "$WORK/repository/src"
    if full; then
        cp -r "$SLUICE_SOURCE_DIR/src" "$WORK/repository"
    else
        cp -r "$SLUICE_SOURCE_DIR"/src/{core,spec,ring} "$WORK/repository/src"
    fi
    $git add src
    $git commit -qm sources
}
