//! `completion`: what a shell has to know to complete the command line.

use clap::Command;
use clap_complete::{Shell, generate};

/// What `completion` is asked for.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Completion {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    /// The script that completes `command` when it is called `name`.
    pub(super) fn script(self, command: Command, name: &'static str) -> String {
        let mut script = Vec::new();
        generate(self.shell, &mut command.name(name), name, &mut script);
        // The generator for bash writes a dash in the name in two ways, of which its function knows but one.
        let (known, other) = (name.replace('-', "__"), name.replace('-', "__subcmd__"));
        String::from_utf8_lossy(&script).replace(&other, &known)
    }
}
