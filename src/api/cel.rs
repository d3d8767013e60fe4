//! What several CEL rules have in common. Macros, because `concat!` takes literals only.

/// The old or the new object is suspended: no pod was built from what the edit changes, or none will be left.
macro_rules! suspended {
    () => {
        "((has(self.runPolicy.suspend) && self.runPolicy.suspend) || (has(oldSelf.runPolicy.suspend) && oldSelf.runPolicy.suspend))"
    };
}

/// As many workers as before; absent means 1. That the type itself stays is for another rule to say.
macro_rules! same_workers {
    () => {
        "!('Worker' in self.pytorchReplicaSpecs) || !('Worker' in oldSelf.pytorchReplicaSpecs) || (has(self.pytorchReplicaSpecs['Worker'].replicas) ? self.pytorchReplicaSpecs['Worker'].replicas : 1) == (has(oldSelf.pytorchReplicaSpecs['Worker'].replicas) ? oldSelf.pytorchReplicaSpecs['Worker'].replicas : 1)"
    };
}

/// The same things in the same order in a list of containers. `==` takes a list that merges by its keys for a set; but init containers
/// run one after the other, a variable may refer to those before it, and a service has the ports in the order of the container.
macro_rules! same_order {
    ($list:literal, $of:literal) => {
        concat!(order!("self", $list, $of), " == ", order!("oldSelf", $list, $of))
    };
}

macro_rules! order {
    ($object:literal, $list:literal, $of:literal) => {
        concat!(
            "(has(",
            $object,
            ".pytorchReplicaSpecs[k].template.spec.",
            $list,
            ") ? ",
            $object,
            ".pytorchReplicaSpecs[k].template.spec.",
            $list,
            ".map(c, ",
            $of,
            ") : [])"
        )
    };
}

/// The root is asked about every write, also of labels and status: a stored object must not be stuck. A new one has no status.
macro_rules! new_object {
    () => {
        "has(self.status) || "
    };
}

/// The longest name of a pod and service of each role is no longer than a service may be named.
macro_rules! names_fit {
    () => {
        "self.spec.pytorchReplicaSpecs.all(k, size(self.metadata.name) + size(k) + 2 + size(string((has(self.spec.pytorchReplicaSpecs[k].replicas) ? self.spec.pytorchReplicaSpecs[k].replicas : 1) - 1)) <= 63)"
    };
}

/// An optional field keeps its value, whether it is changed, added or removed.
macro_rules! same {
    ($path:literal) => {
        concat!(
            "(has(self.",
            $path,
            ") == has(oldSelf.",
            $path,
            ") && (!has(self.",
            $path,
            ") || self.",
            $path,
            " == oldSelf.",
            $path,
            "))"
        )
    };
}

/// An optional field of `runPolicy.schedulingPolicy` keeps its value, also when the parent comes or goes.
macro_rules! same_scheduling {
    ($field:literal) => {
        concat!(
            "(has(self.runPolicy.schedulingPolicy) && has(self.runPolicy.schedulingPolicy.",
            $field,
            ")) == ",
            "(has(oldSelf.runPolicy.schedulingPolicy) && has(oldSelf.runPolicy.schedulingPolicy.",
            $field,
            ")) && ",
            "(!has(self.runPolicy.schedulingPolicy) || !has(self.runPolicy.schedulingPolicy.",
            $field,
            ") || ",
            "self.runPolicy.schedulingPolicy.",
            $field,
            " == oldSelf.runPolicy.schedulingPolicy.",
            $field,
            ")"
        )
    };
}
