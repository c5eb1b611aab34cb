#!/usr/bin/env bash
# A mirror of a disk here and an export of another host, which is lost or cut off: promote, the
# return of the old leg, and discard. The hosts alpha and beta are two names of this machine.
# seconds: 25
# shellcheck source=tests/interop/lib_mirror.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_mirror.sh"
# shellcheck source=tests/device/lib_writer.sh
. "$(dirname "${BASH_SOURCE[0]}")/../device/lib_writer.sh"

main() {
    begin_plain
    for tool in python3 unshare hostname; do
        command -v $tool > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    run_case "a host is lost" host_is_lost
    run_case "a host is cut off" host_is_cut_off
    run_case "interrupted promotion" interrupted_promotion
    run_case "interrupted discard" interrupted_discard
    run_case "bad words" bad_words
    finish
}

# on HOST COMMAND...
on() {
    # shellcheck disable=SC2016
    unshare --uts sh -c 'hostname "$0" && exec "$@"' "$@"
}

uri() {
    echo "nbd(nbd+unix:///?socket=$CASE/$1, reconnect=1s, timeout=1s)"
}

# export_leg HOST FILE: on the socket FILE.sock, as the device EXPORT.
export_leg() {
    rm -f "$2.sock"
    on "$1" "$SLUICE" add --frontend nbd --listen "unix:$2.sock" "$2" > add.txt
    note_added
    EXPORT=$ID
    appears "$2.sock"
}

end_export() {
    "$SLUICE" del -n "$EXPORT" --force > del.txt
}

# serve HOST POINT SPEC: as the file POINT. Sets ID and SERVER.
serve() {
    on "$1" "$SLUICE" add --frontend fuse --at "$2" "$3" > add.txt
    note_added
}

# scrubbed: the legs that are served are equal.
scrubbed() {
    ctl scrub
    wait_until has_scrubbed
    same "differences" "$(number scrub_mismatches)" 0
}

has_scrubbed() {
    [ "$(number scrub_position_bytes)" = $((47 << 20)) ]
}

fill() {
    dd if=/dev/urandom of="$1" bs=64k seek="$2" count=5 conv=notrunc,fsync status=none
}

# What alpha has acknowledged is on beta, and alpha's disk gets what it lacks, and no more.
host_is_lost() {
    make_mirror
    export_leg beta b.img
    serve alpha disk "mirror(a.img, $(uri b.img.sock))"
    fill disk 300
    write_numbered disk book may_fail 2> writer.txt &
    local writer=$!
    until [ -e book.started ]; do sleep 0.05; done
    sleep 1
    refused "device $EXPORT serves it: 'sluice del -n $EXPORT'" "$SLUICE" mirror promote b.img
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    touch book.stop
    wait $writer || fail "$(cat writer.txt)"
    "$SLUICE" del -n "$ID" > del.txt
    end_export

    refused "option degraded" serve beta disk "mirror(b.img)"
    on beta "$SLUICE" mirror promote b.img > promote.txt 2>&1
    grep -q "b.img: promoted" promote.txt || fail "$(cat promote.txt)"
    grep -q "warning: if '.*a.img' .* is still written to" promote.txt || fail "$(cat promote.txt)"
    "$SLUICE" mirror examine b.img > examine.txt
    grep -q 'owner .* beta' examine.txt || fail "$(cat examine.txt)"
    on beta "$SLUICE" mirror promote b.img > promote.txt
    grep -q "promoted already" promote.txt || fail "$(cat promote.txt)"
    serve beta disk "mirror(b.img, $(uri a.img.sock))"
    verify_numbered disk book
    fill disk 400
    cp disk before

    export_leg alpha a.img
    note_device_of disk
    ctl add "$(uri a.img.sock)"
    [ "$(sed -n 's/.*copies_bytes[^0-9]*\([0-9]*\).*/\1/p' ctl.txt)" -lt $((16 << 20)) ] ||
        fail "more than the bits: $(cat ctl.txt)"
    wait_until is_whole 2
    scrubbed
    cmp disk before
    stop_server
    end_export
    same_legs
}

# The server on alpha goes on alone, and ends its writes when it sees that beta has taken over.
host_is_cut_off() {
    local fenced
    make_mirror
    export_leg beta b.img
    serve alpha disk "mirror(a.img, $(uri b.img.sock))"
    fenced=$ID
    fill disk 0
    end_export
    fill disk 1
    wait_until has_in_sync 1
    on beta "$SLUICE" mirror promote b.img > promote.txt 2>&1
    serve beta theirs "mirror(b.img)"
    fill theirs 2
    cp theirs before
    stop_server
    cksum b.img > sum
    export_leg beta b.img
    ID=$fenced
    wait_until is_fenced
    ! fill disk 3 2> fill.txt || fail "a fenced server writes"
    cat disk > copy
    refused "fenced: leg" "$SLUICE" ctl -n "$ID" / readd 2
    refused "'beta' (owner " "$SLUICE" ctl -n "$ID" / scrub
    "$SLUICE" events -n "$ID" > events.txt
    grep -q "health_changed .*fenced: leg" events.txt || fail "$(cat events.txt)"
    "$SLUICE" del -n "$ID" > del.txt
    end_export
    cksum b.img | cmp - sum
    refused "used last by 'beta'" serve beta disk "mirror(a.img, b.img)"
    grep -q "used last by 'alpha'" refused.txt || fail "$(cat refused.txt)"
    "$SLUICE" mirror discard a.img --keep b.img > discard.txt
    serve beta disk "mirror(a.img, b.img)"
    wait_until is_whole 2
    scrubbed
    cmp disk before
    stop_server
    same_legs
}

