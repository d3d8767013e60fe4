//! How the cost of a start grows with jobs, with pods of a job, and with the replicas of one job: memory, time to the
//! first plan, processor time. Written as a table, and as a plot into the file that `PLOT` names.

use std::fs;

use crate::jobs::Job;
use crate::plot::{self, Panel, Point, svg};
use crate::population::Population;
use crate::rig::Rig;
use crate::scale::{Started, start};
use crate::table::{mebibytes, seconds};
use crate::{Result, parameter};

/// Jobs and pods of each. The lines of the plot, each from its smallest point on.
const SERIES: [(&str, &[(u32, u32)]); 3] = [
    ("jobs of 4 pods", &[(1_000, 4), (4_000, 4), (10_000, 4)]),
    ("1,000 jobs", &[(1_000, 4), (1_000, 10), (1_000, 40)]),
    ("one job", &[(1, 1_000), (1, 4_000), (1, 10_000)]),
];
const MIB: f64 = 1024.0 * 1024.0;

/// What was measured of each point of a line.
type Line = (&'static str, Vec<(u32, Started)>);

/// Measures every point on a control plane of its own.
pub async fn measure() -> Result<()> {
    // For a short try.
    let divisor = parameter("GROWTH_DIVISOR", 1)?;
    let mut lines: Vec<Line> = Vec::new();
    println!("| | jobs | pods | start → leading / first plan | resident / peak | CPU |");
    println!("|---|---|---|---|---|---|");
    for (line, points) in SERIES {
        let mut measured = Vec::new();
        for &(jobs, pods) in points {
            let (jobs, pods) = if jobs > 1 {
                (jobs / divisor, pods)
            } else {
                (jobs, pods / divisor)
            };
            let started = point(jobs, pods).await?;
            println!(
                "| {line} | {jobs} | {} | {} / {} | {} / {} | {} |",
                jobs * pods,
                seconds(started.leads),
                seconds(started.planned),
                mebibytes(started.resident),
                mebibytes(started.peak),
                seconds(started.cpu)
            );
            measured.push((jobs * pods, started));
        }
        lines.push((line, measured));
    }
    if let Ok(file) = std::env::var("PLOT") {
        fs::write(&file, svg(&panels(&lines))).map_err(|error| format!("cannot write {file}: {error}"))?;
        eprintln!("growth: {file} is written");
    }
    Ok(())
}

async fn point(jobs: u32, pods: u32) -> Result<Started> {
    let rig = Rig::start_without_nodes().await?;
    let mut population = Population::connect(rig.cluster.directory()).await?;
    let namespace = rig.cluster.namespace("growth").await?;
    for index in 0..jobs {
        let name = format!("job-{index}");
        let job = Job {
            workers: pods - 1,
            ..Job::of_four(&namespace, &name)
        };
        population.running(&job).await?;
    }
    let canaries = rig.cluster.namespace("canaries").await?;
    let (operator, started) = start(&rig, &mut population, &canaries, "first").await?;
    operator.stop().await?;
    Ok(started)
}

fn panels(lines: &[Line]) -> [Panel; 3] {
    let panel = |title: &str, value: fn(&Started) -> f64| {
        let lines = lines.iter().map(|(name, points)| {
            let points = points.iter().map(|(pods, started)| Point {
                x: f64::from(*pods),
                y: value(started),
            });
            plot::Line {
                name: (*name).to_owned(),
                points: points.collect(),
            }
        });
        Panel {
            title: title.to_owned(),
            across: "pods",
            lines: lines.collect(),
            width: 300.0,
            height: 250.0,
        }
    };
    [
        panel("peak memory, MiB", |started| mebi(started.peak)),
        panel("start to first plan, s", |started| started.planned.as_secs_f64()),
        panel("CPU until settled, s", |started| started.cpu.as_secs_f64()),
    ]
}

fn mebi(bytes: u64) -> f64 {
    // Memory has far fewer bits than a float.
    u32::try_from(bytes / 1024).map_or(f64::INFINITY, |kibibytes| f64::from(kibibytes) * 1024.0 / MIB)
}
