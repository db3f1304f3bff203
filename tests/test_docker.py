"""What stands in docker/, held against schemas and documentation: no engine runs here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / "docker"
# KubeRay's API reference, ray.io/v1 (1.5.1 and newer): the fields of each type that may be used
# here.
RAY_JOB = {
    "entrypoint",
    "runtimeEnvYAML",
    "submissionMode",
    "backoffLimit",
    "shutdownAfterJobFinishes",
    "ttlSecondsAfterFinished",
    "activeDeadlineSeconds",
    "rayClusterSpec",
    "clusterSelector",
    "submitterPodTemplate",
    "submitterConfig",
    "metadata",
    "jobId",
    "entrypointNumCpus",
    "entrypointNumGpus",
    "entrypointResources",
    "suspend",
    "managedBy",
    "deletionStrategy",
    "schedule",
}
RAY_CLUSTER = {
    "rayVersion",
    "authOptions",
    "headGroupSpec",
    "workerGroupSpecs",
    "autoscalerOptions",
    "enableInTreeAutoscaling",
    "gcsFaultToleranceOptions",
    "headServiceAnnotations",
    "managedBy",
    "suspend",
}
HEAD_GROUP = {
    "rayStartParams",
    "template",
    "serviceType",
    "headService",
    "enableIngress",
    "resources",
    "labels",
}
WORKER_GROUP = {
    "groupName",
    "replicas",
    "minReplicas",
    "maxReplicas",
    "rayStartParams",
    "template",
    "scaleStrategy",
    "suspend",
    "numOfHosts",
    "idleTimeoutSeconds",
    "resources",
    "labels",
}


def composition() -> dict[str, Any]:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())  # type: ignore[no-any-return]


def test_the_compositions_follow_the_compose_specification() -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        DOCKER / "compose.yaml",
        DOCKER / "compose.gpu.yaml",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_port_is_published_on_loopback_alone() -> None:
    ports = [
        port for service in composition()["services"].values() for port in service.get("ports", [])
    ]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_value_that_the_composition_asks_for_is_in_the_example() -> None:
    asked = {
        name
        for path in DOCKER.glob("compose*.yaml")
        for name in re.findall(r"\$\{(\w+)", path.read_text())
    }
    assert asked == set(re.findall(r"^(\w+)=", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    secrets = [
        line
        for line in (DOCKER / ".env.example").read_text().splitlines()
        if re.match(r"\w*(TOKEN|PASSWORD|KEY)=", line)
    ]
    assert len(secrets) == 4
    assert all(line.endswith("=") for line in secrets)  # none that works without being chosen
    text = (DOCKER / "compose.yaml").read_text()
    assert all(f"${{{line[:-1]}:?" in text for line in secrets)


def test_one_worker_has_all_gpus() -> None:
    worker = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())["services"]["worker"]
    assert (
        worker["deploy"]["replicas"] == 1
    )  # each of several containers would be given the first GPU
    (devices,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (devices["count"], devices["capabilities"]) == ("all", ["gpu"])


def test_volumes_and_services_that_are_named_exist() -> None:
    whole = composition()
    for service in whole["services"].values():
        named = [
            volume.split(":")[0]
            for volume in service.get("volumes", [])
            if not volume.startswith(("$", ".", "/"))
        ]
        assert set(named) <= set(whole["volumes"])
        assert set(service.get("depends_on", {})) <= set(whole["services"])
        for other, wanted in service.get(
            "depends_on", {}
        ).items():  # health can be waited for where there is a check
            assert wanted["condition"] == "service_healthy"
            assert (
                "healthcheck" in whole["services"][other]
                or whole["services"][other]["image"] == "refocus"
            )


def test_what_the_dockerfile_copies_is_there_and_it_ends_as_an_ordinary_user() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    copied = [
        name
        for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE)
        for name in line.split()[:-1]
    ]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert (
        re.findall(r"^USER (\w+)$", text.split("FROM program AS test")[0], re.MULTILINE)[-1]
        == "refocus"
    )
    assert "git clone" not in text
    assert re.search(
        r"^ARG PYTHON=3\.11\.\d+-", text, re.MULTILINE
    )  # one version, not whatever is newest


def test_the_ray_job_uses_documented_fields_alone() -> None:
    job = yaml.safe_load(
        (DOCKER / "rayjob.yaml").read_text()
    )  # and nothing else: deleting it must not delete the studies
    claim = yaml.safe_load((DOCKER / "storage.yaml").read_text())
    assert (claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert set(spec) <= RAY_JOB
    assert set(cluster) <= RAY_CLUSTER
    assert set(cluster["headGroupSpec"]) <= HEAD_GROUP
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode")
    assert cluster["authOptions"] == {"mode": "token"}
    assert yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "60"}
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {
            mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]
        } <= volumes
        assert any(
            volume.get("persistentVolumeClaim", {}).get("claimName") == claim["metadata"]["name"]
            for volume in pod["volumes"]
        )
        for container in pod["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"]
    for group in cluster["workerGroupSpecs"]:
        assert set(group) <= WORKER_GROUP
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_the_version_of_ray_is_the_one_that_is_installed() -> None:
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    job = yaml.safe_load((DOCKER / "rayjob.yaml").read_text())
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]


def test_the_job_starts_a_study_that_can_be_parsed(tmp_path: Path) -> None:
    from study.command_line import parse

    job = yaml.safe_load((DOCKER / "rayjob.yaml").read_text())
    words = job["spec"]["entrypoint"].split()
    assert words[:2] == ["python", "study/run.py"]
    config = parse(words[2:])
    assert config.resources.gpus_per_trial == "auto"
    assert config.resources.node_folder == "/scratch"
