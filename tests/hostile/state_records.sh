#!/bin/bash
# A record is trusted only if a server of this user can have written it. Any other file of such a
# name is reported in one sentence, blocks no command, hides no other device, and can be deleted.
# shellcheck source=tests/interop/lib_fuse.sh
. "$SLUICE_SOURCE_DIR/tests/interop/lib_fuse.sh"

main() {
    begin_plain
    run_case "what is no regular file" no_regular_files
    run_case "what is no whole record" damaged_records
    run_case "fields out of range" wrong_fields
    run_case "what others could have written" of_others
    run_case "the record of a living device is damaged" damaged_while_served
    run_case "a place that is not UTF-8" not_utf8
    finish
}

# is_named NUMBER WORDS: `list` fails within seconds, reports the file and the reason in one
# sentence, and still shows device 0; `del` removes the file, and nothing else changes.
is_named() {
    local number=$1 words=$2 file=$SLUICE_STATE_DIR/device-$1.json
    ! timeout 5 "$SLUICE" list > list.txt 2> why.txt || fail "$file ($words): list succeeds"
    grep -q "^0 " list.txt || fail "$file: list does not show device 0: $(cat why.txt)"
    same "lines about $file" "$(wc -l < why.txt)" 1
    grep -qF -- "$file" why.txt || fail "$file is not named: $(cat why.txt)"
    grep -qF -- "$words" why.txt || fail "$file: said '$(cat why.txt)', not '$words'"
    ! grep -q "exception" why.txt || fail "not a sentence: $(cat why.txt)"
    timeout 5 "$SLUICE" del -n "$number" || fail "$file cannot be deleted"
    if [ -e "$file" ] || [ -L "$file" ]; then fail "$file is still there"; fi
    timeout 5 "$SLUICE" list > list.txt || fail "something is wrong after del: $(cat list.txt)"
}

# is_not_used NUMBER WORDS: no command takes the file for a device, and `add` does not use NUMBER.
is_not_used() {
    local command
    for command in list stat recover upgrade quiesce resize; do
        refused "$2" timeout 5 "$SLUICE" "$command" -n "$1"
    done
    refused "already exists" timeout 5 "$SLUICE" add -n "$1" --frontend fuse --at "$CASE/other" \
        other.raw
    [ ! -e other ] || fail "other was left behind"
}

serve_one() {
    truncate -s 16M other.raw
    serve_file copy -n 0
}

no_regular_files() {
    serve_one
    mkfifo "$SLUICE_STATE_DIR/device-5.json"
    is_not_used 5 "not a regular file"
    is_named 5 "not a regular file"
    mkdir "$SLUICE_STATE_DIR/device-5.json"
    is_named 5 "not a regular file"
    edit 5 "pass"
    mv "$SLUICE_STATE_DIR/device-5.json" elsewhere.json
    ln -s "$CASE/elsewhere.json" "$SLUICE_STATE_DIR/device-5.json"
    is_named 5 "symbolic link"
    [ -s elsewhere.json ] || fail "the file behind the link was removed"
    ln -s /dev/zero "$SLUICE_STATE_DIR/device-5.json"
    is_named 5 "symbolic link"
    ln elsewhere.json "$SLUICE_STATE_DIR/device-5.json"
    is_named 5 "other hard links"
    stop_serving
}

damaged_records() {
    local record=$SLUICE_STATE_DIR/device-0.json damaged=$SLUICE_STATE_DIR/device-5.json
    serve_one
    : > "$damaged"
    is_named 5 "byte"
    head -c 200 "$record" > "$damaged"
    is_not_used 5 "byte"
    is_named 5 "byte"
    head -c 400 /dev/zero > "$damaged"
    is_named 5 "NUL"
    { cat "$record"; head -c 100 /dev/zero; } > "$damaged"
    is_named 5 "NUL"
    echo '[1]' > "$damaged"
    is_named 5 "not a JSON object"
    echo '{}' > "$damaged"
    is_named 5 "its id is missing"
    truncate -s 3G "$damaged"
    is_named 5 "too large"
    edit 5 "pass"
    python3 -c 'print("{\"spec\":" + "[" * 100000 + "]" * 100000 + "}")' > "$damaged"
    is_named 5 "nested"
    cp "$record" "$damaged"
    is_named 5 "device 0"
    stop_serving
}

# edit NUMBER STATEMENT: writes a changed copy of the record of device 0 as that of NUMBER.
edit() {
    python3 - "$SLUICE_STATE_DIR/device-0.json" "$SLUICE_STATE_DIR/device-$1.json" "$1" "$2" <<'END'
import json, sys
record = json.load(open(sys.argv[1]))
record["id"] = int(sys.argv[3])
exec(sys.argv[4])
json.dump(record, open(sys.argv[2], "w"))
END
}

wrong_fields() {
    local change
    serve_one
    for change in pid=-1 pid=0 pid=1.5 pid=4294967297 queues=0 queues=70000 depth=0 depth=65537 \
            size_bytes=-5 max_io_bytes=0 'at="a\0b"' 'path=7' 'spec={"target":"floppy"}' \
            'threads=[0]' 'threads=[-1]' 'threads=7' made=7; do
        edit 5 "record['${change%%=*}'] = ${change#*=}"
        is_named 5 "its ${change%%=*}"
    done
    edit 5 "record['block_bytes'] = 1000"
    is_named 5 "no power of 2"
    edit 5 "record['frontend'] = 'floppy'"
    is_named 5 "no front end 'floppy'"
    edit 5 "del record['pid']"
    is_named 5 "its pid is missing"
    stop_serving
}

of_others() {
    local file=$SLUICE_STATE_DIR/device-5.json
    serve_one
    edit 5 "pass"
    chmod 666 "$file"
    is_not_used 5 "others can write to it"
    is_named 5 "others can write to it (mode 0666)"
    edit 5 "pass"
    chown nobody "$file"
    is_named 5 "belongs to user"
    stop_serving
}

# `del` reaches the server through its socket: the server stops, and nothing is left.
damaged_while_served() {
    serve_one
    echo damaged > "$SLUICE_STATE_DIR/device-0.json"
    refused "cannot be used" timeout 5 "$SLUICE" list
    refused "already exists" timeout 5 "$SLUICE" add -n 0 --frontend fuse --at "$CASE/other" \
        other.raw
    timeout 20 "$SLUICE" del -n 0
    wait_for_end "$SERVER"
    [ ! -e disk ] || fail "disk was left behind"
    same "state files left" "$(ls "$SLUICE_STATE_DIR")" ""
}

not_utf8() {
    local place=$CASE/$'pl\xffce'
    truncate -s 16M image.raw
    timeout 20 "$SLUICE" add -n 0 --frontend fuse --at "$place" image.raw > add.txt 2>&1 ||
        fail "cannot be added: $(cat add.txt)"
    [ -f "$place" ] || fail "it is not at its place"
    timeout 5 "$SLUICE" list --json -n 0 > list.json
    ID=0 SERVER=$(field pid)
    kill -9 "$SERVER"
    wait_for_end "$SERVER"
    timeout 5 "$SLUICE" del -n 0
    [ -z "$(mounts_in_case)" ] || fail "it is still mounted"
}

main
