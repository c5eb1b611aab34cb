# shellcheck shell=bash
# What tests of power cuts write to a device or a file system, and what must be there afterwards.

MIB=1048576

# Writes three parts: the first is synced by fsync, the second written durably (O_DSYNC), the last
# not synced.
write_some_and_sync() {
    head -c 2M /dev/urandom > flushed
    head -c 2M /dev/urandom > durable
    head -c 4M /dev/urandom > lost
    dd if=flushed of="$DEV" bs=64k oflag=direct conv=fsync status=none
    dd if=durable of="$DEV" bs=64k seek=2M oflag=direct,dsync,seek_bytes status=none
    dd if=lost of="$DEV" bs=64k seek=8M oflag=direct,seek_bytes status=none
    # Before the cut the last part can be read as well.
    cmp -n $((4 * MIB)) -i $((8 * MIB)):0 \
        <(dd if="$DEV" bs=1M count=12 iflag=direct status=none) lost
}

survived() {
    cmp -n $((2 * MIB)) "$1" flushed
    cmp -n $((2 * MIB)) -i $((2 * MIB)):0 "$1" durable
    # The unsynced part must be lost, or the cut would prove nothing.
    cmp -n $((4 * MIB)) -i $((8 * MIB)):0 "$1" /dev/zero
}

checker() {
    case $1 in
        ext4) e2fsck -fn "$DEV" ;;
        xfs) xfs_repair -n "$DEV" ;;
    esac
}

at_least() {
    [ "$(wc -l < "$2")" -ge "$1" ]
}

# write_files DIRECTORY: writes files of 100 kB. Once a file and its name are synced, prints its
# checksum and name.
write_files() {
    python3 -c '
import hashlib, os, sys
directory = sys.argv[1]
try:
    os.mkdir(directory)
    for number in range(1000):
        data = os.urandom(50) * 2000
        path = f"{directory}/{number}"
        with open(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(directory, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        print(hashlib.sha256(data).hexdigest(), "", path, flush=True)
except OSError:
    pass    # the power is cut' "$1"
}

check_files() {
    local list
    for list in acknowledged*; do
        sha256sum --quiet -c "$list" || fail "a synchronised file is not what it was"
    done
}
