//! `cargo run -p pytorchjob-test-cluster [NODES]`: a control plane to try things on, with simulated nodes, or with a real
//! one when `NODES` is `real`. It runs until the end of standard input, or with `KEEP=1` in the environment until somebody
//! runs what it says, and what `target/cluster-down` has.

use std::error::Error;
use std::{env, fs, io};

use pytorchjob_test_cluster::{Cluster, Options, keep_running, repository};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let argument = env::args().nth(1);
    let real_node = argument.as_deref() == Some("real");
    let nodes = match argument {
        Some(nodes) if !real_node => nodes.parse()?,
        _ => u32::from(!real_node),
    };
    let options = Options {
        nodes,
        real_node,
        ..Options::default()
    };
    let cluster = Cluster::start(options).await?;
    if let Some(node) = cluster.node() {
        for image in node.load_project_images().await? {
            println!("# {} has the image {image}", node.name());
        }
    }
    println!("export KUBECONFIG={}", cluster.admin_kubeconfig().display());
    if env::var("KEEP").is_ok_and(|keep| keep == "1") {
        let stop = keep_running()?.stop;
        fs::write(repository().join("target/cluster-down"), &stop)?;
        println!("# stop it with: {stop}");
    } else {
        println!("# {} runs until the end of standard input (Ctrl-D)", cluster.url());
        io::copy(&mut io::stdin(), &mut io::sink())?;
    }
    Ok(())
}
