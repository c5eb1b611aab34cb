"""Guest kernels: fetched from a Debian suite, built where needed, and kept in a cache.

The cache is outside the checkout: $SLUICE_CACHE, or else sluice in $XDG_CACHE_HOME or ~/.cache.
Everything downloaded comes through apt with a private state directory, so that Debian's signatures
are verified and the machine's own package state is not touched. An entry appears by one rename,
complete or not at all; a lock file keeps two runs from preparing one at once.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

import confined

FRESH_SECONDS = 30 * 24 * 3600
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
CONFIG = pathlib.Path(__file__).resolve().parent / "uml.config"
VMLINUX_PACKAGES = ("linux-binary-unsigned", "linux-binary", "linux-image-unsigned", "linux-image")


class KernelError(Exception):
    """No kernel could be prepared; the message is for the user."""


class Unreachable(KernelError):
    """The archive could not be used; a cached kernel may do."""


class Kernel:
    """A cache entry. Read-only once it has been made."""

    def __init__(self, directory):
        self.directory = directory
        self.info = json.loads((directory / "info.json").read_text())
        self.kind = self.info["kind"]
        self.release = self.info["release"]
        self.image = directory / ("linux" if self.kind == "uml" else "vmlinuz")

    def age_seconds(self):
        return time.time() - (self.directory / "info.json").stat().st_mtime

    def touch(self):
        os.utime(self.directory / "info.json")


def prepare(kind, suite, refresh=False):
    """Returns a Kernel of this kind ("uml" or "qemu"), from the cache if that will do."""
    kernel = newest_cached(kind, suite, any_config=False)
    if kernel and not refresh and kernel.age_seconds() < FRESH_SECONDS:
        return kernel
    with locked(kind):
        # Another run may have prepared it while this one waited for the lock.
        kernel = newest_cached(kind, suite, any_config=False)
        if kernel and not refresh and kernel.age_seconds() < FRESH_SECONDS:
            return kernel
        try:
            return prepare_locked(kind, suite)
        except Unreachable as error:
            kernel = kernel or newest_cached(kind, suite, any_config=True)
            if not kernel:
                raise
            say(f"{error}\nvm: using the cached kernel {kernel.release} instead")
            return kernel


def prepare_locked(kind, suite):
    apt = Apt(suite)
    packages, version = newest_packages(kind, apt)
    directory = cache_directory() / kind / entry_name(kind, version)
    if (directory / "info.json").exists():
        kernel = Kernel(directory)
        kernel.touch()
        return kernel
    directory.parent.mkdir(parents=True, exist_ok=True)
    with scratch_directory(directory.parent) as scratch:
        apt.download(packages, scratch)
        result = scratch / "result"
        result.mkdir()
        assemble = build_uml if kind == "uml" else unpack_qemu
        release = assemble(scratch, result, version)
        info = {"kind": kind, "suite": suite, "version": version, "release": release,
                "packages": packages, "config": config_hash() if kind == "uml" else None}
        (result / "info.json").write_text(json.dumps(info, indent=1) + "\n")
        result.rename(directory)
    return Kernel(directory)


def cache_directory():
    if os.environ.get("SLUICE_CACHE"):
        return pathlib.Path(os.environ["SLUICE_CACHE"]).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base).resolve() / "sluice"


def newest_cached(kind, suite, any_config):
    kernels = []
    for info in (cache_directory() / kind).glob("*/info.json"):
        kernel = Kernel(info.parent)
        wanted = config_hash() if kind == "uml" else None
        if kernel.info["suite"] == suite and (any_config or kernel.info["config"] == wanted):
            kernels.append(kernel)
    by_version = functools.cmp_to_key(
        lambda a, b: compare_versions(a.info["version"], b.info["version"]))
    return max(kernels, key=by_version, default=None)


def entry_name(kind, version):
    return f"{version}-{config_hash()}" if kind == "uml" else version


def config_hash():
    return hashlib.sha256(CONFIG.read_bytes()).hexdigest()[:12]


def newest_packages(kind, apt):
    """The package names that make up the newest kernel of the suite, and its version."""
    if kind == "uml":
        names = apt.names(r"^linux-source-[0-9]+\.[0-9]+$")
        name = newest(names, lambda name: name.removeprefix("linux-source-"))
        if not name:
            raise KernelError(f"The suite {apt.suite} has no package linux-source-*.")
        return [name], apt.version(name)
    pattern = re.compile(r"linux-modules-(\d.*-cloud-amd64)$")
    names = apt.names(r"^linux-(binary|image|modules|base)-.*-cloud-amd64$")
    abis = [match[1] for match in map(pattern.match, names) if match]
    abi = newest(abis, lambda abi: abi)
    if not abi:
        raise KernelError(f"The suite {apt.suite} has no package linux-modules-*-cloud-amd64.")
    image = next((f"{prefix}-{abi}" for prefix in VMLINUX_PACKAGES if f"{prefix}-{abi}" in names),
                 None)
    if not image:
        raise KernelError(f"The suite {apt.suite} has no kernel image to linux-modules-{abi}.")
    # linux-base-* carries the list of built-in modules; older kernels have it with the modules.
    extra = [f"linux-base-{abi}"] if f"linux-base-{abi}" in names else []
    return [image, f"linux-modules-{abi}"] + extra, apt.version(image)


def newest(items, version_of):
    key = functools.cmp_to_key(lambda a, b: compare_versions(version_of(a), version_of(b)))
    return max(items, key=key, default=None)


def compare_versions(a, b):
    if a == b:
        return 0
    less = subprocess.run(["dpkg", "--compare-versions", a, "lt", b], check=False).returncode == 0
    return -1 if less else 1


class Apt:
    """apt with one suite, one keyring and a state directory of its own."""

    def __init__(self, suite):
        self.suite = suite
        if not re.fullmatch(r"[A-Za-z0-9._-]+", suite):
            raise KernelError(f"'{suite}' is not the name of a suite.")
        if not os.path.exists(KEYRING):
            raise KernelError(f"{KEYRING} is missing (package debian-archive-keyring): without it "
                              "the kernel packages cannot be verified.")
        self.directory = cache_directory() / "apt" / suite
        for name in ("lists/partial", "cache/archives/partial"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self.update()

    def update(self):
        failure = ""
        for uri in archive_uris():
            source = f"deb [arch=amd64 signed-by={KEYRING}] {uri} {self.suite} main\n"
            (self.directory / "sources.list").write_text(source)
            result = self.run("apt-get", "-o", "APT::Update::Error-Mode=any", "update")
            if result.returncode == 0:
                return
            if re.search(r"NO_PUBKEY|EXPKEYSIG|BADSIG|not signed|verif", result.stderr):
                raise KernelError(f"The suite {self.suite} cannot be verified with {KEYRING}:\n"
                                  + result.stderr.strip())
            failure = failure or result.stderr.strip() or result.stdout.strip()
        raise Unreachable(f"The suite {self.suite} could not be read from this machine's package "
                          f"archives{': ' + failure if failure else ': none is Debian'}")

    def names(self, pattern):
        return self.output("apt-cache", "search", "--names-only", pattern,
                           words=lambda line: line.split(" ")[0])

    def version(self, name):
        lines = self.output("apt-cache", "show", "--no-all-versions", name)
        return next(line.split(" ")[1] for line in lines if line.startswith("Version: "))

    def download(self, names, directory):
        say(f"downloading {' '.join(names)}")
        result = self.run("apt-get", "download", *names, cwd=directory)
        if result.returncode != 0:
            raise Unreachable(f"Download failed: {result.stderr.strip()}")

    def output(self, *command, words=str):
        result = self.run(*command)
        if result.returncode != 0:
            raise KernelError(f"{' '.join(command)} failed: {result.stderr.strip()}")
        return [words(line) for line in result.stdout.splitlines()]

    def run(self, tool, *arguments, cwd=None):
        here = self.directory
        settings = [f"Dir::Etc::sourcelist={here}/sources.list", "Dir::Etc::sourceparts=-",
                    f"Dir::State::lists={here}/lists", f"Dir::Cache={here}/cache",
                    "Dir::State::status=/dev/null", "APT::Sandbox::User=root",
                    "Acquire::Retries=2"]
        options = [word for setting in settings for word in ("-o", setting)]
        return subprocess.run([tool, *options, *arguments], cwd=cwd, check=False, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True)


def archive_uris():
    """Where this machine's own configuration gets Debian from; SLUICE_ARCHIVE overrides it."""
    if os.environ.get("SLUICE_ARCHIVE"):
        return [os.environ["SLUICE_ARCHIVE"]]
    targets = subprocess.run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)"],
                             check=False, text=True, capture_output=True).stdout
    uris = []
    for line in targets.splitlines():
        origin, _, uri = line.rpartition(" ")
        if origin == "Debian" and uri not in uris:
            uris.append(uri)
    # The security archive comes last: it answers, but carries no backports.
    return sorted(uris, key=lambda uri: "security" in uri)


