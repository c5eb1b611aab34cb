#!/usr/bin/env bash
# `sluice serve`: several exports from one process, each with its own name, size and state; READs
# that go from the page cache to the socket; and files of any number of bytes.
# shellcheck source=tests/interop/lib_nbd.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_nbd.sh"

main() {
    local tool
    begin_plain
    for tool in nbdinfo nbdcopy qemu-img; do
        command -v "$tool" > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    run_case "several exports" serves_several
    run_case "one export" serves_one
    run_case "each fails alone" fails_alone
    run_case "grows" grows
    run_case "upgrade" goes_on_after_upgrade
    run_case "killed" is_killed
    run_case "page cache" reads_from_page_cache
    run_case "any number of bytes" serves_any_number_of_bytes
    run_case "bad arguments" refuses_bad_arguments
    finish
}

# serve ARGUMENT...: on the socket `sock`. Sets URI to all but the name of the export.
serve() {
    "$SLUICE" serve --listen unix:sock "$@" > add.txt
    note_server
    URI="nbd+unix:///%s?socket=$CASE/sock"
}

# uri NAME
uri() {
    # shellcheck disable=SC2059
    printf "$URI" "$1"
}

serves_several() {
    head -c 8M /dev/urandom > a.raw
    head -c 16M /dev/urandom > b.raw
    serve --description 'of a rack' root=a.raw data.2=b.raw 'half=linear(mem:4M, size=2M)'
    nbdinfo --list "$(uri '')" > list.txt
    same names "$(sed -n 's/^export="\(.*\)":/\1/p' list.txt | tr '\n' ' ')" 'root data.2 half '
    grep -q 'description: of a rack' list.txt || fail "no description: $(cat list.txt)"
    same size "$(nbdinfo --size "$(uri data.2)")" 16777216
    same first "$(nbdinfo --size "$(uri '')")" 8388608
    nbdcopy "$(uri root)" root.back
    nbdcopy "$(uri data.2)" data.back
    cmp a.raw root.back
    cmp b.raw data.back
    nbdcopy --connections=4 b.raw "$(uri root)" 2> too_small.txt && fail 'a larger disk was copied'
    nbdcopy --connections=4 root.back "$(uri data.2)"
    qemu-img compare -f raw -F raw root.back "$(uri root)"
    refused 'for export: none' nbdinfo "$(uri none)"
    "$SLUICE" list --json > list.json
    grep -q '"exports"' list.json || fail "no stack of exports: $(cat list.json)"
    stop_server
    cmp -n 8388608 root.back b.raw
    [ ! -e sock ] || fail 'the socket is still there'
}

serves_one() {
    truncate -s 8M a.raw
    serve disk=a.raw
    same size "$(nbdinfo --size "$(uri disk)")" 8388608
    stop_server
    serve a.raw
    same size "$(nbdinfo --size "$(uri '')")" 8388608
    stop_server
}

# A failed flush of one export is no other's.
fails_alone() {
    truncate -s 8M a.raw b.raw
    serve 'bad=fault(b.raw, errors=100%, ops=flush)' good=a.raw
    cat > check.py << 'PYTHON'
import nbd, sys
def connected(name):
    h = nbd.NBD()
    h.connect_uri(sys.argv[1] % name)
    return h
bad, good = connected('bad'), connected('good')
for h in (bad, good):
    h.pwrite(b'x' * 512, 0)
good.flush()
for call in (bad.flush, lambda: bad.pwrite(b'y' * 512, 0)):
    try:
        call()
    except nbd.Error as error:
        assert error.errnum == 5, error
    else:
        raise AssertionError('it went on after a failed flush')
good.pwrite(b'z' * 512, 512)
good.flush()
assert good.pread(1024, 0) == b'x' * 512 + b'z' * 512
PYTHON
    /usr/bin/python3 check.py "$URI"
    "$SLUICE" stat "$ID" --json > stat.json
    grep -q 'bad: a flush has failed' stat.json || fail "stat says: $(cat stat.json)"
    stop_server
}

