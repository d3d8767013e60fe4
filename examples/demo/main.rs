//! `make demo`: a job and edits of it, one of them refused, and an elastic job that is scaled, on a real API server.
//!
//! Starts a control plane with a simulated node, installs `config/default`, runs the operator under the account and the
//! rights that are shipped with it, and does with `kubectl` what a user would do. Ends with an error if anything does
//! not happen, or not in time. `KEEP=1` leaves the cluster and the operator running.

mod edits;
mod stage;
mod story;
mod terminal;

use std::env;
use std::error::Error;
use std::process::ExitCode;

use pytorchjob_test_cluster::{keep_running, repository};

use crate::stage::{Stage, kubectl_directory};
use crate::terminal::Terminal;

/// Why the demo ended early. It is printed, not handled, so its text is all that counts.
type Failure = Box<dyn Error>;

#[tokio::main]
async fn main() -> ExitCode {
    let terminal = Terminal::detect();
    match play(terminal).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal.failed(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn play(terminal: Terminal) -> Result<(), Failure> {
    // The commands that are shown name files relative to the repository.
    env::set_current_dir(repository())?;
    terminal.heading("A Kubernetes control plane");
    let mut stage = Stage::new(terminal).await?;
    let told = story::tell(&mut stage).await;
    if told.is_err() {
        stage.operator_log().iter().for_each(|log| eprintln!("\n{log}"));
    }
    if env::var("KEEP").is_ok_and(|keep| keep == "1") {
        keep(&stage)?;
    }
    if told.is_ok() {
        next(terminal);
    }
    told
}

fn next(terminal: Terminal) {
    terminal.heading("next:");
    for line in [
        "make demo KEEP=1                                     the same, and a cluster to try your own jobs on",
        "make demo-real                                       real PyTorch on a real node; Debian, as root",
        "target/debug/pytorchjob-operator validate -f FILE    what the API server would say of your job",
        "docs/tutorial.md                                     a training of your own, step by step",
    ] {
        println!("  {line}");
    }
}

fn keep(stage: &Stage) -> Result<(), Failure> {
    let stop = keep_running()?.stop;
    stage.terminal.heading("The cluster and the operator keep running");
    println!("  export KUBECONFIG={}", stage.kubeconfig().display());
    println!("  export PATH={}:$PATH    # kubectl", kubectl_directory().display());
    println!("  kubectl apply -f examples/seed.yaml");
    stage
        .terminal
        .say("The node is simulated: pods are said to run, and no container does, so there are no logs.");
    stage
        .terminal
        .say("`make node`, on Debian as root, gives a cluster with a real node; `make demo-real` trains on one.");
    stage.terminal.say("To end them:");
    println!("  {stop}");
    Ok(())
}
