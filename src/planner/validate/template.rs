//! The pod templates of a job.

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::api::{ReplicaSpec, names, without_place};
use crate::planner::validate::Found;

/// Checks the template of a replica, named `field`.
pub(crate) fn check(field: &str, spec: &ReplicaSpec, found: &mut Found) {
    let spec = match spec.template.parse::<PodTemplateSpec>() {
        Ok(template) => template.spec,
        Err(error) => return found.fatal(field, format!("is not a pod template: {}", without_place(&error))),
    };
    let Some(PodSpec { containers, .. }) = spec else {
        return found.fatal(format!("{field}.spec"), "is required");
    };
    if !containers.iter().any(|container| container.name == names::CONTAINER) {
        found.fatal(
            format!("{field}.spec.containers"),
            "needs a container named pytorch: it gets the rendezvous port and its exit code decides",
        );
    }
    for (index, container) in containers.iter().enumerate() {
        if container.image.as_deref().unwrap_or_default().is_empty() {
            found.fatal(
                format!("{field}.spec.containers[{index}].image"),
                "is required: every container needs an image",
            );
        }
        check_resources(&format!("{field}.spec.containers[{index}].resources"), container, found);
    }
}

/// Checks that the readiness probe of the training is free for the one that looks at its progress.
pub(crate) fn check_probe(field: &str, spec: &ReplicaSpec, found: &mut Found) {
    let template = spec.template.parse::<PodTemplateSpec>().ok();
    let containers = template.and_then(|template| template.spec).map(|spec| spec.containers);
    let mut containers = containers.into_iter().flatten().enumerate();
    let training = containers.find(|(_, container)| container.name == names::CONTAINER);
    if let Some((index, _)) = training.filter(|(_, container)| container.readiness_probe.is_some()) {
        found.fatal(
            format!("{field}.spec.containers[{index}].readinessProbe"),
            "is needed by progressPolicy: remove readinessProbe from the templates, or progressPolicy",
        );
    }
}

fn check_resources(field: &str, container: &Container, found: &mut Found) {
    let Some(resources) = &container.resources else { return };
    for (kind, amounts) in [("limits", &resources.limits), ("requests", &resources.requests)] {
        for (resource, Quantity(amount)) in amounts.iter().flatten() {
            if !is_quantity(amount) {
                found.tolerable(
                    format!("{field}.{kind}[{resource}]"),
                    format!("is {amount:?} and must be a quantity, such as 500m, 16Gi or 1e3"),
                );
            }
        }
    }
}

/// Whether Kubernetes takes this for a quantity: a number, and a suffix or an exponent.
fn is_quantity(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let suffix = unsigned.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let number = &unsigned[..unsigned.len() - suffix.len()];
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let exponent = |rest: &str| rest.parse::<i32>().is_ok();
    let known = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    digits > 0
        && number.len() - digits <= 1
        && (known.contains(&suffix) || suffix.strip_prefix(['e', 'E']).is_some_and(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_a_number_with_a_suffix_or_an_exponent() {
        for good in ["1", "0.5", ".5", "5.", "500m", "16Gi", "1e3", "1E-3", "-1", "+2k"] {
            assert!(is_quantity(good), "{good}");
        }
        for bad in ["", "16GB", "much", "Gi", "1.2.3", "1 Gi", "1ee3", "."] {
            assert!(!is_quantity(bad), "{bad}");
        }
    }
}
