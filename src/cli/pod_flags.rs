//! Flags about the pods.

use std::convert::Infallible;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use k8s_openapi::api::core::v1::Container;
use serde_json::Value;

use crate::planner::{Gang, GangScheduler, InitContainer, Settings};

/// Where Kubeflow's operator looks for a template unless told otherwise.
const DEFAULT_TEMPLATE: &str = "/etc/config/initContainer.yaml";

/// The flags.
#[derive(Clone, Debug, Args)]
pub(super) struct PodFlags {
    /// Image of the init container in which workers wait for the Master; empty leaves it out.
    #[arg(
        long = "pytorch-init-container-image",
        default_value = "alpine:3.10",
        value_name = "IMAGE"
    )]
    image: String,
    /// How often that container looks for the Master, two seconds apart, before it gives up.
    #[arg(
        long = "pytorch-init-container-max-tries",
        default_value_t = 100,
        value_name = "NUMBER"
    )]
    max_tries: u32,
    /// YAML list of containers to use instead, a template with the Master's name, the image and the number of tries.
    #[arg(long = "pytorch-init-container-template-file", default_value = DEFAULT_TEMPLATE, value_name = "FILE")]
    template_file: PathBuf,
    /// The gang scheduler to make a PodGroup for each job for: none, volcano, kubernetes, auto for the one that the
    /// cluster has, or the name of a scheduler with the coscheduling plugin.
    #[arg(long, default_value = "none", value_name = "NAME", value_parser = gang_scheduler)]
    gang_scheduler_name: GangSchedulerName,
}

/// What the flag of the gang scheduler says.
#[derive(Clone, Debug)]
enum GangSchedulerName {
    None,
    Auto,
    Scheduler(GangScheduler),
}

/// As in Kubeflow an empty name is none, and Volcano's may be written in any case.
fn gang_scheduler(name: &str) -> Result<GangSchedulerName, Infallible> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "" | "none" => GangSchedulerName::None,
        "auto" => GangSchedulerName::Auto,
        _ => GangSchedulerName::Scheduler(name.parse()?),
    })
}

/// Why a template of the init container cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--pytorch-init-container-template-file: {}: {problem}", path.display())]
pub(super) struct Error {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error(
        "{{{{{0}}}}} is not supported; {{{{.MasterAddr}}}}, {{{{.InitContainerImage}}}} and {{{{.MaxTries}}}} are, and nothing else of Go's templates"
    )]
    Action(String),
    #[error("`{{{{` without `}}}}`")]
    Open,
    #[error("is not a YAML list of containers: {0}")]
    Yaml(#[from] Box<serde_saphyr::Error>),
    #[error("container {0} has no name")]
    NoName(usize),
}

impl PodFlags {
    /// As the planner takes them.
    ///
    /// # Errors
    ///
    /// When the template cannot be used. Kubeflow's operator falls back on its own container when the file cannot be
    /// read; here that holds only for the default, which need not exist.
    pub(super) fn settings(&self) -> Result<Settings, Error> {
        let template = self.template().map_err(|problem| Error {
            path: self.template_file.clone(),
            problem,
        })?;
        let image = self.image.clone();
        let init_container = match template {
            _ if image.is_empty() => InitContainer::None,
            Some(containers) => InitContainer::Template(containers),
            None => InitContainer::BuiltIn {
                image,
                max_tries: self.max_tries,
                assigned_user: false,
            },
        };
        Ok(Settings {
            init_container,
            gang: match &self.gang_scheduler_name {
                GangSchedulerName::None | GangSchedulerName::Auto => None,
                GangSchedulerName::Scheduler(scheduler) => Some(Gang {
                    scheduler: scheduler.clone(),
                    served: true,
                }),
            },
            ..Settings::default()
        })
    }

    /// Whether the gang scheduler is the one that the cluster has.
    pub(super) fn discovers_gang_scheduler(&self) -> bool {
        matches!(self.gang_scheduler_name, GangSchedulerName::Auto)
    }

    fn template(&self) -> Result<Option<Vec<Value>>, Problem> {
        let path = self.template_file.as_path();
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && path == Path::new(DEFAULT_TEMPLATE) => {
                return Ok(None);
            }
            text => text?,
        };
        let text = render(&text, |name| match name {
            ".MasterAddr" => Some(InitContainer::MASTER_ADDR.to_owned()),
            ".InitContainerImage" => Some(self.image.clone()),
            ".MaxTries" => Some(self.max_tries.to_string()),
            _ => None,
        })?;
        // Read twice: as containers, so that what no pod could have is found at the start, and as it is.
        let containers: Vec<Container> = serde_saphyr::from_str(&text).map_err(Box::new)?;
        if let Some(at) = containers.iter().position(|container| container.name.is_empty()) {
            return Err(Problem::NoName(at + 1));
        }
        Ok(Some(serde_saphyr::from_str(&text).map_err(Box::new)?))
    }
}

/// Replaces `{{NAME}}`; white space around the name, and a `-` that takes the white space outside of the braces with
/// it, are as in Go's templates. Nothing is escaped for HTML, unlike there.
fn render(template: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, Problem> {
    let mut output = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, after) = after.split_once("}}").ok_or(Problem::Open)?;
        let inner = action.strip_prefix("- ").unwrap_or(action);
        let trims_before = inner.len() < action.len();
        let name = inner.strip_suffix(" -").unwrap_or(inner);
        let trims_after = name.len() < inner.len();
        let value = value(name.trim()).ok_or_else(|| Problem::Action(action.to_owned()))?;
        output += if trims_before { before.trim_end() } else { before };
        output += &value;
        rest = if trims_after { after.trim_start() } else { after };
    }
    Ok(output + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str) -> Result<String, String> {
        render(template, |name| (name == ".MaxTries").then(|| "7".to_owned())).map_err(|problem| problem.to_string())
    }

    #[test]
    fn values_stand_where_their_names_stood_and_dashes_take_white_space() {
        for (template, expected) in [
            ("no action", "no action"),
            ("{{.MaxTries}}{{ .MaxTries }}", "77"),
            ("a {{- .MaxTries -}} b", "a7b"),
            ("a\n  {{- .MaxTries}} b", "a7 b"),
        ] {
            assert_eq!(rendered(template).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_cannot_be_rendered_is_named() {
        let error = rendered("{{if .MaxTries}}").unwrap_err();
        assert!(error.starts_with("{{if .MaxTries}} is not supported"), "{error}");
        assert_eq!(rendered("{{.MaxTries").unwrap_err(), "`{{` without `}}`");
    }
}
