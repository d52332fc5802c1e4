"""Several processes of one fit: shares of a batch, seeds of their own, one mean gradient, one writer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.__main__ import main  # noqa: E402
from training.ranks import Ranks, join_ranks  # noqa: E402

pytestmark = pytest.mark.torch
ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys, time
from pathlib import Path
import numpy as np, torch
from torch import distributed
from training.ranks import join_ranks
import test_finetune as tests

torch.set_num_threads(1)
out, ranks = Path(sys.argv[1]), join_ranks()
network, whole = tests.make_network(), tests.make_network()
for each in (network, whole):
    each.eval()
inputs, wanted = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 2
own = torch.from_numpy(ranks.share(np.arange(8)))
torch.nn.functional.cross_entropy(network(inputs[own]), wanted[own]).backward()
before = network.dense2.weight.grad.clone()
ranks.average_gradients(network)
torch.nn.functional.cross_entropy(whole(inputs), wanted).backward()
pairs = list(zip(network.parameters(), whole.parameters()))
worst = max(float((first.grad - second.grad).abs().max()) for first, second in pairs)

def make():
    there = (out / "made").exists()
    time.sleep(0.2 * ranks.first)
    (out / "made").touch()
    return there

found = ranks.after_first(make)
fitted = tests.make_network()
fit = tests.fit_course(fitted, tests.make_pictures(), tests.COURSE, tests.SPEC,
                       checkpoint=out / f"{ranks.number}.pt", ranks=ranks)
says = {
    "count": ranks.count, "share": own.tolist(), "seed": ranks.own_seed(5), "worst": worst,
    "moved": float((network.dense2.weight.grad - before).abs().max()), "found": found, "stages": len(fit),
    "weights": [float(parameter.detach().double().sum()) for parameter in fitted.parameters()],
    "losses": [epoch.train_loss for epoch in fit],
}
(out / f"{ranks.number}.json").write_text(json.dumps(says))
distributed.destroy_process_group()
"""


def test_a_single_process_keeps_its_batch_its_seed_and_its_gradients() -> None:
    alone = Ranks(0, 1, torch.device("cpu"))
    layer = torch.nn.Linear(2, 1)
    layer(torch.ones(3, 2)).sum().backward()
    kept = layer.weight.grad.clone()
    alone.average_gradients(layer)
    assert torch.equal(layer.weight.grad, kept)
    assert (alone.first, alone.own_seed(7), alone.share(np.arange(4)).tolist()) == (True, 7, [0, 1, 2, 3])
    assert alone.after_first(lambda: 3) == 3


@pytest.mark.parametrize("count", [2, 3, 4])
def test_processes_share_a_batch_and_never_a_seed(count: int) -> None:
    ranks = [Ranks(number, count, torch.device("cpu")) for number in range(count)]
    parts = [each.share(np.arange(12)) for each in ranks]
    assert sorted(np.concatenate(parts).tolist()) == list(range(12))
    assert {len(part) for part in parts} == {12 // count}
    seeds = [each.own_seed(seed) for each in ranks for seed in range(10)]
    assert len(set(seeds)) == len(seeds)
    assert [each.first for each in ranks] == [True] + [False] * (count - 1)


def test_without_torchrun_a_process_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    ranks = join_ranks()
    assert (ranks.number, ranks.count) == (0, 1)
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("command", ["gate", "papers-recipe"])
def test_what_works_in_one_process_leaves_the_others_of_torchrun_idle(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    argv = ["training", command, "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--cache", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", argv)
    main()
    assert "This command works in one process" in capsys.readouterr().err
    assert (list(tmp_path.iterdir()), torch.distributed.is_initialized()) == ([], False)


def test_two_processes_of_torchrun_make_one_fit(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    launch = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
    places = (ROOT, ROOT / "tests", ROOT / "tests" / "inference", ROOT / "tests" / "training")
    loopback = {"PYTHONPATH": ":".join(map(str, places)), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, *launch, str(script), str(tmp_path)]
        run = subprocess.Popen(command, env=os.environ | loopback, cwd=ROOT, stdout=log, stderr=log)
        try:
            code = run.wait(timeout=100)
        finally:
            run.terminate()  # it ends its two processes; a kill would leave them behind
            run.wait()
    assert code == 0, (tmp_path / "log").read_text()[-3000:]
    first, second = (json.loads((tmp_path / f"{number}.json").read_text()) for number in (0, 1))
    assert (first["count"], first["share"], second["share"]) == (2, [0, 2, 4, 6], [1, 3, 5, 7])
    assert (first["seed"], second["seed"]) == (10, 11)
    assert (first["found"], second["found"]) == (False, True)
    for each in (first, second):
        assert each["worst"] < 1e-6 < each["moved"]
    assert first["weights"] == second["weights"]
    assert first["losses"] != second["losses"]
    assert (first["stages"], [path.name for path in tmp_path.glob("*.pt")]) == (3, ["0.pt"])
