"""The manifests of packaging/kubernetes, rendered by kustomize, held to the schemas of Kubernetes, to its restricted
pod security, and to what hookward's own configuration and Containerfile say."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from copy import deepcopy
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest

import proxy
from proxy.config.notation import parse_size, parse_time
from tests.kustomized import FOLDER, Manifest, of_kind, rendered

#: The first with the `sleep` of preStop, and the newest whose schemas are known.
VERSIONS = ("1.30", kubernetes_validate.latest_version())
NAMES = ("base", "overlays/aws-nlb")
CONTAINERFILE = (FOLDER.parent / "Containerfile").read_text()
MIB = 1 << 20
#: What hookward takes beside its buffers, with room.
BESIDE_BUFFERS = 128 * MIB
REDIS_PORT = 6379


@pytest.fixture(params=NAMES)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return deepcopy(rendered(request.param))


def deployment(manifests: list[Manifest], name: str = "hookward") -> dict[str, Any]:
    spec: dict[str, Any] = of_kind(manifests, "Deployment", name)["spec"]
    return spec


def pod(manifests: list[Manifest], name: str = "hookward") -> dict[str, Any]:
    spec: dict[str, Any] = deployment(manifests, name)["template"]["spec"]
    return spec


def container(manifests: list[Manifest], name: str = "hookward") -> dict[str, Any]:
    [only] = pod(manifests, name)["containers"]
    return dict(only)


def config(manifests: list[Manifest]) -> dict[str, Any]:
    return tomllib.loads(of_kind(manifests, "ConfigMap")["data"]["hookward.toml"])


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def ports(manifests: list[Manifest], name: str = "hookward") -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container(manifests, name)["ports"]}


def mib(text: str) -> int:
    assert text.endswith("Mi")
    return int(text.removesuffix("Mi")) * MIB


def gib(text: str) -> int:
    assert text.endswith("Gi")
    return int(text.removesuffix("Gi")) * 1024 * MIB


def templates(manifests: list[Manifest]) -> list[tuple[str, dict[str, Any]]]:
    return [(one["metadata"]["name"], one["spec"]["template"]) for one in manifests if one["kind"] == "Deployment"]


def mounted(spec: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Where the volumes of a kind are in the one container: path to volume."""
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    [only] = spec["containers"]
    assert {mount["name"] for mount in only["volumeMounts"]} == set(volumes)
    found = {mount["mountPath"]: volumes[mount["name"]] for mount in only["volumeMounts"]}
    return {path: volume for path, volume in found.items() if kind in volume}


class TestSchemas:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_kubernetes_knows_every_field(self, manifests: list[Manifest], version: str) -> None:
        for manifest in manifests:
            assert kubernetes_validate.validate(manifest, version, strict=True)

    def test_and_would_say_so_of_one_that_it_does_not_know(self, manifests: list[Manifest]) -> None:
        container(manifests)["lifecycle"]["preStop"]["slumber"] = {}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(of_kind(manifests, "Deployment"), VERSIONS[-1], strict=True)

    def test_every_file_is_named(self) -> None:
        for folder in (FOLDER / name for name in NAMES):
            named = set(
                re.findall(
                    r"^ +-(?: path:)? (\w[\w-]*\.\w+)$", (folder / "kustomization.yaml").read_text(), re.MULTILINE
                )
            )
            assert named == {path.name for path in folder.iterdir()} - {"kustomization.yaml"}

    def test_all_is_in_one_namespace(self, manifests: list[Manifest]) -> None:
        home = of_kind(manifests, "Namespace")["metadata"]["name"]
        assert {one["metadata"].get("namespace", home) for one in manifests} == {home}


class TestSelectors:
    def test_each_finds_the_pods_that_are_meant(self, manifests: list[Manifest]) -> None:
        for manifest, selector in selectors(manifests):
            name = manifest["metadata"]["name"]
            found = [
                one
                for one, template in templates(manifests)
                if selector.items() <= template["metadata"]["labels"].items()
            ]
            assert found == [name], (manifest["kind"], selector)

    def test_what_is_named_is_there(self, manifests: list[Manifest]) -> None:
        there = {(one["kind"], one["metadata"]["name"]) for one in manifests}
        target = of_kind(manifests, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) in there
        for name, template in templates(manifests):
            for volume in mounted(template["spec"], "configMap").values():
                assert ("ConfigMap", volume["configMap"]["name"]) in there, name


