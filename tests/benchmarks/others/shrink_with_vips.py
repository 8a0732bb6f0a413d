"""pyvips for `make bench`, in an environment of its own: jobs as JSON lines in, what each cost as JSON lines out."""

import json
import sys
import time
from pathlib import Path

import pyvips


def shrink(data: bytes, width: int, height: int) -> bytes:
    small = pyvips.Image.thumbnail_buffer(data, width, height=height, size="force")
    if small.hasalpha():
        small = small.flatten(background=255)
    return bytes(small.jpegsave_buffer(Q=85, keep="none"))


def main() -> None:
    pyvips.cache_set_max(0)
    for line in sys.stdin:
        job = json.loads(line)
        data = Path(job["file"]).read_bytes()
        begun = time.process_time()
        for _ in range(job["times"]):
            content = shrink(data, job["width"], job["height"])
        ms = 1000 * (time.process_time() - begun) / job["times"]
        Path(job["out"]).write_bytes(content)
        peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1000
        sys.stdout.write(json.dumps({"ms": ms, "peak": peak}) + "\n")
        sys.stdout.flush()


main()
