#!/usr/bin/env bash
# Exports and files of any number of bytes: behind target nbd, at our NBD server, and as a file of
# FUSE. All bytes are there, and nothing changes the size.
# shellcheck source=tests/interop/lib_nbd.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_nbd.sh"

SIZES="1 513 1000 100001"

main() {
    local tool size path
    begin
    for tool in nbdkit nbdinfo nbdcopy; do
        command -v "$tool" > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    for size in $SIZES; do
        run_case "$size bytes, export behind nbdkit" with_servers export_of_kit "$size"
        run_case "$size bytes, file, copy" as_file "$size" copy
        run_case "$size bytes, file behind nbdkit, copy" with_servers file_of_kit "$size" copy
    done
    for path in $PATHS; do
        [ "$path" != copy ] || continue
        run_case "100001 bytes, file, $path" as_file 100001 "$path"
        [ "$path" = passthrough ] || run_case "100001 bytes, file behind nbdkit, $path" \
            with_servers file_of_kit 100001 "$path"
    done
    run_case "export behind our own server" with_servers export_of_ours
    run_case "server with larger blocks" with_servers larger_blocks
    run_case "file that grows" grows
    run_case "upgrade" upgraded
    run_case "only whole blocks" whole_blocks
    finish
}

# kit SIZE [FILTER PARAMETER...]: nbdkit with a file of so many random bytes, image.raw, on the
# socket `sock`.
kit() {
    head -c "$1" /dev/urandom > image.raw
    nbdkit -f -U sock ${2:+"$2"} file image.raw "${@:3}" 2> kit.log &
    appears sock
}

# changed_by SIZE COMMAND...: the command changes image.raw as it changes the file `model`.
changed_by() {
    local size=$1
    cp image.raw model
    shift
    "$@"
    cmp model image.raw
    same "size" "$(stat -c %s image.raw)" "$size"
}

cat_client() {
    cat > "$WORK/client.py" << 'PYTHON'
import nbd, os, random, sys
uri, model, size = sys.argv[1], open(sys.argv[2], 'r+b'), int(sys.argv[3])
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri(uri)
assert h.get_size() == size, h.get_size()
chance = random.Random(size)
for i in range(200):
    begin = chance.choice([0, max(0, size - chance.randrange(1, 700)), chance.randrange(size)])
    end = chance.choice([size, chance.randrange(begin, size) + 1])
    what = chance.randrange(4)
    data = os.urandom(end - begin) if what < 2 else bytes(end - begin)
    if what < 2:
        h.pwrite(data, begin, chance.choice([0, nbd.CMD_FLAG_FUA]))
    elif what == 2:
        h.zero(end - begin, begin)
    else:
        model.seek(begin)
        assert h.pread(end - begin, begin) == model.read(end - begin)
        continue
    model.seek(begin)
    model.write(data)
model.flush()
h.trim(size, 0)
now = h.pread(size, 0)
model.seek(0)
model.write(now)
model.close()
h.set_strict_mode(0)
for offset, length in ((size, 1), (size - 1, 2), (0, size + 1)):
    for call in (lambda: h.pread(length, offset), lambda: h.pwrite(bytes(length), offset),
                 lambda: h.zero(length, offset), lambda: h.trim(length, offset)):
        try:
            call()
            raise AssertionError(f'{length} bytes at {offset} are there')
        except nbd.Error:
            pass
mapped = []
h.block_status(size, 0, lambda context, offset, entries, error: mapped.extend(entries[::2]))
assert sum(mapped) == size, mapped
h.flush()
h.shutdown()
PYTHON
}

# As a client of the export `ours`.
change_export() {
    cat_client
    nbdcopy "nbd+unix:///?socket=$CASE/ours" - | cmp - image.raw
    /usr/bin/python3 "$WORK/client.py" "nbd+unix:///?socket=$CASE/ours" model "$1"
}

export_of_kit() {
    kit "$1"
    "$SLUICE" add --listen unix:ours "nbd+unix:///?socket=$CASE/sock" > add.txt
    note_added
    same "size" "$(nbdinfo --size "nbd+unix:///?socket=$CASE/ours")" "$1"
    changed_by "$1" change_export "$1"
    stop_server
}

export_of_ours() {
    head -c 1000 /dev/urandom > image.raw
    "$SLUICE" add --listen unix:sock image.raw > add.txt
    note_added
    local first=$ID first_server=$SERVER
    "$SLUICE" add --listen unix:ours "nbd(nbd+unix:///?socket=$CASE/sock, connections=2)" -q 2 \
        > add.txt
    note_added
    changed_by 1000 change_export 1000
    stop_server
    ID=$first SERVER=$first_server
    stop_server
}

