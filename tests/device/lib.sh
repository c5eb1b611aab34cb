# shellcheck shell=bash
# Common code of the device tests. A script sources this file and then calls, any number of times:
#
#   run_case NAME FUNCTION [ARGUMENT...]
#
# and `finish` at its end. Each case is a process of its own, in an empty directory ($CASE) with a
# state directory of its own, and prints "ok NAME" or "not ok NAME". The devices, mounts, loop
# devices and processes that a case leaves behind are removed after it. A script may run as root on
# any machine that has ublk; it changes only objects that it made.
#
# CASES='PATTERN' in the environment runs only the cases whose names match.
set -Eeuo pipefail
# shellcheck source=tests/support/extent.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/extent.sh"

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
SLUICE=${SLUICE:-$top/build/release/sluice}
SLUICE_SOURCE_DIR=${SLUICE_SOURCE_DIR:-$top}
MODES="auto register user_copy get_data copy"

begin() {
    [ -x "$SLUICE" ] || { echo "SLUICE=$SLUICE is no program"; exit 1; }
    [ -e /dev/ublk-control ] || modprobe ublk_drv || true
    [ -e /dev/ublk-control ] || { echo "skipped: this kernel has no ublk driver"; exit 77; }
    [ "$(id -u)" = 0 ] || { echo "skipped: these tests need root"; exit 77; }
    WORK=$(mktemp -d -t sluice-test.XXXXXX)
    CASE=$WORK/case
    passed=0 failed=0 skipped=0 case_pid=''
    trap leave EXIT
    trap 'exit 130' HUP INT TERM
    mark="sluice-test begins: $WORK"
    echo "$mark" > /dev/kmsg
}

run_case() {
    local name=$1 status=0 started=$EPOCHREALTIME
    # shellcheck disable=SC2053
    [[ $name == ${CASES:-*} ]] || return 0
    shift
    mkdir -p "$CASE/state"
    export SLUICE_STATE_DIR=$CASE/state
    # In the background, because `set -e` has no effect in a foreground command whose status is
    # tested.
    (in_case "$@") &
    case_pid=$!
    wait $case_pid || status=$?
    case_pid=''
    case $status in
        0) passed=$((passed + 1)) result=ok ;;
        77) skipped=$((skipped + 1)) result="skipped" ;;
        *) failed=$((failed + 1)) result="not ok"; show_logs ;;
    esac
    tear_down
    printf '%s %s (%s s)\n' "$result" "$name" "$(seconds_since "$started")"
}

in_case() {
    trap - EXIT
    trap 'echo "# ${BASH_SOURCE[0]##*/}:$LINENO: failed: $BASH_COMMAND" >&2' ERR
    cd "$CASE"
    "$@"
}

finish() {
    local complaints
    complaints=$(kernel_complaints)
    if [ -n "$complaints" ]; then
        echo "not ok kernel log"
        # shellcheck disable=SC2001
        sed 's/^/# /' <<< "$complaints"
        failed=$((failed + 1))
    fi
    echo "$passed passed, $failed failed, $skipped skipped"
    [ $failed = 0 ] || exit 1
    [ $passed != 0 ] || exit 77
    exit 0
}

# Prints the kernel's complaints since begin().
kernel_complaints() {
    dmesg | awk -v mark="$mark" 'index($0, mark) { found = 1; next } found' |
        grep -E -A 20 'BUG:|WARNING:|Oops|blocked for more than|general protection|use-after-free' |
        head -n 60 || true
}

leave() {
    local status=$?
    trap - EXIT ERR
    trap '' HUP INT TERM
    [ -z "$case_pid" ] || kill -KILL "$case_pid" 2> /dev/null || true
    tear_down
    rm -rf "$WORK"
    exit $status
}

# --- For cases.

fail() {
    echo "# $*" >&2
    exit 1
}

skip() {
    echo "# skipped: $*" >&2
    exit 77
}

sluice() {
    timeout --kill-after=5 60 "$SLUICE" "$@"
}

# add ARGUMENT...: makes a device; DEV is its path, ID its number, which is added to the file
# "made".
add() {
    local out
    out=$(sluice add "$@") || fail "this failed: sluice add $*"
    DEV=${out%%$'\n'*}
    ID=${DEV#/dev/ublkb}
    echo "$ID" >> "$CASE/made"
    [ -b "$DEV" ] || fail "sluice add $*: $DEV is no block device"
}

del() {
    sluice del -n "${1:-$ID}"
}

# make_stack NAME [SIZE]: makes the backings of the named stack in the current directory, and sets
# STACK to the arguments for add.
make_stack() {
    local size=${2:-512M} leg
    case $1 in
        null) STACK=(-t null --size 1G) ;;
        loop) STACK=(-t loop -f disk) ;;
        buffered) STACK=(-t loop -f disk --buffered_io) ;;
        stripe) STACK=(-t stripe -f leg0 -f leg1 -f leg2 -f leg3 --chunk 64k) ;;
        qcow2) STACK=(qcow2:disk.qcow2) ;;
        thin) STACK=("thin(meta, disk, volume=1, size=$size)") ;;
        *) fail "no stack $1" ;;
    esac
    case $1 in
        loop|buffered) truncate -s "$size" disk ;;
        stripe) for leg in 0 1 2 3; do truncate -s $((${size%M} / 4))M leg$leg; done ;;
        qcow2) sluice create -f qcow2 --size "$size" disk.qcow2 > create.txt ;;
        thin)
            truncate -s "$size" disk
            truncate -s 4M meta
            sluice thin create-pool meta disk > create.txt
            sluice thin create meta 1
            ;;
    esac
}

