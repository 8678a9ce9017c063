"""The resident memory of a service when it has started, and when it has been busy.

python tests/scripts/service_memory.py ARTIFACT [--requests 800] [-- OPTIONS OF EFQ-SERVE]
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
from services import Service, face_png, image, serving

CLIENTS = 8


def resident(service: Service) -> float:
    """Megabytes of 2**20 bytes."""
    status = Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def ask(service: Service, count: int) -> None:
    """Requests of JSON and of images, one after the other."""
    with httpx.Client(base_url=service.address, timeout=60, trust_env=False) as client:
        for number in range(count):
            if number % 2:
                answer = client.post("/v1/embeddings", json={"images": [image(number % 16)]})
            else:
                headers = {"Content-Type": "image/png"}
                answer = client.post("/v1/embeddings", content=face_png(number % 16), headers=headers)
            answer.raise_for_status()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--requests", type=int, default=800)
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_args()
    with serving(arguments.artifact, "--no-access-log", *arguments.options) as service:
        print(f"started: {resident(service):.0f} MB")
        each = arguments.requests // CLIENTS
        threads = [threading.Thread(target=ask, args=(service, each)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(f"after {each * CLIENTS} requests of {CLIENTS} clients: {resident(service):.0f} MB")


if __name__ == "__main__":
    main()
