#!/usr/bin/env bash
# Target crypt: volumes of cryptsetup and QEMU are read and written, and read back by these and by
# nbdkit, byte for byte; keys from everywhere, and nowhere else; upgrades, deaths, file systems.
# T7.x are the traps of LUKS; T7.17, LUKS inside qcow2, is in qcow2_encrypted.sh.
# shellcheck source=tests/interop/lib_qcow2_disk.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2_disk.sh"

QUICK=(--batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000)
ARGON=(--batch-mode --pbkdf argon2id --pbkdf-memory 65536 --pbkdf-force-iterations 4)
XTS=aes-xts-plain64

main() {
    begin_qcow2
    command -v cryptsetup > /dev/null || { echo "skipped: there is no cryptsetup"; exit 77; }
    run_case "QEMU's volume, both ways" shared_with_qemu aes-256 xts plain64
    run_case "QEMU's volume, AES-128" shared_with_qemu aes-128 xts plain64
    run_case "QEMU's volume, 32-bit numbers" shared_with_qemu aes-256 xts plain
    run_case "QEMU's volume, CBC with ESSIV" shared_with_qemu aes-256 cbc \
        essiv,ivgen-hash-alg=sha256
    run_case "cryptsetup's LUKS1 volume, QEMU and nbdkit" made_as_luks1
    run_case "cryptsetup encrypts, sectors of 512" encrypted_by_cryptsetup 512
    run_case "cryptsetup encrypts, sectors of 4096" encrypted_by_cryptsetup 4096
    run_case "cryptsetup decrypts" decrypted_by_cryptsetup
    run_case "detached header" detached
    run_case "plain" plain
    run_case "sources of the key" from_everywhere
    run_case "asked on the terminal" asked
    run_case "key nowhere else" leaves_no_trace
    run_case "refusals" refuses
    run_case "info" tells
    run_case "upgrade" is_upgraded
    run_case "killed" is_killed
    run_case "over a qcow2 image" over_qcow2
    run_case "file system on FUSE" with_file_system
    finish
}

# format TYPE [OPTION...]: the volume `v` with the passphrase in `key`.
format() {
    [ -e key ] || { printf secret > key && chmod 600 key; }
    truncate -s "${SIZE:-32M}" v
    cryptsetup luksFormat "${QUICK[@]}" --type "$@" v key
}

# The key of the data to volume.key.
dump_key() {
    cryptsetup luksDump --dump-volume-key --volume-key-file volume.key --batch-mode \
        --key-file key v > cryptsetup.txt
}

# The content of the volume that is served is that of `oracle`, and is changed together with it.
use() {
    qemu-img compare -q -f raw -F raw oracle "$URI" || fail "other content than the oracle"
    write_randomly --no-trim
}

serve_v() {
    serve "crypt(v, key_file=key${1:+, $1})"
}

# T7.3: shared_with_qemu CIPHER MODE IV
shared_with_qemu() {
    local secret=(--object "secret,id=s,file=key") luks=driver=luks,key-secret=s,file.filename=v
    printf 'a\nb' > key && chmod 600 key
    # QEMU measures the processor, and does not get an accurate result each time.
    for _ in {1..20}; do
        ! qemu-img create -q -f luks "${secret[@]}" \
            -o "key-secret=s,iter-time=10,cipher-alg=$1,cipher-mode=$2,ivgen-alg=$3" v 16M \
            2> create.txt || break
    done
    head -c 16M /dev/urandom > oracle
    qemu-img convert -n -f raw "${secret[@]}" --target-image-opts oracle "$luks"
    serve_v
    use
    end
    qemu-img compare -q "${secret[@]}" --image-opts driver=raw,file.filename=oracle "$luks"
    qemu-io "${secret[@]}" --image-opts "$luks" -c 'write -P 9 300k 700k' > qemu-io.txt
    qemu-io -f raw oracle -c 'write -P 9 300k 700k' > qemu-io.txt
    serve_v
    use
    end
}

made_as_luks1() {
    format luks1
    serve_v
    nbdcopy "$URI" oracle
    use
    end
    qemu-img compare -q --object secret,id=s,file=key \
        --image-opts driver=raw,file.filename=oracle driver=luks,key-secret=s,file.filename=v
    # shellcheck disable=SC2016  # the shell of nbdkit expands it
    nbdkit -U - file file=v --filter=luks passphrase=+key --run 'nbdcopy "$uri" copy'
    cmp oracle copy || fail "nbdkit reads something else"
}

# T7.3: encrypted_by_cryptsetup SECTOR
encrypted_by_cryptsetup() {
    printf secret > key && chmod 600 key
    head -c 16M /dev/urandom > oracle
    cp oracle v
    truncate -s 32M v
    cryptsetup reencrypt --encrypt --type luks2 --sector-size "$1" --reduce-device-size 16M \
        "${ARGON[@]}" --key-file key v > cryptsetup.txt
    serve_v
    nbdcopy "$URI" whole
    cmp -n $((16 << 20)) oracle whole || fail "we read something else"
    mv whole oracle
    use
    end
}