# Mounts an ext4 on a loop device on the directory "disk_fs": a file system with direct I/O, since
# the work directory may be a tmpfs.
make_disk_fs() {
    truncate -s "${1:-700M}" disk_fs.ext4
    mkfs.ext4 -qF disk_fs.ext4
    mkdir disk_fs
    local device
    device=$(losetup -f --show disk_fs.ext4)    # `mount -o loop` would query all loop devices
    mount "$device" disk_fs
    losetup -d "$device"    # takes effect once it is unmounted
}

# server [ID]: prints the process that serves the device.
server() {
    local line
    while read -r line; do
        [[ $line == '"pid": '* ]] || continue
        line=${line#*: }
        echo "${line%,}"
        return
    done < "$SLUICE_STATE_DIR/device-${1:-$ID}.json"
}

# kill_server [ID]: kills the server. The driver may notice its death a moment later.
kill_server() {
    local pid
    pid=$(server "$@")
    kill -KILL "$pid"
    wait_for 20 gone "$pid"
}

has_state() {
    [ "$(field state)" = "$1" ]
}

# gone PID: the process has ended, or is a zombie.
gone() {
    local line
    { read -r line < "/proc/$1/stat"; } 2> /dev/null || return 0
    [[ ${line##*) } == Z* ]]
}

# names FOLDER: prints the names in it.
names() {
    (
        shopt -s nullglob
        cd "$1"
        echo *
    )
}

# field NAME [ID]: prints a field of `list --json`; the items of a list are separated by blanks.
field() {
    sluice list -n "${2:-$ID}" --json | awk -v name="\"$1\":" '
        !inside && $1 == name { inside = 1; sub(/^[^:]*: /, "") }
        inside {
            depth += gsub(/[[{]/, "") - gsub(/[]}],?$/, "")
            gsub(/^ +|[",]/, "")
            if ($0 != "") found = found (found == "" ? "" : " ") $0
        }
        inside && depth <= 0 { exit }
        END { print found }'
}

# setting NAME: prints a file of the device's sysfs directory.
setting() {
    cat "/sys/block/${DEV#/dev/}/$1"
}

# same WHAT FOUND EXPECTED
same() {
    [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"
}

# refuses PATTERN COMMAND...: the command fails, with one line on its standard error that matches.
refuses() {
    local pattern=$1 status=0
    shift
    timeout 60 "$@" > "$CASE/out" 2> "$CASE/err" || status=$?
    case $status in
        0) fail "this was accepted: $*" ;;
        1|2) ;;
        *) fail "exit status $status: $*" ;;
    esac
    [ "$(wc -l < "$CASE/err")" = 1 ] || fail "not one line: $(cat "$CASE/err")"
    grep -qE -- "$pattern" "$CASE/err" || fail "'$pattern' is not in: $(cat "$CASE/err")"
}

# fails PATTERN COMMAND...: the command fails, and its standard error matches. (A plain `! COMMAND`
# would check nothing, because `set -e` ignores it.)
fails() {
    local pattern=$1
    shift
    if "$@" > "$CASE/out" 2> "$CASE/err"; then fail "this succeeded: $*"; fi
    grep -qE -- "$pattern" "$CASE/err" || fail "'$pattern' is not in: $(cat "$CASE/err")"
}

# lacks PATTERN FILE
lacks() {
    if grep -E -- "$1" "$2" >&2; then fail "'$1' is in $2"; fi
}

# wait_for SECONDS COMMAND...: waits until the command succeeds.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -le $end ] || fail "in vain: waited for: $*"
        sleep 0.02
    done
}

seconds_since() {
    local tenths=$(((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}) / 100000))
    echo "$((tenths / 10)).$((tenths % 10))"
}

# --- Cleaning up, after each case and at the end.

show_logs() {
    local log
    for log in "$CASE"/state/*.log; do
        [ -s "$log" ] || continue
        echo "# ${log##*/}:"
        tail -n 20 "$log" | sed 's/^/#   /'
    done
}

# Deletes devices without a server first: processes that wait for them cannot be killed.
tear_down() {
    [ -d "$CASE" ] || return 0
    cd "$WORK"
    delete_devices dead
    end_processes
    unmount_all
    delete_devices all
    detach_loop_devices
    rm -rf "$CASE"
}

# delete_devices dead|all: deletes the newest device first, as its backing may be another device. A
# device without a server may still be open, so its deletion is not waited for.
delete_devices() {
    local id
    for id in $(own_devices); do
        [ -e "/dev/ublkc$id" ] || continue
        if [ "$1" = all ]; then
            sluice del -n "$id" --force || echo "# device $id could not be deleted"
        elif gone "$(server "$id")"; then
            sluice del -n "$id" --force --async || echo "# device $id could not be deleted"
        fi
    done
}

# Prints the numbers of the devices with a record in this state directory, the newest first.
own_devices() {
    local record
    for record in $(ls -t "$SLUICE_STATE_DIR"); do
        record=${record#device-}
        [[ $record != *.json ]] || echo "${record%.json}"
    done
}

# Kills all processes whose working directory is below that of a case.
end_processes() {
    local process
    for process in $(find /proc -maxdepth 2 -name cwd -lname "$CASE*" 2> /dev/null); do
        process=${process#/proc/}
        kill -KILL "${process%/cwd}" 2> /dev/null || true
    done
}

unmount_all() {
    local where
    for where in $(awk -v work="$WORK/" 'index($2, work) == 1 { print $2 }' /proc/mounts | tac); do
        timeout 20 umount "$where" 2> /dev/null || umount -l "$where" || true
    done
}

detach_loop_devices() {
    local backing device
    for backing in /sys/block/loop*/loop/backing_file; do
        [ -e "$backing" ] && [[ $(< "$backing") == "$WORK"/* ]] || continue
        device=${backing#/sys/block/}
        losetup -d "/dev/${device%%/*}" || true
    done
}

begin
