//! `cargo run -p pytorchjob-test-cluster [NODES]`: a control plane to try things on, until the end of standard input,
//! or with `KEEP=1` in the environment until somebody stops it.

use std::error::Error;
use std::{env, io};

use pytorchjob_test_cluster::{Cluster, Options, keep_running};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let nodes = env::args().nth(1).map_or(Ok(1), |argument| argument.parse())?;
    let cluster = Cluster::start(Options {
        nodes,
        ..Options::default()
    })
    .await?;
    println!("export KUBECONFIG={}", cluster.admin_kubeconfig().display());
    if env::var("KEEP").is_ok_and(|keep| keep == "1") {
        println!("# stop it with: {}", keep_running()?.stop);
    } else {
        println!(
            "# {} with {nodes} nodes; runs until the end of standard input (Ctrl-D)",
            cluster.url()
        );
        io::copy(&mut io::stdin(), &mut io::sink())?;
    }
    Ok(())
}