# What we have written is taken apart by cryptsetup, which leaves the plain data.
decrypted_by_cryptsetup() {
    local sector
    for sector in 512 4096; do
        rm -f v head.img
        format luks2 --sector-size "$sector"
        serve_v
        nbdcopy "$URI" oracle
        use
        end
        cryptsetup reencrypt --decrypt --header head.img --force-offline-reencrypt \
            --batch-mode --key-file key v > cryptsetup.txt
        cmp -n "$(stat -c %s oracle)" oracle v || fail "cryptsetup finds something else"
    done
}

# T7.7
detached() {
    printf secret > key && chmod 600 key
    truncate -s 8M v
    cryptsetup luksFormat "${QUICK[@]}" --type luks2 --header head.img v key
    serve_v header=head.img
    nbdcopy "$URI" oracle
    same size "$(stat -c %s oracle)" $((8 << 20))
    use
    end
    serve_v header=head.img
    use
    end
    refused 'no LUKS header' "$SLUICE" add 'crypt(v, key_file=key)'
    refused 'detached header' "$SLUICE" add 'crypt(head.img, key_file=key)'
}

# The data of a LUKS volume by its key alone, which is what plain is.
plain() {
    format luks2 --sector-size 512
    dump_key
    serve_v
    nbdcopy "$URI" oracle
    use
    end
    serve "crypt(v, type=plain, cipher=$XTS, size=512, key_file=volume.key, offset=16M)"
    use
    end
    serve "crypt(linear(v, offset=20M), type=plain, cipher=$XTS, size=512, key_file=volume.key,
        skip=4M)"
    qemu-img compare -q --image-opts driver=raw,offset=4194304,file.filename=oracle \
        "driver=nbd,server.type=unix,server.path=$CASE/sock"
    end
}

# T7.14
from_everywhere() {
    printf 'two\nlines\n\0' > key && chmod 600 key
    format luks2
    { printf skipped; cat key; printf more; } > long
    serve_v
    end
    serve "crypt(v, key_file=long, key_file_offset=7, key_file_size=11)"
    end
    serve "crypt(v, key_file=-)" < key
    end
    serve "crypt(v, key_fd=7)" 7< key
    end
    serve "crypt(v, key_file=/dev/fd/8)" 8< key
    end
    serve "crypt(v, key_cmd=\"cat '$CASE/key'\")"
    end
    "$SLUICE" map 'crypt(v, key_file=-)' < key > map.txt
    refused 'no keyslot opens' "$SLUICE" add 'crypt(v, key_cmd="printf wrong")'
    refused 'status 4' "$SLUICE" add 'crypt(v, key_cmd="exit 4")'
    refused 'no terminal' setsid --wait "$SLUICE" add 'crypt(v)'
}

# By a terminal of its own, on which the passphrase does not appear.
asked() {
    format luks2
    cat > terminal.py << 'END'
import os, pty, sys, time
child, terminal = pty.fork()
if child == 0: os.execv(sys.argv[1], sys.argv[1:])
seen = b''
while b'Passphrase for' not in seen: seen += os.read(terminal, 1000)
time.sleep(0.3)
os.write(terminal, b'secret\n')
try:
    while True: seen += os.read(terminal, 1000)
except OSError: pass
assert b'secret' not in seen, seen
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
END
    rm -f sock
    /usr/bin/python3 terminal.py \
        "$SLUICE" add --name typed --frontend nbd --listen unix:sock 'crypt(v)'
    URI="nbd+unix:///?socket=$CASE/sock"
    nbdcopy "$URI" oracle
    write_randomly --no-trim
    "$SLUICE" upgrade typed > upgrade.txt
    use
    "$SLUICE" del typed > del.txt
}

# T7.14. Neither the passphrase nor the key of the volume, as they are or in hexadecimal digits.
leaves_no_trace() {
    local process hex
    printf 'a-very-rare-passphrase' > key
    format luks2
    dump_key
    serve "crypt(v, key_fd=7)" --debug_mask 0x3 7< key
    hex=$(xxd -p -c 64 < volume.key)
    "$SLUICE" list --json > list.json
    "$SLUICE" inspect -n "$ID" --json > inspect.json
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    for process in $(pgrep -f "$SLUICE" | sort -u); do
        cat "/proc/$process/cmdline" "/proc/$process/environ" >> processes.txt 2> /dev/null || true
    done
    journalctl --since -5min > journal.txt 2> /dev/null || true
    rm -f sock
    cp -r state seen
    cat > scan.py << 'END'
import os, sys
words = [open('key', 'rb').read(), open('volume.key', 'rb').read(), sys.argv[1].encode()]
for folder, _, names in os.walk('.'):
    for name in names:
        path = os.path.join(folder, name)
        if name in ('key', 'volume.key', 'v') or not os.path.isfile(path): continue
        found = open(path, 'rb').read()
        if any(each in found for each in words): sys.exit(path + ' holds it')
END
    /usr/bin/python3 scan.py "$hex" || fail "a key is where it should not be"
    end
}