def build_uml(scratch, result, version):
    """Builds User Mode Linux from the source package; returns the kernel release."""
    log = cache_directory() / "uml-build.log"
    say(f"building User Mode Linux {version}: about ten minutes, once; log in {log}")
    package = next(scratch.glob("*.deb"))
    tree = scratch / "tree"
    tree.mkdir()
    make = ["make", "ARCH=um", f"-j{os.cpu_count()}", "KBUILD_BUILD_TIMESTAMP=@0"]
    if shutil.which("ccache"):
        make += ["CC=ccache gcc", "HOSTCC=ccache gcc"]
    with open(log, "wb") as output:
        step = functools.partial(build_step, output, log)
        step(["dpkg-deb", "-x", package, scratch / "package"], cwd=scratch)
        archive = next((scratch / "package/usr/src").glob("linux-source-*.tar.*"))
        step(["tar", "-xf", archive, "--strip-components=1"], cwd=tree)
        step(make + ["defconfig"], cwd=tree)
        with open(tree / ".config", "ab") as config:
            config.write(CONFIG.read_bytes())
        step(make + ["olddefconfig"], cwd=tree)
        check_config((tree / ".config").read_text())
        step(make + ["linux"], cwd=tree)
    release = (tree / "include/config/kernel.release").read_text().strip()
    shutil.copy2(tree / "linux", result / "linux")
    shutil.copy2(tree / ".config", result / "config")
    # There are no modules, but with the list of built-in ones modprobe of these succeeds.
    modules = result / "lib/modules" / release
    modules.mkdir(parents=True)
    for name in ("modules.builtin", "modules.builtin.modinfo"):
        shutil.copy2(tree / name, modules / name)
    run_depmod(result, release)
    return release


