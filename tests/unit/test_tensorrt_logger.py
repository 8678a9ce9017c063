from __future__ import annotations

import gc
import threading

import pytest
from messages import names

from efq.runtime.tensorrt.run.logger import LogRecorder, Message, failure_reason, process_logger


def test_a_recording_has_what_came_while_it_lasted_from_any_thread() -> None:
    recorder = LogRecorder()
    recorder.add("INFO", "before")
    with recorder.recording() as outer:
        recorder.add("INFO", "one")
        with recorder.recording() as inner:
            thread = threading.Thread(target=recorder.add, args=("ERROR", "two"))
            thread.start()
            thread.join()
        recorder.add("INFO", "three")
    recorder.add("INFO", "after")
    assert [message.text for message in outer] == ["one", "two", "three"]
    assert inner == [Message("ERROR", "two")]


def test_the_reason_is_the_first_error_else_the_last_words() -> None:
    errors = [Message("INFO", "a"), Message("INTERNAL_ERROR", "b"), Message("ERROR", "c")]
    assert failure_reason(errors) == "b"
    assert failure_reason([Message("WARNING", "a"), Message("VERBOSE", "b")]) == "b"
    names(failure_reason([]), "TensorRT")


def test_the_real_logger_is_one_a_process_and_outlives_its_users() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    logger, recorder = process_logger(trt)
    identity = id(logger)
    del logger
    gc.collect()
    with recorder.recording() as messages:
        assert trt.Runtime(process_logger(trt)[0]).deserialize_cuda_engine(b"junk") is None
    assert id(process_logger(trt)[0]) == identity
    assert any(message.is_error for message in messages)
