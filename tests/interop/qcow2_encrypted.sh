#!/usr/bin/env bash
# Target qcow2, images that are encrypted by LUKS (T7.17): we and QEMU read and write them in turn,
# with all that changes an image; what is refused.
# shellcheck source=tests/interop/lib_qcow2_disk.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2_disk.sh"

SECRET=(--object "secret,id=s,file=key")
CBC=encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256
IMAGE=driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,file.filename=image.qcow2

main() {
    begin_qcow2
    ldconfig -p | grep -q libcryptsetup.so.12 || { echo "skipped: no libcryptsetup"; exit 77; }
    run_case "both ways, 64k clusters" both_ways cluster_size=64k
    run_case "both ways, 512 byte clusters" both_ways cluster_size=512
    run_case "both ways, 2M clusters, lazy refcounts" both_ways cluster_size=2M,lazy_refcounts=on
    run_case "both ways, subclusters" both_ways cluster_size=64k,extended_l2=on
    run_case "both ways, version 2" both_ways compat=0.10
    run_case "both ways, other ciphers" both_ways "encrypt.cipher-alg=aes-256,$CBC"
    run_case "both ways, AES-128" both_ways encrypt.cipher-alg=aes-128
    run_case "both ways, preallocated" both_ways preallocation=full
    run_case "a raw backing file" backed raw
    run_case "a qcow2 backing file" backed qcow2
    run_case "internal snapshots" with_snapshots
    run_case "growth" grown
    run_case "dirty bitmaps" with_bitmaps
    run_case "discard and zeroes" with_holes
    run_case "upgrade" is_upgraded
    run_case "killed" is_killed
    run_case "over NBD, and converted" through_others
    run_case "check and repair" checked
    run_case "info" told
    run_case "key nowhere in plain" leaves_no_trace
    run_case "refusals" refuses
    finish
}

# create OPTIONS [SIZE] [ARGUMENT...]: image.qcow2 with the passphrase in `key`.
create() {
    [ -e key ] || { printf 'a\nb' > key && chmod 600 key; }
    # QEMU measures the processor, and does not get an accurate result each time.
    for _ in {1..20}; do
        ! qemu-img create -q -f qcow2 "${SECRET[@]}" \
            -o "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10${1:+,$1}" "${@:3}" \
            image.qcow2 "${2:-16M}" 2> create.txt || return 0
    done
    skip "$(cat create.txt)"
}

fill() {
    head -c "${1:-8M}" /dev/urandom > oracle
    truncate -s "${2:-16M}" oracle
    qemu-img convert -n -f raw "${SECRET[@]}" --target-image-opts oracle "$IMAGE"
}

serve_image() {
    serve "qcow2(image.qcow2, key_file=key${1:+, $1})" "${@:2}"
}

# checked_by_qemu: nothing is wrong with it, not even a leak, and it has the content of `oracle`.
checked_by_qemu() {
    qemu-img check -q "${SECRET[@]}" --image-opts "$IMAGE" > check.txt ||
        fail "check: $(cat check.txt) seed $SEED"
    qemu-img compare -q "${SECRET[@]}" --image-opts driver=raw,file.filename=oracle "$IMAGE" ||
        fail "QEMU reads something else, seed $SEED"
    "$SLUICE" check image.qcow2 > check.txt || fail "our check: $(cat check.txt)"
}

same_as_oracle() {
    qemu-img compare -q -f raw -F raw oracle "$URI" || fail "other content than the oracle"
}

changed_by_qemu() {
    choose_commands
    qemu-io "${SECRET[@]}" --image-opts "${COMMANDS[@]}" "$IMAGE" > qemu-io.txt
    qemu-io -f raw "${COMMANDS[@]}" oracle > qemu-io.txt
}

