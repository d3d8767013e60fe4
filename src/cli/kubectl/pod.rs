//! A pod as the plugin reads it: what it is called, where it is and how it is.

use k8s_openapi::api::core::v1::{self, ContainerStatus, PodStatus};
use kube::core::Object;
use kube::discovery::ApiResource;
use kube::{Api, Client};
use serde::{Deserialize, Serialize};

use crate::api::names;

/// A pod without what its containers are made of. To decode all of it would take half a megabyte of code.
pub(super) type Pod = Object<Assignment, PodStatus>;

/// The part of its spec that the scheduler writes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Assignment {
    /// The node that it was given.
    pub node_name: Option<String>,
}

/// Pods of a namespace.
pub(super) fn api(client: Client, namespace: &str) -> Api<Pod> {
    Api::namespaced_with(client, namespace, &ApiResource::erase::<v1::Pod>(&()))
}

/// The status of the container that trains.
pub(super) fn training(status: &PodStatus) -> Option<&ContainerStatus> {
    let mut containers = status.container_statuses.iter().flatten();
    containers.find(|container| container.name == names::CONTAINER)
}
