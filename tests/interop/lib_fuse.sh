# shellcheck shell=bash
# What the tests of the FUSE front end share. A script sources this and then says
#
#   run_case NAME FUNCTION [ARGUMENT...]
#
# and `finish` at its end. $PATHS are the data paths that this kernel has. Each case is a process of
# its own in an empty directory with a state directory of its own; its exports, mounts and loop
# devices are taken down after it. FUSE over io_uring is switched on for as long as a script runs:
# only one of them runs at a time.
set -Eeuo pipefail

SWITCH=/sys/module/fuse/parameters/enable_uring

begin() {
    : "${SLUICE:?the program under test}" "${SLUICE_SOURCE_DIR:?the checkout}"
    [ "$(id -u)" = 0 ] || { echo "skipped: these tests need root"; exit 77; }
    [ -e /dev/fuse ] || modprobe fuse || true
    [ -e /dev/fuse ] || { echo "skipped: this kernel has no FUSE"; exit 77; }
    WORK=$(mktemp -d /tmp/sluice-fuse.XXXXXX)
    CASE=$WORK/case
    passed=0 failed=0 switched=''
    trap leave EXIT
    trap 'exit 130' HUP INT TERM
    PATHS="copy splice"
    ! runs_on_linux 6 9 || PATHS+=" passthrough"
    if [ -e "$SWITCH" ]; then
        exec 9< "$SWITCH"
        flock 9
        switched=$(cat "$SWITCH")
        echo Y > "$SWITCH"
        PATHS+=" uring"
    fi
}

runs_on_linux() {
    local release major minor
    release=$(uname -r)
    major=${release%%.*} minor=${release#*.} minor=${minor%%[!0-9]*}
    [ "$major" -gt "$1" ] || { [ "$major" -eq "$1" ] && [ "$minor" -ge "$2" ]; }
}

run_case() {
    local name=$1 status=0
    shift
    mkdir -p "$CASE/state"
    export SLUICE_STATE_DIR=$CASE/state
    # In the background, because only there `set -e` works although we look at the status.
    (
        trap - EXIT
        trap 'echo "# ${BASH_SOURCE[0]##*/}:$LINENO: failed: $BASH_COMMAND" >&2' ERR
        cd "$CASE"
        "$@"
    ) &
    wait $! || status=$?
    tear_down
    if [ $status -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok $name"
    else
        failed=$((failed + 1))
        echo "not ok $name"
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

# Innermost first: what is mounted, the loop devices, the servers, their mounts.
tear_down() {
    local record
    for point in $(mounts_in_case | grep -v ' fuse.sluice$' | cut -d' ' -f1 | tac); do
        umount -l "$point" || true
    done
    losetup -l -n -O NAME,BACK-FILE | awk -v case="$CASE/" 'index($2, case) { print $1 }' |
        xargs -r -n1 losetup -d || true
    for record in "$CASE"/state/device-*.json; do
        [ -e "$record" ] || continue
        "$SLUICE" del -n "$(id_of "$record")" --force > /dev/null 2>&1 || true
    done
    for point in $(mounts_in_case | cut -d' ' -f1 | tac); do
        umount -l "$point" || true
    done
    rm -rf "$CASE"
}

mounts_in_case() {
    awk -v case="$CASE/" 'index($2, case) == 1 { print $2, $3 }' /proc/mounts
}

# serve_file PATH [OPTION...]: image.raw as the file `disk`, by that data path. Sets ID and SERVER.
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
    basename "$1" .json | sed 's/^device-//'
}

field() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' \
        "$SLUICE_STATE_DIR/device-$ID.json" "$1"
}

stop_serving() {
    stop_server
    [ ! -e disk ] || fail "disk was left behind"
}

stop_server() {
    kill -TERM "$SERVER"
    wait_for_end "$SERVER"
}

wait_for_end() {
    timeout 20 tail --pid="$1" -s 0.05 -f /dev/null || fail "process $1 does not end"
}

verify_with_fio() {
    fio --name=verify --rw=randrw --ioengine=libaio --iodepth=16 --verify=crc32c \
        --verify_fatal=1 --group_reporting --output=fio.log "$@" ||
        fail "$(cat fio.log)"
}

same() {
    [ "$2" = "$3" ] || fail "$1: '$2' instead of '$3'"
}

# refused WORDS COMMAND...: it fails and says that.
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

# What the program and an image take in the folder theirs/ to be used by `nobody`, who may open
# /dev/fuse where udev says so; otherwise that is changed until the case ends.
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

# A repository with the sources of the project, in $WORK.
make_repository() {
    local git="git -c user.name=test -c user.email=test@example.org -C $WORK/repository"
    mkdir "$WORK/repository"
    $git init -q -b main
    cp -r "$SLUICE_SOURCE_DIR/src" "$WORK/repository"
    $git add src
    $git commit -qm sources
}
