"""The workers of a run on this machine.

A worker reads and embeds its images, so that no share of the CPUs has to be set apart for reading: on a CPU it is a
process with its own model, as much of what reads JPEGs holds Python's lock; where the model is on another device, or
there is one worker, it is a thread.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence

from efq.runtime.bulk.listing.listed import ListedImage
from efq.runtime.bulk.workers.children import children
from efq.runtime.bulk.workers.part import Part, embed_part
from efq.runtime.bulk.workers.task import BulkTask, open_task
from efq.runtime.progress import ShowProgress, no_progress

Submit = Callable[[Sequence[ListedImage]], concurrent.futures.Future[Part]]


@contextlib.contextmanager
def part_workers(task: BulkTask, *, progress: ShowProgress = no_progress) -> Iterator[Submit]:
    """`task.workers` of them; what they have not begun is dropped at the end of the block.

    Raises what opening the models does. The futures raise what embedding does, and UsageError where a machine, and no
    image, is why it cannot be read.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.ExitStack() as models:
            opened = models.enter_context(open_task(task, progress=progress))  # what is wrong with them is raised here
            if task.workers == 1 or not task.in_processes:
                stack.push(models.pop_all())
                work: Callable[[Sequence[ListedImage]], Part] = functools.partial(embed_part, opened)
        if task.workers > 1 and task.in_processes:
            work = stack.enter_context(children(task)).embed
        pool = concurrent.futures.ThreadPoolExecutor(task.workers, thread_name_prefix="efq-bulk")
        stack.callback(pool.shutdown, cancel_futures=True)
        yield lambda images: pool.submit(work, images)