# both_ways OPTIONS
both_ways() {
    create "$1"
    fill
    serve_image
    same_as_oracle
    write_randomly
    end
    checked_by_qemu
    changed_by_qemu
    checked_by_qemu
    serve_image "" --queues 2
    same_as_oracle
    write_randomly
    end
    checked_by_qemu
    serve_image read_only
    write_randomly --read-only
    end
}

# backed FORMAT: what comes from the backing file is plain there, and enciphered here.
backed() {
    head -c 12M /dev/urandom > base.raw
    cp base.raw oracle
    truncate -s 16M oracle
    qemu-img convert -f raw -O "$1" base.raw base
    create "" 16M -b base -F "$1"
    serve_image
    same_as_oracle
    write_randomly
    end
    checked_by_qemu
    serve_image "" --queues 2
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    write_randomly
    end
    checked_by_qemu
}

with_snapshots() {
    create
    fill
    cp oracle first
    qemu-img snapshot -q "${SECRET[@]}" --image-opts -c first "$IMAGE"
    serve_image
    write_randomly
    "$SLUICE" ctl -n "$ID" / snapshot-create second > ctl.txt
    cp oracle second
    write_randomly
    end
    checked_by_qemu
    for name in first second; do
        serve "qcow2(image.qcow2, key_file=key, snapshot=$name)"
        qemu-img compare -q -f raw -F raw "$name" "$URI" || fail "snapshot $name differs"
        end
        qemu-img convert "${SECRET[@]}" --image-opts -l "snapshot.name=$name" -O raw "$IMAGE" copy
        cmp "$name" copy || fail "QEMU reads another snapshot $name"
    done
}

grown() {
    create
    fill
    serve_image
    "$SLUICE" resize -n "$ID" 40M > resize.txt
    truncate -s 40M oracle
    same_as_oracle
    write_randomly
    end
    checked_by_qemu
    qemu-img resize -q "${SECRET[@]}" --image-opts "$IMAGE" 48M
    truncate -s 48M oracle
    serve_image
    same_as_oracle
    write_randomly
    end
    checked_by_qemu
}

with_bitmaps() {
    create
    fill
    serve_image
    "$SLUICE" ctl -n "$ID" / bitmap-add name=b > ctl.txt
    write_randomly
    end
    qemu-img info "${SECRET[@]}" --image-opts "$IMAGE" > info.txt
    grep -q 'name: b' info.txt || fail "$(cat info.txt)"
    checked_by_qemu
}

with_holes() {
    create
    fill 16M
    serve_image
    nbdsh -u "$URI" -c 'h.trim(8 << 20, 4 << 20)' -c 'h.zero(1 << 20, 100 << 10)' \
        -c 'h.zero(3 << 20, 1 << 20)'
    qemu-io -f raw -c 'write -z 4M 8M' -c 'write -z 100k 1M' -c 'write -z 1M 3M' oracle > io.txt
    same_as_oracle
    write_randomly
    end
    checked_by_qemu
}

# The next server has the key from the one before.
is_upgraded() {
    create
    fill
    serve_image "" --queues 2
    rm key
    for _ in 1 2 3; do
        write_randomly
        "$SLUICE" upgrade -n "$ID" > upgrade.txt
        same_as_oracle
    done
    end
    printf 'a\nb' > key
    checked_by_qemu
}

# What was flushed is there after the death of a server.
is_killed() {
    create lazy_refcounts=on
    fill
    for _ in 1 2 3; do
        serve_image
        same_as_oracle
        write_randomly
        kill -KILL "$SERVER"
        end
        await_release image.qcow2
    done
    serve_image
    same_as_oracle
    end
}

through_others() {
    create
    fill
    nbdkit -f -U kit.sock file file=image.qcow2 2> kit.log &
    KIT=$!
    trap 'kill -KILL "$KIT" 2> /dev/null || true' EXIT
    appears kit.sock
    serve "qcow2(nbd+unix:///?socket=$CASE/kit.sock, key_file=key)"
    same_as_oracle
    end
    end_kit
    "$SLUICE" convert -O raw 'qcow2(image.qcow2, key_cmd="cat key")' copy
    cmp oracle copy || fail "our convert reads something else"
    "$SLUICE" convert -O raw 'qcow2(image.qcow2, key_file=-)' copy2 < key
    cmp oracle copy2 || fail "our convert reads something else"
}

