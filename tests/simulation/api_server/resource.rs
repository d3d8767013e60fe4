//! What is served.

/// A resource that can be stored, all of them but priority classes, of which there are none, in namespaces.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resource {
    /// Empty for the core group.
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    /// Whether it is defined by a CustomResourceDefinition, with a status subresource.
    pub(crate) custom: bool,
}

const fn built_in(group: &'static str, version: &'static str, plural: &'static str, kind: &'static str) -> Resource {
    Resource {
        group,
        version,
        plural,
        kind,
        custom: false,
    }
}

impl Resource {
    pub(crate) const ALL: &'static [Self] = &[
        Self {
            custom: true,
            ..built_in("kubeflow.org", "v1", "pytorchjobs", "PyTorchJob")
        },
        built_in("", "v1", "pods", "Pod"),
        built_in("", "v1", "services", "Service"),
        built_in(
            "autoscaling",
            "v2",
            "horizontalpodautoscalers",
            "HorizontalPodAutoscaler",
        ),
        Self {
            custom: true,
            ..built_in("scheduling.volcano.sh", "v1beta1", "podgroups", "PodGroup")
        },
        built_in("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass"),
        built_in("coordination.k8s.io", "v1", "leases", "Lease"),
        built_in("events.k8s.io", "v1", "events", "Event"),
    ];

    /// The resource of this plural.
    pub(crate) fn named(plural: &str) -> &'static Self {
        let found = Self::ALL.iter().find(|resource| resource.plural == plural);
        found.unwrap_or_else(|| panic!("{plural} are not served"))
    }

    /// Whether its objects say how often what is asked of them has changed.
    pub(crate) fn counts_generations(&self) -> bool {
        self.custom || self.plural == "pods"
    }

    /// `apiVersion` of its objects.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The path of its group and version.
    pub(crate) fn prefix(&self) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        format!("{root}/{}", self.api_version())
    }
}
