from __future__ import annotations

from pathlib import Path

import pytest

from study.config import ResourcesConfig
from study.data.store import Store
from study.errors import StudyError
from study.tune import cluster
from study.tune.cluster import Places, count_places
from study.tune.gpu_shares import choose_share

GIB = 2**30


@pytest.mark.parametrize(
    ("nodes", "needed", "expected"),
    [
        ([{"CPU": 8, "GPU": 2}], {"CPU": 1, "GPU": 0.25}, Places(8, "", 8)),
        ([{"CPU": 3, "GPU": 2}], {"CPU": 1, "GPU": 0.25}, Places(3, "CPU", 8)),
        ([{"CPU": 16, "GPU": 1}], {"CPU": 2, "GPU": 0.5}, Places(2, "GPU", 8)),
        (
            [{"CPU": 4}, {"CPU": 4, "GPU": 1}],
            {"CPU": 1, "GPU": 0.5},
            Places(2, "GPU", 8),
        ),  # a node without GPUs holds none
        (
            [{"CPU": 3}, {"CPU": 3}],
            {"CPU": 2},
            Places(2, "", 2),
        ),  # the third processors of two nodes make no place
        (
            [{"CPU": 1, "GPU": 1}],
            {"CPU": 1, "GPU": 1 / 3},
            Places(1, "CPU", 3),
        ),  # three thirds are one, in spite of rounding
    ],
)
def test_places_are_counted_node_by_node(
    nodes: list[dict[str, float]], needed: dict[str, float], expected: Places
) -> None:
    assert count_places(nodes, needed) == expected


def test_what_no_node_holds_is_refused_with_what_the_nodes_have() -> None:
    with pytest.raises(
        StudyError,
        match=(
            r"needs 4 CPUs and 0.5 GPUs on one node; the nodes have: 2 CPUs, 1 GPUs; 8 CPUs, 0 GPUs"
        ),
    ):
        count_places([{"CPU": 2, "GPU": 1}, {"CPU": 8}], {"CPU": 4, "GPU": 0.5})


def test_the_resource_that_binds_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        cluster.ray,
        "nodes",
        lambda: [{"Alive": True, "Resources": {"CPU": 3.0, "GPU": 2.0}}, {"Alive": False}],
    )
    said = cluster.describe_places(ResourcesConfig(cpus_per_trial=1, gpus_per_trial=0.25))
    assert (
        said == "3 trials at once, 1 CPU and 0.25 GPUs each; the CPUs bind: the GPUs would hold 8"
    )


def test_gpus_that_nobody_asks_for_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        cluster.ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 2.0}}]
    )
    assert "2 GPUs of the cluster idle: set resources.gpus_per_trial" in cluster.describe_places(
        ResourcesConfig(cpus_per_trial=1)
    )


def test_memory_is_that_of_the_nodes_that_hold_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    head, worker = {"CPU": 0.0, "memory": 2.0 * GIB}, {"CPU": 8.0, "memory": 30.0 * GIB}
    monkeypatch.setattr(
        cluster.ray,
        "nodes",
        lambda: [{"Alive": True, "Resources": node} for node in (head, worker)],
    )
    assert cluster.node_rooms(ResourcesConfig(cpus_per_trial=2)) == [(4, 30.0 * GIB)]


def test_what_was_given_with_a_submission_is_not_given_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    assert cluster._variables_of_job() == set()
    monkeypatch.setenv(
        "RAY_JOB_CONFIG_JSON_ENV_VAR",
        '{"runtime_env": {"env_vars": {"KERAS_BACKEND": "jax"}}, "metadata": {}}',
    )
    assert cluster._variables_of_job() == {"KERAS_BACKEND"}


def test_a_node_says_what_it_does_not_see(store: Store, tmp_path: Path) -> None:
    folder, mark, probe = str(store.folder), store.fingerprint, tmp_path / "seen"
    assert cluster._look(folder, mark, str(probe), None) == ""
    assert probe.exists()
    assert str(tmp_path / "away") in cluster._look(str(tmp_path / "away"), mark, str(probe), None)
    assert "others than those" in cluster._look(folder, "0" * 64, str(probe), None)
    assert "does not see" in cluster._look(folder, mark, str(tmp_path / "storage" / "seen"), None)
    (tmp_path / "file").touch()
    assert "resources.node_folder" in cluster._look(
        folder, mark, str(probe), str(tmp_path / "file" / "near")
    )


@pytest.mark.parametrize(
    ("used", "cpus", "share", "binding"),
    [
        (
            {"bytes": 3 * GIB, "total_bytes": 16 * GIB, "busy": 0.1},
            16,
            1 / 3,
            "its memory",
        ),  # 16 / (3 * 1.25 + 0.59) = 3.7
        ({"bytes": 1 * GIB, "total_bytes": 80 * GIB, "busy": 0.4}, 16, 1 / 2, "its time"),
        (
            {"bytes": 1 * GIB, "total_bytes": 80 * GIB, "busy": 0.05},
            4,
            1 / 4,
            "the processors beside it",
        ),
        ({"bytes": 1 * GIB, "total_bytes": 80 * GIB, "busy": 0.01}, 64, 1 / 8, "the bound"),
        ({"bytes": 70 * GIB, "total_bytes": 80 * GIB, "busy": 0.9}, 64, 1.0, "its memory"),
    ],
)
def test_a_share_is_chosen_by_what_binds(
    used: dict[str, float], cpus: float, share: float, binding: str
) -> None:
    chosen, why = choose_share(used, cpus=cpus)
    assert chosen == share
    assert f"{binding} binds" in why


def test_a_gpu_that_cannot_be_measured_is_not_shared() -> None:
    share, why = choose_share(None, cpus=8)
    assert share == 1
    assert "could not be measured" in why
