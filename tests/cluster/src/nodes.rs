//! Nodes that KWOK plays.

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::Error;

/// What KWOK does with its nodes and the pods on them.
pub(crate) const STAGES: &str = include_str!("kwok-stages.yaml");

/// Creates `count` nodes.
pub(crate) async fn create(client: Client, count: u32) -> Result<(), Error> {
    let api = Api::<Node>::all(client);
    for number in 0..count {
        let name = format!("kwok-{number}");
        let label = ("kubernetes.io/hostname".to_owned(), name.clone());
        let annotation = ("kwok.x-k8s.io/node".to_owned(), "fake".to_owned());
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            labels: Some([label].into()),
            annotations: Some([annotation].into()),
            ..ObjectMeta::default()
        };
        let node = Node {
            metadata,
            ..Node::default()
        };
        api.create(&PostParams::default(), &node)
            .await
            .map_err(Error::kube(format!("create Node {name}")))?;
    }
    Ok(())
}