def build_step(output, log, command, cwd):
    process = confined.start(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
    try:
        code = process.wait()
    finally:
        confined.kill(process)      # an interrupted build leaves no compiler behind
    if code != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise KernelError(f"{shlex.join(map(str, command))} failed; the end of {log}:\n{tail}")


def check_config(config):
    """Every line of the fragment must have survived olddefconfig, which drops what it must."""
    lines = set(config.splitlines())
    required, _, optional = CONFIG.read_text().partition("\n### optional\n")
    missing = missing_lines(required, lines)
    if missing:
        raise KernelError("This kernel did not take these lines of tools/guest/uml.config: "
                          + ", ".join(missing))
    if missing_lines(optional, lines):
        say("left out, as this kernel lacks it: " + ", ".join(missing_lines(optional, lines)))


def missing_lines(fragment, lines):
    missing = []
    for line in fragment.splitlines():
        unset = re.fullmatch(r"# (CONFIG_\w+) is not set", line)
        if unset and any(other.startswith(unset[1] + "=") for other in lines):
            missing.append(line)
        if line.startswith("CONFIG_") and line not in lines:
            missing.append(line)
    return missing


def unpack_qemu(scratch, result, version):
    """Unpacks a stock kernel with its modules; returns the kernel release."""
    say(f"unpacking Linux {version}")
    packages = sorted(scratch.glob("*.deb"))
    for package in packages:
        subprocess.run(["dpkg-deb", "-x", package, scratch / "package"], check=True)
    root = scratch / "package"
    image = next((path for path in root.rglob("vmlinuz*") if path.is_file()), None)
    modules = next((path.parent for path in root.rglob("lib/modules/*/kernel")), None)
    if not image or not modules:
        raise KernelError(f"No kernel image or modules in {', '.join(p.name for p in packages)}.")
    config = next((path for path in (modules / "config", root / f"boot/config-{modules.name}")
                   if path.exists()), None)
    if config:
        check_bootable(config.read_text())
        shutil.copy2(config, result / "config")
    shutil.copy2(image, result / "vmlinuz")
    (result / "lib/modules").mkdir(parents=True)
    shutil.move(modules, result / "lib/modules" / modules.name)
    run_depmod(result, modules.name)
    return modules.name


def run_depmod(root, release):
    depmod = shutil.which("depmod", path="/usr/sbin:/sbin:" + os.environ.get("PATH", ""))
    if not depmod:
        raise KernelError("depmod is missing (package kmod).")
    # modules.order is only a preference, but without it depmod prints a warning.
    (root / "lib/modules" / release / "modules.order").touch()
    subprocess.run([depmod, "-b", root, release], check=True)


def check_bootable(config):
    """The guest boots from virtiofs without an initramfs, so these may not be modules."""
    needed = ("CONFIG_VIRTIO_PCI=y", "CONFIG_VIRTIO_FS=y", "CONFIG_FUSE_FS=y", "CONFIG_DEVTMPFS=y")
    missing = [line for line in needed if line not in config.splitlines()]
    if missing:
        raise KernelError("This kernel cannot boot from virtiofs: it lacks " + ", ".join(missing))


@contextlib.contextmanager
def locked(kind):
    cache_directory().mkdir(parents=True, exist_ok=True)
    with open(cache_directory() / f"{kind}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run which prepares this kernel")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def scratch_directory(parent):
    for left in parent.glob(".scratch-*"):     # we hold the lock, so its maker was killed
        shutil.rmtree(left, ignore_errors=True)
    path = pathlib.Path(tempfile.mkdtemp(prefix=".scratch-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def say(message):
    print(f"vm: {message}", file=sys.stderr, flush=True)