grows() {
    truncate -s 8M a.raw
    serve 'a=loop(a.raw)' b=mem:4M
    truncate -s 12M a.raw
    refused 'no size together' "$SLUICE" resize "$ID" 64M
    same total "$("$SLUICE" resize "$ID")" 16777216
    same size "$(nbdinfo --size "$(uri a)")" 12582912
    stop_server
}

# Each connection goes on with the export that it has chosen.
goes_on_after_upgrade() {
    truncate -s 8M a.raw b.raw
    serve --queues 2 a=a.raw b=b.raw
    cat > check.py << 'PYTHON'
import nbd, subprocess, sys
def connected(name):
    h = nbd.NBD()
    h.connect_uri(sys.argv[1] % name)
    return h
handles = [(name, connected(name)) for name in ('a', 'b', 'a', 'b')]
for number, (name, h) in enumerate(handles):
    h.pwrite(name.encode() * 4096, number * 4096)
for _ in range(3):
    subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL)
    for number, (name, h) in enumerate(handles):
        assert h.pread(4096, number * 4096) == name.encode() * 4096
        h.pwrite(name.encode() * 4096, number * 4096)
        h.flush()
assert connected('b').pread(1, 4096) == b'b'
PYTHON
    /usr/bin/python3 check.py "$URI" "$SLUICE" upgrade "$ID"
    note_server
    stop_server
    [ ! -e sock ] || fail 'the socket is still there'
}

is_killed() {
    truncate -s 8M a.raw
    serve a=a.raw b=mem:4M
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    "$SLUICE" del "$ID"
    [ ! -e sock ] || fail 'the socket is still there'
    serve a=a.raw b=mem:4M
    stop_server
}

# All of a copy in large requests comes from the cache, and none of it is copied.
reads_from_page_cache() {
    head -c 64M /dev/urandom > a.raw
    serve 'a=loop(a.raw, buffered_io)' 'm=mem:64M'
    nbdcopy a.raw "$(uri m)"
    cat a.raw > /dev/null
    local before after
    before=$(copied)
    nbdcopy --request-size=262144 "$(uri a)" a.back
    nbdcopy --request-size=524288 --connections=4 "$(uri m)" m.back
    after=$(copied)
    cmp a.raw a.back
    cmp a.raw m.back
    same copied "$before" "$after"
    stop_server
}

copied() {
    "$SLUICE" stat "$ID" --json | grep -o '"copied_bytes": *[0-9]*' | tr '\n' ' '
}

