# shellcheck shell=bash
# Common code of the tests of edges: the limits of 32-bit numbers of bytes (2 GiB, 4 GiB) and of
# sectors (2 TiB). The sourcing script defines `fail`; $DEV is the served device or file.

GIB=$((1 << 30))
EDGES="2 4 2048"        # GiB

# edges WAYS ODD: clears 3 GiB across each edge with each of the functions WAYS, once at a round
# offset and once ODD bytes further; the blocks right outside are unchanged.
edges() {
    local ways=$1 way edge odd
    for way in $ways; do
        for edge in $EDGES; do
            for odd in 0 "$2"; do
                across $((edge * GIB)) "$odd" "$way"
            done
        done
    done
}

# across EDGE ODD WAY
across() {
    local edge=$1 what="$3 across $1, odd $2" from to at
    from=$((edge - 3 * GIB / 2 + $2))
    to=$((from + 3 * GIB))
    for at in $((from - 4096)) $from $((edge - 4096)) "$edge" $((to - 4096)) $to; do
        mark "$at"
    done
    "$3" "$from" $((3 * GIB)) || fail "$what"
    for at in $from $((edge - 4096)) "$edge" $((to - 4096)); do
        is_zero "$at" "$what"
    done
    for at in $((from - 4096)) $to; do
        is_marked "$at" "$what"
    done
}

# discarded_whole WAY FILE...: clears all of $DEV; then each backing file has at most 8 MiB of
# blocks.
discarded_whole() {
    local size edge at file
    size=$(blockdev --getsize64 "$DEV" 2> /dev/null || stat -c %s "$DEV")
    for edge in $EDGES; do mark $((edge * GIB)); done
    mark 0
    mark $((size - 4096))
    "$1" 0 "$size" || fail "$1 of all"
    for edge in $EDGES; do is_zero $((edge * GIB)) "$1 of all"; done
    for at in 0 $((size - 4096)); do is_zero "$at" "$1 of all"; done
    shift
    for file in "$@"; do
        [ "$(stat -c %b "$file")" -lt 16384 ] || fail "$file still has blocks: $(stat "$file")"
    done
}

# mark PLACE: writes 4096 bytes that contain their offset.
mark() {
    mark_of "$1" | dd of="$DEV" bs=4k seek="$1" oflag=seek_bytes conv=notrunc,fsync \
        iflag=fullblock status=none
}

mark_of() {
    local text="here it is $1"
    while [ ${#text} -lt 4096 ]; do text+=$text; done
    printf '%s' "${text:0:4096}"
}

is_marked() {
    cmp -s -n 4096 -i "$1:0" "$DEV" <(mark_of "$1") || fail "$1 has lost its bytes: $2"
}

is_zero() {
    cmp -s -n 4096 -i "$1:0" "$DEV" /dev/zero || fail "$1 has not gone: $2"
}

# The WAYS: each takes the first byte and the length.

discard() {
    timeout 60 blkdiscard -o "$1" -l "$2" "$DEV"
}

discard_zero() {
    timeout 60 blkdiscard -z -o "$1" -l "$2" "$DEV"
}

punch() {
    timeout 60 fallocate --punch-hole -o "$1" -l "$2" "$DEV"
}

zero_range() {
    timeout 60 fallocate --keep-size --zero-range -o "$1" -l "$2" "$DEV"
}

# stays_flat PID COMMAND...: the memory of the process hardly grows during COMMAND.
stays_flat() {
    local pid=$1 before highest
    shift
    before=$(memory_of "$pid" VmRSS)
    "$@"
    highest=$(memory_of "$pid" VmHWM)
    [ $((highest - before)) -lt 768 ] || fail "the server grew from $before to $highest KiB"
}

memory_of() {
    awk -v name="$2:" '$1 == name { print $2 }' "/proc/$1/status"
}