refuses() {
    format luks2
    cp v sound
    printf wrong > wrong
    refused 'no keyslot opens with this passphrase' "$SLUICE" add 'crypt(v, key_file=wrong)'
    refused 'keyslot 5 is not in use' "$SLUICE" add 'crypt(v, key_file=key, keyslot=5)'
    refused 'cannot open the key file' "$SLUICE" add 'crypt(v, key_file=missing)'
    # T7.8
    dd if=/dev/zero of=v bs=4k count=1 conv=notrunc status=none
    serve_v
    end
    dd if=/dev/zero of=v bs=4k seek=4 count=1 conv=notrunc status=none
    cp v damaged
    refused 'no LUKS header' "$SLUICE" add 'crypt(v, key_file=key)'
    cmp v damaged || fail "a volume that is refused has been written"
    # T7.1: a re-encryption that has begun.
    cp sound v
    cryptsetup reencrypt --init-only --force-offline-reencrypt "${QUICK[@]}" --key-file key v
    cp v damaged
    refused 're-encrypted' "$SLUICE" add 'crypt(v, key_file=key)'
    cmp v damaged || fail "a volume that is refused has been written"
}

tells() {
    local label='as long as the label of a volume may well be, 47' # T7.16
    label=${label:0:47}
    format luks2 --label "$label" --sector-size 4096
    "$SLUICE" crypt info v > info.txt
    grep -q 'type *LUKS2' info.txt || fail "$(cat info.txt)"
    grep -q "label *$label\$" info.txt || fail "$(cat info.txt)"
    grep -q 'sectors *4096 bytes' info.txt || fail "$(cat info.txt)"
    grep -q 'served *yes' info.txt || fail "$(cat info.txt)"
    "$SLUICE" crypt info --json 'crypt(v, key_file=missing)' > info.json
    /usr/bin/python3 -c 'import json; f = json.load(open("info.json")); assert f["served"] is True
assert f["cipher"] == "aes-xts-plain64" and f["keyslots"][0]["kdf"] == "pbkdf2", f'
    refused 'no LUKS header' "$SLUICE" crypt info key
}

# The next server has the key from the one before.
is_upgraded() {
    format luks2
    serve "crypt(v, key_file=key)" --queues 2
    rm key
    nbdcopy "$URI" oracle
    for _ in 1 2 3; do
        write_randomly --no-trim
        "$SLUICE" upgrade -n "$ID" > upgrade.txt
        use
    done
    end
}

# What was flushed is there after the death of a server.
is_killed() {
    format luks2 --sector-size 4096
    serve_v
    nbdcopy "$URI" oracle
    for _ in 1 2 3; do
        write_randomly --no-trim
        kill -KILL "$SERVER"
        end
        serve_v
        qemu-img compare -q -f raw -F raw oracle "$URI" || fail "what was flushed is lost"
    done
    end
}

over_qcow2() {
    format luks2
    qemu-img convert -f raw -O qcow2 v image.qcow2
    serve 'crypt(qcow2:image.qcow2, key_file=key)' --queues 2
    nbdcopy "$URI" oracle
    use
    end
    qemu-img check -q image.qcow2
    qemu-img convert -f qcow2 -O raw image.qcow2 v
    serve_v
    use
    end
}

with_file_system() {
    local round
    SIZE=80M format luks2 --sector-size 4096
    mkdir mnt
    for round in 1 2; do
        "$SLUICE" add --frontend fuse --at "$CASE/disk" 'crypt(v, key_file=key)' > add.txt
        note_added
        [ "$round" = 2 ] || mkfs.ext4 -q -F disk
        e2fsck -fn disk > fsck.txt 2>&1 || fail "$(cat fsck.txt)"
        debugfs -w -R "write $SLUICE_SOURCE_DIR/README.md copy$round" disk > debugfs.txt 2>&1
        kill -KILL "$(field pid)"
        end
    done
    "$SLUICE" add --frontend fuse --at "$CASE/disk" 'crypt(v, key_file=key)' > add.txt
    note_added
    debugfs -R "dump copy1 back" disk > debugfs.txt 2>&1
    cmp back "$SLUICE_SOURCE_DIR/README.md"
    e2fsck -fn disk > fsck.txt 2>&1 || fail "$(cat fsck.txt)"
    end
}

main