# Each byte is read and written, none behind the end is, and no file changes its size.
serves_any_number_of_bytes() {
    local bytes
    local sizes='1 513 1000 100001'
    for bytes in $sizes; do head -c "$bytes" /dev/urandom > "$bytes.raw"; done
    # shellcheck disable=SC2046
    serve $(printf 'b%s=%s.raw ' 1 1 513 513 1000 1000) 'b100001=loop(100001.raw, buffered_io)'
    for bytes in $sizes; do
        same size "$(nbdinfo --size "$(uri "b$bytes")")" "$bytes"
        nbdcopy "$(uri "b$bytes")" copied
        cmp "$bytes.raw" copied
        qemu-img convert -f raw -O raw "$(uri "b$bytes")" converted
        cmp -n "$bytes" "$bytes.raw" converted
        nbdinfo --map --totals --json "$(uri "b$bytes")" > map.json
        grep -q "\"size\": $bytes," map.json || fail "another map: $(cat map.json)"
    done
    cat > check.py << 'PYTHON'
import nbd, os, subprocess, sys

def connected(size):
    h = nbd.NBD()
    h.connect_uri(sys.argv[1] % ('b%d' % size))
    return h

def check_every_byte(h, size):
    data = bytearray(h.pread(size, 0))
    for at in range(0, size, 1 if size < 5000 else 997):
        assert h.pread(1, at) == data[at:at + 1]
        data[at] = at * 7 % 251
        h.pwrite(bytes(data[at:at + 1]), at, nbd.CMD_FLAG_FUA if at % 100 == 0 else 0)
    last = min(size, 600)
    data[size - last:] = b'x' * last
    h.pwrite(b'x' * last, size - last)
    data[size - 1:] = b'\0'
    h.zero(1, size - 1)
    assert h.pread(size, 0) == data
    h.set_strict_mode(0)
    for call in (lambda: h.pread(1, size), lambda: h.pwrite(b'x', size),
                 lambda: h.zero(2, size - 1)):
        try:
            call()
        except nbd.Error:
            continue
        raise AssertionError('served beyond the end')
    h.flush()
    assert open('%d.raw' % size, 'rb').read() == data
    h.trim(size, 0)
    h.cache(size, 0)
    h.zero(size, 0)
    assert h.pread(size, 0) == bytes(size)
    h.pwrite(bytes(data), 0)
    h.flush()
    assert open('%d.raw' % size, 'rb').read() == data

handles = [(size, connected(size)) for size in map(int, sys.argv[2].split())]
for _ in range(2):
    for size, h in handles:
        check_every_byte(h, size)
        assert os.stat('%d.raw' % size).st_size == size
    subprocess.run(sys.argv[3:], check=True, stdout=subprocess.DEVNULL)
assert connected(1000).get_size() == 1000
PYTHON
    /usr/bin/python3 check.py "$URI" "$sizes" "$SLUICE" upgrade "$ID"
    note_server
    head -c 1000 /dev/urandom > other.raw
    nbdcopy other.raw "$(uri b1000)"
    cmp other.raw 1000.raw
    truncate -s 5001 1000.raw
    "$SLUICE" resize "$ID" > /dev/null
    same grown "$(nbdinfo --size "$(uri b1000)")" 5001
    stop_server
    for bytes in 1 513 100001; do same bytes "$(stat -c %s "$bytes.raw")" "$bytes"; done
    same bytes "$(stat -c %s 1000.raw)" 5001
    is_listed_with_its_size
}

is_listed_with_its_size() {
    "$SLUICE" add --listen unix:sock 513.raw > add.txt
    note_server
    "$SLUICE" list --json > list.json
    grep -q '"size_bytes": *513' list.json || fail "another size: $(cat list.json)"
    stop_server
}

refuses_bad_arguments() {
    truncate -s 8M a.raw b.raw
    refused 'nothing to serve' "$SLUICE" serve --listen unix:sock
    refused 'needs --listen' "$SLUICE" serve a=a.raw
    refused 'has no name' "$SLUICE" serve --listen unix:sock a.raw b=b.raw
    refused 'two exports have the name a' "$SLUICE" serve --listen unix:sock a=a.raw a=b.raw
    refused 'export a: unknown target' "$SLUICE" serve --listen unix:sock 'a=strip(a.raw, b.raw)'
    refused 'names one export' "$SLUICE" serve --listen unix:sock --export x a=a.raw b=b.raw
    refused 'both name the export' "$SLUICE" serve --listen unix:sock --export x a=a.raw
    refused 'serves one disk' "$SLUICE" add --frontend fuse --at at \
        'exports(a.raw, b.raw, names=a+b)'
    refused 'only be the whole spec' "$SLUICE" serve --listen unix:sock \
        'a=linear(exports(a.raw, b.raw, names=a+b))'
    refused 'there are 1 names for 2 disks' "$SLUICE" serve --listen unix:sock \
        'exports(a.raw, b.raw, names=a)'
    refused 'cannot be a name' "$SLUICE" serve --listen unix:sock 'exports(a.raw, names="a b")'
    [ ! -e sock ] || fail 'a socket was left behind'
    same devices "$("$SLUICE" list --json)" '[]'
}

main "$@"
