"""Kubeflow's Python SDK 1.9.4 as a client: its cases S2 to S5, as far as they need no container.

Needs KUBECONFIG, of an administrator, and NAMESPACE, which an operator serves. Pods are played: nobody schedules them,
and their phase is what a test writes.
"""

import os
import time
import unittest

from kubeflow.training import KubeflowOrgV1PyTorchJob
from kubeflow.training import KubeflowOrgV1PyTorchJobSpec
from kubeflow.training import KubeflowOrgV1ReplicaSpec
from kubeflow.training import KubeflowOrgV1RunPolicy
from kubeflow.training import TrainingClient
from kubernetes import client as kubernetes

TIMEOUT = 60
NAMESPACE = os.environ["NAMESPACE"]


def train():
    print("one step")


def until(condition):
    """The first true answer of `condition`."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {TIMEOUT} s")


class Sdk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sdk = TrainingClient(config_file=os.environ["KUBECONFIG"], namespace=NAMESPACE)

    def replica(self):
        container = kubernetes.V1Container(name="pytorch", image="dist-mnist", args=["--backend", "gloo"])
        template = kubernetes.V1PodTemplateSpec(spec=kubernetes.V1PodSpec(containers=[container]))
        return KubeflowOrgV1ReplicaSpec(replicas=1, restart_policy="OnFailure", template=template)

    def job(self, name, managed_by=None):
        return KubeflowOrgV1PyTorchJob(
            api_version="kubeflow.org/v1",
            kind="PyTorchJob",
            metadata=kubernetes.V1ObjectMeta(name=name, namespace=NAMESPACE),
            spec=KubeflowOrgV1PyTorchJobSpec(
                run_policy=KubeflowOrgV1RunPolicy(clean_pod_policy="None", managed_by=managed_by),
                pytorch_replica_specs={"Master": self.replica(), "Worker": self.replica()},
            ),
        )

    def pods(self, name, *replicas):
        """Waits for exactly these pods."""
        expected = [f"{name}-{replica}" for replica in replicas]
        until(lambda: sorted(self.sdk.get_job_pod_names(name)) == expected)
        return expected

    def play(self, pods, phase):
        """What a kubelet reports, once for each pod."""
        for pod in pods:
            self.sdk.core_api.patch_namespaced_pod_status(pod, NAMESPACE, {"status": {"phase": phase}})

    def wait(self, name, condition):
        return self.sdk.wait_for_job_conditions(
            name, expected_conditions={condition}, wait_timeout=TIMEOUT, polling_interval=1
        )

    def succeed(self, name, pods):
        self.play(pods, "Running")
        self.wait(name, "Running")
        self.play(pods, "Succeeded")
        return self.wait(name, "Succeeded")

    def test_s2_a_job_from_an_object_succeeds_and_has_the_conditions_that_the_client_asks_for(self):
        self.sdk.create_job(self.job("plain"))
        pods = self.pods("plain", "master-0", "worker-0")
        self.assertTrue(self.sdk.is_job_created("plain"))
        job = self.succeed("plain", pods)

        conditions = self.sdk.get_job_conditions("plain")
        self.assertGreaterEqual(len(conditions), 2)
        self.assertEqual([c.type for c in conditions if c.status == "True"], ["Created", "Succeeded"])
        self.assertTrue(self.sdk.is_job_succeeded("plain"))
        for other in (self.sdk.is_job_running, self.sdk.is_job_restarting, self.sdk.is_job_failed):
            self.assertFalse(other("plain"))
        # What the notebooks read.
        self.assertEqual(job.status.replica_statuses["Master"].succeeded, 1)

    def test_the_pods_that_logs_are_read_from_are_found_by_role_type_and_index(self):
        self.sdk.create_job(self.job("logs"))
        self.pods("logs", "master-0", "worker-0")
        names = self.sdk.get_job_pod_names
        self.assertEqual(names("logs", is_master=True), ["logs-master-0"])
        self.assertEqual(names("logs", replica_type="worker"), ["logs-worker-0"])
        self.assertEqual(names("logs", replica_type="worker", replica_index=0), ["logs-worker-0"])
        self.assertEqual(names("logs", replica_type="worker", replica_index=1), [])

    def test_s3_a_manager_that_is_not_known_is_refused_and_the_others_are_listed(self):
        before = {job.metadata.name for job in self.sdk.list_jobs()}
        self.sdk.create_job(self.job("own", "kubeflow.org/training-operator"))
        self.sdk.create_job(self.job("multikueue", "kueue.x-k8s.io/multikueue"))
        with self.assertRaisesRegex(RuntimeError, "managedBy"):
            self.sdk.create_job(self.job("invalid", "invalid.example/manager"))
        listed = {job.metadata.name for job in self.sdk.list_jobs()} - before
        self.assertEqual(listed & {"own", "multikueue", "invalid"}, {"own", "multikueue"})

        until(lambda: self.sdk.is_job_created("own"))
        self.assertIsNone(self.sdk.get_job("multikueue").status)

    def test_s4_a_job_from_a_function_runs_torchrun_on_every_rank_with_its_environment(self):
        self.sdk.create_job(name="function", train_func=train, num_workers=3, num_procs_per_worker=2)
        names = self.pods("function", "master-0", "worker-0", "worker-1")
        for rank, pod in enumerate(sorted(self.sdk.get_job_pods("function"), key=lambda pod: pod.metadata.name)):
            container = pod.spec.containers[0]
            self.assertIn("torchrun", " ".join(container.command + container.args))
            environment = {variable.name: variable.value for variable in container.env}
            expected = {
                "PET_NNODES": "3",
                "PET_NPROC_PER_NODE": "2",
                "PET_NODE_RANK": str(rank),
                "PET_MASTER_ADDR": "function-master-0",
                "PET_MASTER_PORT": "23456",
            }
            self.assertEqual({name: environment.get(name) for name in expected}, expected)
        self.succeed("function", names)

    def test_s5_a_job_from_an_image_with_one_worker_is_a_master(self):
        self.sdk.create_job(name="image", base_image="hello-world", num_workers=1)
        self.succeed("image", self.pods("image", "master-0"))

    def test_a_job_that_fails_is_failed_to_the_client(self):
        job = self.job("fails")
        job.spec.pytorch_replica_specs["Master"].restart_policy = "Never"
        self.sdk.create_job(job)
        pods = self.pods("fails", "master-0", "worker-0")
        self.play(pods[:1], "Failed")
        self.wait("fails", "Failed")
        self.assertTrue(self.sdk.is_job_failed("fails"))
        with self.assertRaisesRegex(RuntimeError, "Failed"):
            self.wait("fails", "Succeeded")

    def test_a_job_with_our_policies_and_status_is_read_and_keeps_them_when_the_client_updates_it(self):
        ours = {
            "restartScope": "Job",
            "restartStrategy": "Recreate",
            "restartWindow": {"restarts": 3, "seconds": 3600},
            "failurePolicy": {"rules": [{"class": "ImportError", "action": "FailJob"}]},
            "gracefulStopSeconds": 60,
            "nodeExclusion": {"afterFailures": 1, "windowSeconds": 3600, "max": 1},
            "progressPolicy": {"file": "/log", "deadlineSeconds": 600, "startupSeconds": 600, "action": "Restart"},
            "servicePolicy": "Rendezvous",
            "startupDeadlineSeconds": 3600,
            "startupDeadlineAction": "Suspend",
            "unreachableSeconds": 60,
        }
        job = self.sdk.api_client.sanitize_for_serialization(self.job("ours"))
        job["spec"]["runPolicy"].update(ours)
        jobs = ("kubeflow.org", "v1", NAMESPACE, "pytorchjobs")
        self.sdk.custom_api.create_namespaced_custom_object(*jobs, job)
        pods = self.pods("ours", "master-0", "worker-0")
        self.play(pods, "Running")
        self.wait("ours", "Running")
        self.play(pods[1:], "Failed")
        stored = lambda: self.sdk.custom_api.get_namespaced_custom_object(*jobs, "ours")
        until(lambda: len(stored()["status"].get("attempts", [])) == 2)

        self.assertIn("ours", [job.metadata.name for job in self.sdk.list_jobs()])
        self.assertTrue(self.sdk.is_job_restarting("ours"))
        job = self.sdk.get_job("ours")
        self.assertEqual(job.status.replica_statuses["Master"].active, 1)
        job.spec.run_policy.suspend = True
        self.sdk.update_job(job, "ours")
        self.pods("ours")
        policies = stored()["spec"]["runPolicy"]
        self.assertEqual({field: policies.get(field) for field in ours}, ours)
        self.assertLessEqual({"accounting", "attempts", "firstFailure", "restarts"}, stored()["status"].keys())

    def test_an_update_acts_and_a_deletion_takes_the_pods_along(self):
        self.sdk.create_job(self.job("edited"))
        self.pods("edited", "master-0", "worker-0")
        job = self.sdk.get_job("edited")
        job.spec.run_policy.suspend = True
        self.sdk.update_job(job, "edited")
        self.pods("edited")
        suspended = until(
            lambda: [c for c in self.sdk.get_job_conditions("edited") if (c.type, c.status) == ("Suspended", "True")]
        )
        self.assertEqual(suspended[0].reason, "PyTorchJobSuspended")
        self.sdk.update_job({"spec": {"runPolicy": {"suspend": False}}}, "edited")
        self.pods("edited", "master-0", "worker-0")

        self.sdk.delete_job("edited")
        self.pods("edited")
        with self.assertRaises(RuntimeError):
            self.sdk.get_job("edited")


if __name__ == "__main__":
    unittest.main()
