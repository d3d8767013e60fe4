//! How a command line names a job.

use crate::api::names;

/// The name of a job that is given as it is, or with its type before it, as kubectl takes it and `get -o name` prints
/// it.
pub(super) fn job_name(word: &str) -> Result<String, String> {
    let (kind, name) = word.rsplit_once('/').unwrap_or((names::KIND, word));
    if name.is_empty() || !is_ours(kind) {
        return Err("is not the name of a PyTorchJob, such as train or pytorchjob/train".to_owned());
    }
    Ok(name.to_owned())
}

/// Whether a type is `pytorchjob`, `pytorchjobs`, `pytorchjobs.kubeflow.org` or `pytorchjobs.v1.kubeflow.org`.
fn is_ours(kind: &str) -> bool {
    let (group, version) = names::API_VERSION.split_once('/').unwrap_or_default();
    let kind = kind.to_lowercase();
    let within = kind
        .strip_suffix(group)
        .and_then(|kind| kind.strip_suffix('.'))
        .map(|kind| kind.strip_suffix(&format!(".{version}")).unwrap_or(kind));
    let kind = within.unwrap_or(&kind);
    kind.strip_suffix('s').unwrap_or(kind) == names::KIND.to_lowercase()
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;
    use clap::{CommandFactory, Parser};

    use crate::cli::kubectl::Plugin;

    #[test]
    fn a_job_is_named_with_its_type_or_without_wherever_one_is_named() {
        let plugin = Plugin::command();
        let takes_job = |command: &&clap::Command| {
            let mut positionals = command.get_positionals();
            positionals.any(|arg| arg.get_value_names().is_some_and(|names| names == ["JOB"]))
        };
        let subcommands = plugin.get_subcommands().filter(takes_job).map(clap::Command::get_name);
        let subcommands: Vec<_> = subcommands.collect();
        assert_eq!(subcommands, ["get", "why", "timeline", "logs", "record"]);
        for subcommand in subcommands {
            let parse = |word: &str| Plugin::try_parse_from(["kubectl pytorchjob", subcommand, word]);
            let plain = format!("{:?}", parse("train").unwrap());
            for kind in [
                "pytorchjob",
                "pytorchjobs",
                "PyTorchJob",
                "pytorchjob.kubeflow.org",
                "pytorchjobs.v1.kubeflow.org",
            ] {
                let parsed = parse(&format!("{kind}/train")).unwrap();
                assert_eq!(format!("{parsed:?}"), plain, "{subcommand} {kind}");
            }
            for word in [
                "pod/train",
                "team/train",
                "a/pytorchjob/train",
                "pytorchjob/",
                "/train",
                "",
            ] {
                let kind = parse(word).unwrap_err().kind();
                let expected = [ErrorKind::ValueValidation, ErrorKind::InvalidValue];
                assert!(expected.contains(&kind), "{subcommand} {word}: {kind:?}");
            }
        }
    }
}