def selectors(manifests: list[Manifest]) -> Iterator[tuple[Manifest, dict[str, str]]]:
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] == "Service":
            yield manifest, spec["selector"]
        elif manifest["kind"] == "NetworkPolicy":
            yield manifest, spec["podSelector"]["matchLabels"]
        elif "selector" in spec:
            yield manifest, spec["selector"]["matchLabels"]
        for constraint in spec.get("template", {}).get("spec", {}).get("topologySpreadConstraints", []):
            yield manifest, constraint["labelSelector"]["matchLabels"]


#: https://kubernetes.io/docs/concepts/security/pod-security-standards/, the profile "restricted", and what a daemon
#: that asks the API server nothing can do without besides.
RESTRICTED: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "no namespaces of the node": lambda pod, _: not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(),
    "not root": lambda pod, _: pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0,
    "seccomp": lambda pod, _: pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"},
    "no sysctls": lambda pod, _: "sysctls" not in pod["securityContext"],
    "volumes": lambda pod, _: (
        {key for one in pod["volumes"] for key in one} <= {"name", "configMap", "secret", "emptyDir"}
    ),
    "no more privileges": lambda _, one: one["securityContext"]["allowPrivilegeEscalation"] is False,
    "not privileged": lambda _, one: "privileged" not in one["securityContext"],
    "no capabilities": lambda _, one: one["securityContext"]["capabilities"] == {"drop": ["ALL"]},
    "no ports of the node": lambda _, one: all("hostPort" not in port for port in one["ports"]),
    "nothing is written to the image": lambda _, one: one["securityContext"]["readOnlyRootFilesystem"] is True,
    "no token of the API server": lambda pod, _: pod["automountServiceAccountToken"] is False,
    "memory is bounded": lambda _, one: one["resources"]["limits"]["memory"],
    "secrets are files": lambda _, one: not {"env", "envFrom"} & one.keys(),
    "and closed to others": lambda pod, _: all(
        volume["secret"]["defaultMode"] == 0o440 for volume in pod["volumes"] if "secret" in volume
    ),
    "whose group is ours": lambda pod, _: pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"],
}


@pytest.mark.parametrize("rule", RESTRICTED)
def test_restricted(manifests: list[Manifest], rule: str) -> None:
    for name, template in templates(manifests):
        spec = template["spec"]
        assert "initContainers" not in spec
        assert all(RESTRICTED[rule](spec, one) for one in spec["containers"]), name


