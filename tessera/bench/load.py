"""A load generator of its own process: open loop (a request leaves when its time has come), or as fast as it goes.

In an open loop a slow server does not slow its callers down, and latency counts from the moment a request was due
(G. Tene, "How NOT to Measure Latency", 2015).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass, field

import numpy as np

from tessera.bench.ground import COPIES, SIMULATED, alias


@dataclass(slots=True)
class Tally:
    """What came back."""

    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    degraded: int = 0


def main(port: int, path: str, connections: int, rate: float, seconds: float, seed: int, core: int) -> None:
    """Put load on a server and print figures as JSON; `rate` 0 is as fast as the connections go."""
    if core >= 0 and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {core})
    print(json.dumps(asyncio.run(_load(port, path, connections, rate, seconds, seed))))


async def _load(port: int, path: str, connections: int, rate: float, seconds: float, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    members = iter(rng.permutation(SIMULATED * COPIES).tolist())
    tally = Tally()
    due: asyncio.Queue[float | None] = asyncio.Queue()
    began = time.perf_counter()
    workers = [asyncio.create_task(_work(port, path, members, due if rate else None, began + seconds, tally))
               for _ in range(connections)]  # fmt: skip
    if rate:
        moment = began
        while moment < began + seconds:
            moment += float(rng.exponential(1.0 / rate))
            await asyncio.sleep(max(moment - time.perf_counter(), 0))
            due.put_nowait(moment)
        for _ in workers:
            due.put_nowait(None)
    await asyncio.gather(*workers)
    took = time.perf_counter() - began
    found = np.array(tally.seconds) * 1e3
    return {
        "per_second": len(found) / took,
        "p50_ms": float(np.percentile(found, 50)),
        "p99_ms": float(np.percentile(found, 99)),
        "max_ms": float(found.max()),
        "refused": tally.refused,
        "degraded": tally.degraded,
    }


async def _work(
    port: int, path: str, members: object, due: asyncio.Queue[float | None] | None, end: float, tally: Tally
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        if due is None:
            began = time.perf_counter()
            if began >= end:
                break
        else:
            moment = await due.get()
            if moment is None:
                break
            began = moment
        number = next(members)  # type: ignore[call-overload]
        member = alias(f"M{number // COPIES + 1:07d}", number % COPIES)
        body = b'{"member_id":"%s","channel":"app"}' % member.encode()
        head = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % (path.encode(), len(body)) + body)
        answer = await _answer(reader)
        tally.seconds.append(time.perf_counter() - began)
        tally.refused += answer[0] != b"200"
        tally.degraded += b'"degraded":[]' not in answer[1]
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    start = lower.index(b"content-length:") + 15
    length = int(lower[start : lower.index(b"\r\n", start)])
    return head[9:12], await reader.readexactly(length)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6]),
         int(sys.argv[7]))  # fmt: skip