# The LUKS header is neither a leak nor free.
checked() {
    create
    fill
    "$SLUICE" check image.qcow2 > check.txt || fail "$(cat check.txt)"
    # A leak, and a refcount that is too small.
    serve_image
    write_randomly
    kill -KILL "$SERVER"
    end
    await_release image.qcow2
    "$SLUICE" check --repair all image.qcow2 > check.txt || fail "$(cat check.txt)"
    checked_by_qemu
    serve_image
    same_as_oracle
    write_randomly
    end
    checked_by_qemu
}

told() {
    create
    "$SLUICE" info image.qcow2 > info.txt
    grep -q '^encrypted: yes' info.txt || fail "$(cat info.txt)"
    grep -q 'format: luks' info.txt || fail "$(cat info.txt)"
    "$SLUICE" info --json image.qcow2 > info.json
    /usr/bin/python3 -c 'import json; f = json.load(open("info.json")); assert f["encrypted"]
assert f["format-specific"]["data"]["encrypt"]["format"] == "luks", f'
}

# What is written is nowhere in the file as it was.
leaves_no_trace() {
    create
    head -c 4096 /dev/urandom > page
    for _ in {1..256}; do cat page; done > oracle
    serve_image
    qemu-img convert -n -f raw -O raw oracle "$URI"
    qemu-io -f raw -c 'write -s page 8M 1000k' "$URI" > qemu-io.txt
    end
    /usr/bin/python3 -c 'assert open("page", "rb").read(64) not in open("image.qcow2", "rb").read()'
}

refuses() {
    create
    fill
    cp image.qcow2 before
    printf wrong > wrong && chmod 600 wrong
    refused 'is encrypted: give' "$SLUICE" add qcow2:image.qcow2
    refused 'no keyslot opens' "$SLUICE" add 'qcow2(image.qcow2, key_file=wrong)'
    refused 'cannot open the key file' "$SLUICE" add 'qcow2(image.qcow2, key_file=missing)'
    refused 'does not go with compress' "$SLUICE" add 'qcow2(image.qcow2, key_file=key, compress)'
    refused 'does not go with stream' "$SLUICE" add 'qcow2(image.qcow2, key_file=key, stream)'
    refused 'is encrypted' "$SLUICE" amend -o lazy_refcounts=on image.qcow2
    refused 'is encrypted' "$SLUICE" resize -f qcow2 image.qcow2 20M
    refused 'is encrypted' "$SLUICE" rebase -u -b '' image.qcow2
    refused 'is encrypted' "$SLUICE" snapshot -c s image.qcow2
    cmp image.qcow2 before || fail "an image that is refused has been written"
    serve_image
    refused 'chain changes only' "$SLUICE" ctl -n "$ID" / stream
    end
    qemu-img create -q -f qcow2 -b image.qcow2 -F qcow2 top.qcow2 16M
    refused 'encrypted backing file' "$SLUICE" add 'qcow2(top.qcow2, backing=any)'
    qemu-img create -q -f qcow2 plain.qcow2 16M
    refused 'is not encrypted' "$SLUICE" add 'qcow2(plain.qcow2, key_file=key)'
    refused 'is not encrypted' "$SLUICE" add 'qcow2(plain.qcow2, keyslot=1)'
    qemu-img create -q -f qcow2 "${SECRET[@]}" -o encrypt.format=aes,encrypt.key-secret=s \
        old.qcow2 16M 2> create.txt || return 0
    refused 'LUKS (2) only' "$SLUICE" add 'qcow2(old.qcow2, key_file=key)'
}

main