# A server that takes whole blocks only gets whole blocks.
larger_blocks() {
    kit 1000 --filter=blocksize-policy blocksize-minimum=256 blocksize-error-policy=error
    "$SLUICE" add --listen unix:ours "nbd+unix:///?socket=$CASE/sock" > add.txt 2> warning.txt
    note_added
    same "size" "$(nbdinfo --size "nbd+unix:///?socket=$CASE/ours")" 768
    grep -q 'its last 232 bytes are left out' warning.txt || fail "$(cat warning.txt)"
    nbdcopy "nbd+unix:///?socket=$CASE/ours" - | cmp -n 768 - image.raw
    stop_server
}

# As a user of the file `disk`.
change_file() {
    same "size" "$(stat -c %s disk)" "$1"
    cmp disk image.raw
    /usr/bin/python3 - "$1" "$2" << 'PYTHON'
import errno, mmap, os, random, sys
size, grows = int(sys.argv[1]), sys.argv[2] == 'passthrough'
disk = os.open('disk', os.O_RDWR)
model = os.open('model', os.O_RDWR)
chance = random.Random(size)
for i in range(200):
    begin = chance.choice([0, max(0, size - chance.randrange(1, 700)), chance.randrange(size)])
    end = chance.choice([size, chance.randrange(begin, size) + 1])
    if chance.randrange(2):
        data = os.urandom(end - begin)
        assert os.pwrite(disk, data, begin) == len(data)
        os.pwrite(model, data, begin)
    else:
        # A read goes on to the end, and not beyond.
        assert os.pread(disk, end - begin + 9999, begin) == os.pread(model, size, begin)[
            :end - begin + 9999]
assert os.pread(disk, 10, size) == b''
if not grows:
    assert os.pwrite(disk, b'last' + bytes(4096), size - 1) == 1
    os.pwrite(model, b'l', size - 1)
    try:
        os.pwrite(disk, b'x', size)
        raise AssertionError('a write behind the end succeeds')
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
    seen = os.open('disk', os.O_RDWR | os.O_DIRECT)
    assert os.readv(seen, [mmap.mmap(-1, 1 << 17)]) == size
    os.close(seen)
memory = mmap.mmap(disk, size)
memory[size - 1:size] = b'm'
os.pwrite(model, b'm', size - 1)
memory.flush()
memory.close()
os.fsync(disk)
assert os.fstat(disk).st_size == size
PYTHON
    cmp disk model
}

as_file() {
    head -c "$1" /dev/urandom > image.raw
    serve_file "$2"
    changed_by "$1" change_file "$1" "$2"
    refused "not permitted" truncate -s 1M disk
    stop_serving
}

file_of_kit() {
    kit "$1"
    "$SLUICE" add --frontend fuse --at disk --mode "$2" "nbd+unix:///?socket=$CASE/sock" > add.txt
    note_added
    changed_by "$1" change_file "$1" "$2"
    stop_serving
}

grows() {
    head -c 1000 /dev/urandom > image.raw
    serve_file copy
    head -c 4321 /dev/urandom >> image.raw
    same "size before" "$(stat -c %s disk)" 1000
    "$SLUICE" resize disk
    changed_by 5321 change_file 5321 copy
    refused "no multiple of 512" "$SLUICE" resize disk 6000
    "$SLUICE" resize disk 8k
    changed_by 8192 change_file 8192 copy
    stop_serving
}

upgraded() {
    head -c 1000 /dev/urandom > image.raw
    serve_file copy
    "$SLUICE" upgrade disk
    note_server
    changed_by 1000 change_file 1000 copy
    head -c 3 /dev/urandom >> image.raw
    "$SLUICE" upgrade disk
    note_server
    same "size that users know" "$(stat -c %s disk)" 1000
    stop_serving
}

# Block devices have no others, and neither have targets above a file.
whole_blocks() {
    head -c 1000 /dev/urandom > image.raw
    "$SLUICE" add --frontend fuse --at disk 'linear(image.raw)' > add.txt 2> warning.txt
    note_added
    same "size" "$(stat -c %s disk)" 512
    grep -q 'its last 488 bytes are left out' warning.txt || fail "$(cat warning.txt)"
    stop_serving
}

main