def test_the_namespace_takes_no_others(manifests: list[Manifest]) -> None:
    labels = of_kind(manifests, "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


class TestImage:
    def test_it_is_that_of_the_containerfile(self, manifests: list[Manifest]) -> None:
        assert re.fullmatch(rf"(?:registry\.example\.com/)?hookward:{proxy.__version__}", container(manifests)["image"])
        user, group = re.findall(r"^USER (\d+):(\d+)$", CONTAINERFILE, re.MULTILINE)[-1]
        context = pod(manifests)["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
        assert not {"command", "args"} & container(manifests).keys()

    def test_its_configuration_is_mounted_where_it_looks(self, manifests: list[Manifest]) -> None:
        [words] = re.findall(r"^CMD (.*)$", CONTAINERFILE, re.MULTILINE)
        path = Path(json.loads(words)[1])
        volume = mounted(pod(manifests), "configMap")[str(path.parent)]
        assert path.name in of_kind(manifests, "ConfigMap")["data"]
        assert volume["configMap"]["name"] == of_kind(manifests, "ConfigMap")["metadata"]["name"]

    def test_what_it_writes_to_can_be_written_to(self, manifests: list[Manifest]) -> None:
        [state] = re.findall(r"HOOKWARD_STATE_DIR=(\S+)", CONTAINERFILE)
        assert set(mounted(pod(manifests), "emptyDir")) == {state, "/tmp"}
        assert all(volume["emptyDir"]["sizeLimit"] for volume in mounted(pod(manifests), "emptyDir").values())


class TestPorts:
    def test_they_are_those_of_the_configuration(self, manifests: list[Manifest]) -> None:
        found = config(manifests)
        assert ports(manifests) == {"https": port_of(found["listen"][0]), "admin": port_of(found["admin"])}
        [exposed] = re.findall(r"^EXPOSE (.*)$", CONTAINERFILE, re.MULTILINE)
        assert {str(port) for port in ports(manifests).values()} <= set(exposed.split())

    def test_the_world_reaches_one_of_them(self, manifests: list[Manifest]) -> None:
        spec = of_kind(manifests, "Service")["spec"]
        assert spec["type"] == "LoadBalancer"
        assert [(port["port"], port["targetPort"]) for port in spec["ports"]] == [(443, "https")]
        [redis] = of_kind(manifests, "Service", "hookward-redis")["spec"]["ports"]
        assert ports(manifests, "hookward-redis") == {redis["targetPort"]: redis["port"]} == {"redis": REDIS_PORT}

    def test_probes_ask_the_admin_listener(self, manifests: list[Manifest]) -> None:
        one = container(manifests)
        asked = {kind: one[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        assert {probe["port"] for probe in asked.values()} == {"admin"}
        paths = {kind: probe["path"] for kind, probe in asked.items()}
        assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz?exclude=upstream"}

    def test_prometheus_finds_it(self, manifests: list[Manifest]) -> None:
        notes = deployment(manifests)["template"]["metadata"]["annotations"]
        assert notes["prometheus.io/port"] == str(ports(manifests)["admin"])

    def test_the_network_lets_these_in_and_no_others(self, manifests: list[Manifest]) -> None:
        policy = of_kind(manifests, "NetworkPolicy")["spec"]
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
        rules = {rule["ports"][0]["port"]: rule["from"] for rule in policy["ingress"]}
        assert sorted(rules) == sorted(ports(manifests).values())
        balancers = rules[ports(manifests)["https"]]
        assert [one["ipBlock"]["cidr"] for one in balancers] == config(manifests)["trusted_proxies"]
        [redis] = of_kind(manifests, "NetworkPolicy", "hookward-redis")["spec"]["ingress"]
        assert redis["from"] == [{"podSelector": deployment(manifests)["selector"]}]
        assert [port["port"] for port in redis["ports"]] == [REDIS_PORT]

    def test_and_lets_out_what_hookward_asks_for(self, manifests: list[Manifest]) -> None:
        egress = of_kind(manifests, "NetworkPolicy")["spec"]["egress"]
        to = {port["port"]: rule["to"][0] for rule in egress for port in rule["ports"]}
        app = urlsplit(config(manifests)["upstream"])
        assert set(to) == {53, app.port, REDIS_PORT, 443}
        assert (
            to[app.port]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            == app.hostname.split(".")[1]
        )
        assert to[REDIS_PORT] == {"podSelector": deployment(manifests, "hookward-redis")["selector"]}
        outside = [ip_network(inner) for inner in to[443]["ipBlock"]["except"]]
        assert any(ip_network("169.254.169.254/32").subnet_of(net) for net in outside)  # credentials of the node


class TestSecrets:
    def test_every_file_of_the_configuration_is_mounted(self, manifests: list[Manifest]) -> None:
        text = of_kind(manifests, "ConfigMap")["data"]["hookward.toml"]
        files = [Path(path) for path in re.findall(r'"(?:file:)?(/[^"]+)"', text) if not path.startswith("/hooks/")]
        secret = mounted(pod(manifests), "secret")
        assert {str(path.parent) for path in files} == set(secret)
        assert {volume["secret"]["secretName"] for volume in secret.values()} == {"hookward", "hookward-tls"}

    def test_no_secret_is_in_a_manifest(self, manifests: list[Manifest]) -> None:
        assert "Secret" not in {one["kind"] for one in manifests}
        assert urlsplit(config(manifests)["duplicates"]["url"]).scheme == "file"

    def test_the_password_of_redis_comes_from_a_file(self, manifests: list[Manifest]) -> None:
        spec, text = (
            pod(manifests, "hookward-redis"),
            of_kind(manifests, "ConfigMap", "hookward-redis")["data"]["redis.conf"],
        )
        [included] = re.findall(r"^include (\S+)$", text, re.MULTILINE)
        assert str(Path(included).parent) in mounted(spec, "secret")
        [conf] = container(manifests, "hookward-redis")["command"][1:]
        assert str(Path(conf).parent) in mounted(spec, "configMap")
        [most] = re.findall(r"^maxmemory (\d+)mb$", text, re.MULTILINE)
        assert int(most) * MIB < mib(container(manifests, "hookward-redis")["resources"]["limits"]["memory"])
        assert f"\nport {REDIS_PORT}\n" in f"\n{text}"


class TestLife:
    def test_there_is_time_for_the_drain(self, manifests: list[Manifest]) -> None:
        before = container(manifests)["lifecycle"]["preStop"]["sleep"]["seconds"]
        drain = parse_time(config(manifests)["drain"])
        assert before > 0
        assert pod(manifests)["terminationGracePeriodSeconds"] > before + drain

    def test_the_buffers_fit_into_the_memory(self, manifests: list[Manifest]) -> None:
        budget = parse_size(config(manifests)["limits"]["buffer_budget"])
        assert mib(container(manifests)["resources"]["limits"]["memory"]) >= budget + BESIDE_BUFFERS

    def test_and_large_bodies_into_the_volume(self, manifests: list[Manifest]) -> None:
        budget = parse_size(config(manifests)["limits"]["spill_budget"])
        assert gib(mounted(pod(manifests), "emptyDir")["/tmp"]["emptyDir"]["sizeLimit"]) > budget

    def test_the_autoscaler_alone_says_how_many(self, manifests: list[Manifest]) -> None:
        spec = of_kind(manifests, "HorizontalPodAutoscaler")["spec"]
        assert "replicas" not in deployment(manifests)
        assert 2 <= spec["minReplicas"] < spec["maxReplicas"]
        assert [metric["resource"]["name"] for metric in spec["metrics"]] == ["cpu"]
        assert container(manifests)["resources"]["requests"]["cpu"]  # a share of nothing cannot be measured

    def test_one_pod_at_a_time_goes(self, manifests: list[Manifest]) -> None:
        assert of_kind(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
        assert deployment(manifests)["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}

    def test_pods_share_what_they_remember(self, manifests: list[Manifest]) -> None:
        found = config(manifests)
        assert found["duplicates"]["store"] == "redis"
        assert found["route"]["github"]["duplicates"] == "refuse-delivered"


class TestLoadBalancer:
    def test_who_connects_must_be_named(self, manifests: list[Manifest]) -> None:
        assert config(manifests)["proxy_protocol"] == "require"

    def test_that_of_aws_names_whom_it_speaks_for(self) -> None:
        manifests = rendered("overlays/aws-nlb")
        service = of_kind(manifests, "Service")
        prefix = "service.beta.kubernetes.io/aws-load-balancer-"
        said = {key.removeprefix(prefix): value for key, value in service["metadata"]["annotations"].items()}
        assert (said["proxy-protocol"], said["nlb-target-type"]) == ("*", "ip")
        assert (said["healthcheck-protocol"], said["healthcheck-port"]) == ("TCP", "traffic-port")
        attributes = dict(pair.split("=") for pair in said["target-group-attributes"].split(","))
        assert attributes.pop("proxy_protocol_v2.enabled") == "true"
        assert attributes.pop("preserve_client_ip.enabled") == "false"
        delay = int(attributes.pop("deregistration_delay.timeout_seconds"))
        assert delay >= pod(manifests)["terminationGracePeriodSeconds"]
        assert not attributes
        assert service["spec"]["loadBalancerClass"] == "service.k8s.aws/nlb"


def test_the_overlay_changes_nothing_but_what_it_means_to() -> None:
    both = zip(rendered("base"), rendered("overlays/aws-nlb"), strict=True)
    changed = [before["kind"] for before, after in both if before != after]
    assert changed == ["Namespace", "ConfigMap", "Service", "Deployment", "NetworkPolicy"]
