"""table.md: the aims, what is measured once, and a table for each target and block size."""

from ublk import matrix

WHOLE = ("IOPS", "MiB/s")    # shown without a fraction
VERDICTS = {True: "met", False: "NOT MET", None: "not measured"}
ONCE_TITLES = {
    "resident": "resident (VmRSS)",
    "proportional": "its share of memory (Pss)",
    "idle_cpu": f"processor time in {matrix.IDLE_SECONDS:g} s",
    "idle_wakeups": f"times woken in {matrix.IDLE_SECONDS:g} s",
    "first_read": "from `sluice add` to the first read",
    "resync_speed": "first copy",
    "resync_speed_loaded": "first copy, beside 1000 writes of 4K a second",
    "rest_p99": "99th percentile of these writes, without a copy",
    "resync_p99": "and during the copy",
    "rest_stall": "longest request, both legs alive",
    "stall": "while a local leg dies",
    "nbd_stall": "while the server of an NBD leg is killed",
    "first_4k": "first writes of 4K, one to each block of 64K",
    "first_64k": "first writes of whole blocks",
    "first_512k": "first writes of 512K",
    "after_4k": "after a snapshot, writes of 4K, one to each block",
    "after_512k": "after a snapshot, writes of 512K",
    "open": "from the start to the first read of a pool of 1,000,000 mappings",
    "metadata": "its metadata in use",
    "memory": "memory once each of them was used",
}


def write(found, directory):
    machine = (directory / "machine.txt").read_text(encoding="utf-8").strip()
    settings = found["settings"]
    suite = matrix.suite(settings)
    lines = [f"# {suite.title}", "",
             f"Made by `{suite.command}`; how to read it: `bench/README.md`. "
             "Medians, and in brackets the lowest and highest run.", ""]
    if settings["quick"]:
        lines += ["**A quick run: too short for conclusions.**", ""]
    lines += ["## Aims", ""] + aim_table(found["aims"])
    if matrix.once_plan(settings):
        lines += ["", f"## {suite.once_title}", ""] + once_table(found["once"], suite)
    for target in matrix.targets(settings):
        lines += target_section(found["cells"], target)
    lines += ["## Machine", "", "```", machine, "```", ""]
    (directory / "table.md").write_text("\n".join(lines), encoding="utf-8")


def aim_lines(aims):
    """For the terminal."""
    return [f"{VERDICTS[aim['met']] + ':':14}{aim['aim']}: {aim['found']}" for aim in aims]


def aim_table(aims):
    return ["| aim | measured | |", "|---|---|---|",
            *(f"| {aim['aim']} | {aim['found']} | {bold(VERDICTS[aim['met']], aim['met'])} |"
              for aim in aims)]


def bold(text, met):
    return text if met else f"**{text}**"


def once_table(once, suite):
    if not once:
        return ["Not measured."]
    here = [server for server in suite.once_servers if server in once]
    titles = [matrix.server_title(server, suite.targets[0]) for server in here]
    lines = ["| | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(here)]
    for name, title in ONCE_TITLES.items():
        if not any(name in once[server] for server in here):
            continue
        shown = [quantity(once[server].get(name)) for server in here]
        lines.append(f"| {title} | " + " | ".join(shown) + " |")
    return lines


def quantity(found):
    if not found:
        return "-"
    text = f"{found['median']:g} {found['unit']}"
    if found["unit"] == "KiB":
        text = f"{found['median'] / 1024:.1f} MiB"
    if found["unit"] == "ms":
        text = f"{found['median']:.1f} ms"
    if found["unit"] == "GiB/s":
        text = f"{found['median']:.2f} GiB/s"
    if found["unit"] in WHOLE:
        text = f"{found['median']:.0f} {found['unit']}"
    if found["samples"] > 1:
        digits = 2 if found["unit"] == "GiB/s" else 0 if found["unit"] in WHOLE else 1
        text += f" ({found['min']:.{digits}f}-{found['max']:.{digits}f})"
    return text


def target_section(cells, target):
    mine = [cell for cell in cells if cell["target"] == target]
    if not mine:
        return []
    lines = ["", f"## {target}", "", f"![{target}]({target}.svg)", ""]
    for block in matrix.BLOCKS:
        of_block = [cell for cell in mine if cell["block"] == block]
        if of_block:
            lines += [f"### {target}, {block.upper()}, {order(block)}", ""]
            lines += block_table(of_block, block) + [""]
    return lines


def order(block):
    return "random" if block == "4k" else "sequential"


def block_table(cells, block):
    unit = "IOPS" if block == "4k" else "MiB/s"
    lines = [f"| | served by | {unit} | server CPU s/GiB | all CPU s/GiB | CPUs busy | x copy "
             "| x kernel |", "|---|---|---:|---:|---:|---:|---:|---:|"]
    shown_group = None
    for cell in cells:
        group = f"{cell['direction']}, depth {cell['depth']}"
        lines.append(row(cell, unit, group if group != shown_group else ""))
        shown_group = group
    return lines


def row(cell, unit, group):
    title = matrix.server_title(cell["server"], cell["target"])
    speed = cell["iops" if unit == "IOPS" else "mib_per_s"]
    bad = [f"{count} {status}" for status, count in cell["status"].items() if status != "ok"]
    note = f" ({', '.join(bad)})" if bad else ""
    if not speed:
        return f"| {group} | {title}{note} | - | - | - | - | - | - |"
    busy = cell["system_busy_share"]
    return (f"| {group} | {title}{note} | {spread(speed, big)} | "
            f"{spread(cell['server_cpu_s_per_gib'], cost)} | "
            f"{spread(cell['system_cpu_s_per_gib'], cost)} | "
            f"{format(busy['median'], '.0%') if busy else '-'} | "
            f"{ratio(cell['to_copy'])} | {ratio(cell['to_kernel'])} |")


def spread(found, show):
    if not found:
        return "-"
    return f"{show(found['median'])} ({show(found['min'])}-{show(found['max'])})"


def big(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def cost(value):
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(value):
    return "-" if value is None else f"{value:.2f}"