is_fenced() {
    "$SLUICE" stat -n "$ID" > stat.txt
    grep -q "fenced: leg" stat.txt
}

# Sets ID and SERVER again to those of the device at POINT.
note_device_of() {
    local record
    for record in "$SLUICE_STATE_DIR"/device-*.json; do
        grep -q "/$1\"" "$record" || continue
        ID=$(id_of "$record")
        SERVER=$(field pid)
        return
    done
    fail "no device at $1"
}

# Whichever write fails, the leg is promoted or not.
interrupted_promotion() {
    local after
    make_mirror
    cp b.img b.before
    for after in 0 1 2; do
        cp b.before b.img
        "$SLUICE" mirror promote "fault(b.img, ops=write, after=$after, errors=1)" > out.txt 2>&1 ||
            [ $after -lt 2 ] || fail "$(cat out.txt)"
        "$SLUICE" mirror examine a.img b.img > examine.txt
        if [ $after = 0 ]; then
            grep -q 'equal .*b.img' examine.txt || fail "$(cat examine.txt)"
        else
            grep -q 'winner .*b.img' examine.txt || fail "$(cat examine.txt)"
            grep -q 'behind .*a.img' examine.txt || fail "$(cat examine.txt)"
        fi
    done
}

# apart: a.img and b.img were both served without the other.
apart() {
    local leg
    make_mirror
    for leg in a b; do
        serve alpha disk "mirror($leg.img, degraded)"
        fill disk 0
        stop_server
    done
    cp a.img a.apart
    cp b.img b.apart
}

# Whichever write fails, the legs are refused as before, or are what was asked for.
interrupted_discard() {
    local after leg refusals=0
    apart
    refused "were written apart" serve alpha disk "mirror(a.img, b.img)"
    for leg in a b; do
        for after in 0 1 2 3 4; do
            cp a.apart a.img
            cp b.apart b.img
            local a=a.img b=b.img
            [ $leg = b ] || a="fault(a.img, ops=write, after=$after, errors=1)"
            [ $leg = a ] || b="fault(b.img, ops=write, after=$after, errors=1)"
            "$SLUICE" mirror discard "$a" --keep "$b" > out.txt 2>&1 ||
                grep -q 'give the command again' out.txt || fail "$(cat out.txt)"
            "$SLUICE" mirror examine a.img b.img > examine.txt
            if grep -q 'refused .*were written apart' examine.txt; then
                refusals=$((refusals + 1))
                "$SLUICE" mirror discard a.img --keep b.img > out.txt
                "$SLUICE" mirror examine a.img b.img > examine.txt
            fi
            grep -q 'winner .*b.img' examine.txt || fail "$leg, $after: $(cat examine.txt)"
            grep -q 'behind .*a.img' examine.txt || fail "$leg, $after: $(cat examine.txt)"
            grep -q 'with all data' examine.txt || fail "$leg, $after: $(cat examine.txt)"
        done
    done
    same "refusals" $refusals 4
    cp b.apart b.before
    serve alpha disk "mirror(a.img, b.img)"
    wait_until is_whole 2
    cmp -i 0:1048576 disk b.before
    stop_server
    same_legs
}

bad_words() {
    make_mirror
    truncate -s 48M c.img d.img
    "$SLUICE" mirror create c.img d.img > create.txt
    refused "needs --keep" "$SLUICE" mirror discard a.img
    refused "is kept" "$SLUICE" mirror discard a.img --keep a.img
    refused "there is nothing to discard" "$SLUICE" mirror discard a.img --keep b.img
    refused "belongs to another array" "$SLUICE" mirror discard a.img --keep c.img
    refused "no mirror superblock" "$SLUICE" mirror discard a.img --keep "mem(size=48M)"
    refused "has it; bring that one back" "$SLUICE" mirror promote d.img
    "$SLUICE" mirror promote --json b.img > out.txt
    grep -q '"changed": true' out.txt || fail "$(cat out.txt)"
    "$SLUICE" mirror discard --json a.img --keep b.img > out.txt
    grep -q '"changed": false' out.txt || fail "$(cat out.txt)"
    refused "has newer data than a.img" "$SLUICE" mirror discard b.img --keep a.img
    "$SLUICE" mirror discard --force b.img --keep a.img > out.txt
    "$SLUICE" mirror examine a.img b.img > examine.txt
    grep -q 'winner .*a.img' examine.txt || fail "$(cat examine.txt)"
}

main
