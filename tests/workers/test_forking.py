"""Children forked from a parent that has torch loaded: safe, and ready at once."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import psutil
import pytest

from app.settings import Settings
from app.store.state import State
from tests.processes import python, wait_until
from workers.forking import Stillness

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are forked on Linux alone")

LOADED = """
import json, os, sys
from pathlib import Path
from workers import celery_app, forking
forking.load_beforehand()
import torch
def threads():
    return [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
"""

COMPUTES = (
    LOADED
    + """
before = threads()
child = os.fork()
if child == 0:
    import faiss, lance, numpy as np, pyarrow as pa
    torch.set_num_threads(2)
    weights = torch.ones(600, 600, requires_grad=True)
    (weights @ weights).relu().sum().backward()
    rows = pa.table({"a": np.arange(20_000)})
    lance.write_dataset(rows, sys.argv[1])
    taken = lance.dataset(sys.argv[1]).to_table(filter="a >= 10000").num_rows
    index = faiss.IndexFlatL2(16)
    index.add(np.eye(400, 16, dtype=np.float32))
    near = index.search(np.eye(16, dtype=np.float32), 1)[1][:, 0].tolist()
    print(json.dumps([before, float(weights.grad[0, 0]), taken, near]), flush=True)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
)

WORKER = """
import sys
from pathlib import Path
from workers import forking
if sys.argv[1] == "spawn":
    forking.GPU_DEVICES = (Path("/dev/null"),)
from workers import celery_app
celery_app.run_worker()
"""


def test_a_child_computes_in_several_threads_after_its_parent_loaded_torch(tmp_path: Path) -> None:
    process = python(COMPUTES, str(tmp_path / "table"))
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    before, gradient, taken, near = json.loads(output)
    assert not any(name.startswith(("lance", "tokio")) for name in before), before
    assert (gradient, taken, near) == (1200.0, 10_000, list(range(16)))


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_worker_is_there_when_its_child_has_torch_loaded(
    start: str, settings: Settings, state: State
) -> None:
    own = {f"GRADSIFT_{name.upper()}": str(getattr(settings, name)) for name in settings.model_fields_set}
    with python(WORKER, start, env=os.environ | own) as process:
        try:
            wait_until(lambda: state.jobs.present.count() == 1, 100)
            children = psutil.Process(process.pid).children()
            assert any("libtorch_cpu" in Path(f"/proc/{child.pid}/maps").read_text() for child in children)
            commands = [" ".join(child.cmdline()) for child in children]
            assert any("billiard.spawn" in command for command in commands) is (start == "spawn")
        finally:
            process.terminate()
            assert process.wait(30) == 0


def test_a_process_forks_only_while_the_threads_stand_still() -> None:
    still, began, go_on = Stillness(), threading.Event(), threading.Event()
    done: list[str] = []

    def work() -> None:
        with still:
            began.set()
            go_on.wait(10)
            done.append("worked")

    thread = threading.Thread(target=work)
    thread.start()
    began.wait(10)
    threading.Timer(0.2, go_on.set).start()
    still.before_fork()
    done.append("forks")
    still.after_in_parent()
    thread.join(10)
    assert done == ["worked", "forks"]
    still.before_fork()
    still.after_in_child()
    with still:
        done.append("child")
    assert done[-1] == "child"
