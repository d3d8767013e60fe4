//! A walk: steps from state to state, each held to the law, and the search for the shortest walk that breaks it.

use std::fmt;

use serde_json::Value;

use crate::support::dice::Dice;
use crate::support::differential::admission::Admission;
use crate::support::differential::edit::Edit;
use crate::support::differential::generator::{self, Taste};
use crate::support::differential::law;
use crate::support::differential::simulation::{Operator, Simulation};
use crate::support::environment::Event;

/// A step of a walk, after which everything comes to rest.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Edits in a row. The operator acts after each of them, and pods that it deletes are still there at the next.
    Edits(Vec<Edit>),
    /// Edits in a row while no operator is there.
    Unseen(Vec<Edit>),
    /// An edit, and once the operator has come to rest the way back.
    Detour(Edit),
    /// Something happens to the pod of this name.
    Pod(String, Event),
    /// Every pod that is pending runs.
    Run,
    /// This many seconds pass.
    Wait(i64),
}

impl Step {
    /// Requests to edit in it, at most.
    pub fn edits(&self) -> usize {
        match self {
            Self::Edits(edits) | Self::Unseen(edits) => edits.len(),
            Self::Detour(_) => 2,
            Self::Pod(..) | Self::Run | Self::Wait(_) => 0,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |edits: &[Edit]| edits.iter().map(ToString::to_string).collect::<Vec<_>>();
        match self {
            Self::Edits(edits) => f.write_str(&row(edits).join("\n    then ")),
            Self::Unseen(edits) => write!(f, "unseen: {}", row(edits).join("\n    and ")),
            Self::Detour(edit) => write!(f, "{edit}\n    and back"),
            Self::Pod(name, event) => write!(f, "{name}: {event:?}"),
            Self::Run => f.write_str("all pods run"),
            Self::Wait(seconds) => write!(f, "{seconds} s pass"),
        }
    }
}

/// Edits so far, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Accepted, and the state changed.
    pub accepted: usize,
    /// Accepted without a change.
    pub idle: usize,
    /// Refused.
    pub refused: usize,
}

impl Tally {
    /// All of them.
    pub fn transitions(self) -> usize {
        self.accepted + self.idle + self.refused
    }

    /// Takes over the numbers of another.
    pub fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.idle += other.idle;
        self.refused += other.refused;
    }
}

/// A job on its walk.
pub struct Walk<'a> {
    /// The job.
    pub sim: Simulation<'a>,
    /// One created in the state that the job was in when it had last not finished, and which has gone with it from
    /// there: an outcome is final, so that no job can be created behind it.
    twin: Simulation<'a>,
    /// The edits so far.
    pub tally: Tally,
}

impl<'a> Walk<'a> {
    /// Creates the job and lets it come to rest.
    pub fn start(
        admission: &'a Admission,
        operator: &'a Operator,
        graceful: bool,
        base: &Value,
    ) -> Result<Self, String> {
        let mut sim = Simulation::create(admission, operator, graceful, base)?;
        sim.rest()?;
        let twin = sim.clone();
        Ok(Self {
            sim,
            twin,
            tally: Tally::default(),
        })
    }

    /// Takes a step and holds the job to the law.
    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        let (mut twins, mut tally) = (Tally::default(), Tally::default());
        take(&mut self.sim, step, &mut tally)?;
        self.tally.add(tally);
        if step.edits() > 0 && tally.accepted == 0 {
            return Ok(()); // Nothing has changed, so the state was compared before.
        }
        law::sound(&self.sim)?;
        if self.sim.over() {
            take(&mut self.twin, step, &mut twins)?;
            if twins != tally {
                return Err(format!("edits of the job: {tally:?}, of its twin: {twins:?}"));
            }
        } else {
            self.twin = law::twin(&self.sim)?;
        }
        law::compare(&law::image(&self.sim), &law::image(&self.twin))
    }
}

fn take(sim: &mut Simulation<'_>, step: &Step, tally: &mut Tally) -> Result<(), String> {
    match step {
        Step::Edits(edits) => {
            for edit in edits {
                let before = sim.clone();
                submit(sim, edit, tally);
                sim.settle()?;
                law::kept(&before, sim)?;
            }
        }
        Step::Unseen(edits) => {
            for edit in edits {
                submit(sim, edit, tally);
            }
        }
        Step::Detour(edit) => detour(sim, edit, tally)?,
        Step::Pod(name, event) => sim.happen(name, event),
        Step::Run => {
            let names: Vec<_> = sim.pods().keys().cloned().collect();
            for name in &names {
                sim.happen(name, &Event::Run);
            }
        }
        Step::Wait(seconds) => sim.wait(*seconds),
    }
    sim.rest()
}

fn submit(sim: &mut Simulation<'_>, edit: &Edit, tally: &mut Tally) -> bool {
    let before = sim.job.clone();
    let accepted = sim.edit(edit).is_ok();
    match (accepted, before == sim.job) {
        (true, false) => tally.accepted += 1,
        (true, true) => tally.idle += 1,
        (false, _) => tally.refused += 1,
    }
    accepted
}

/// An accepted detour leads back to the start, unless an outcome lies on the way.
fn detour(sim: &mut Simulation<'_>, edit: &Edit, tally: &mut Tally) -> Result<(), String> {
    let start = sim.clone();
    if !submit(sim, edit, tally) {
        return Ok(());
    }
    sim.rest()?;
    law::kept(&start, sim)?;
    if sim.job.is_none() {
        return Ok(());
    }
    if !submit(sim, &Edit::back_to(&start.stored()), tally) {
        return Err(format!("{edit}\n    was accepted, and the way back is refused"));
    }
    sim.rest()?;
    if sim.over() {
        return Ok(());
    }
    law::have_run_like(sim, &start)?;
    law::adopt(sim, &start);
    sim.rest()?;
    law::compare(&law::image(sim), &law::image(&start))
        .map_err(|difference| format!("after a detour (the state at its start stands second), {difference}"))
}

/// A walk that broke the law.
#[derive(Debug)]
pub struct Violation {
    seed: u64,
    base: Value,
    steps: Vec<Step>,
    what: String,
}

impl Violation {
    /// Steps that are left of the walk.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "the law is broken. Replay: DIFFERENTIAL_SEED={} cargo test --test plan",
            self.seed
        )?;
        writeln!(f, "  created: {}", self.base)?;
        for (index, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {}. {step}", index + 1)?;
        }
        write!(f, "  {}", self.what)
    }
}

/// Walks `length` steps from a seed.
pub fn walk(admission: &Admission, operator: &Operator, seed: u64, length: usize) -> Result<Tally, Box<Violation>> {
    let mut dice = Dice::new(seed);
    let graceful = dice.one_in(2);
    let base = generator::base(&mut dice, "ns");
    let violation = |steps: &[Step], what| {
        Box::new(Violation {
            seed,
            base: base.clone(),
            steps: steps.to_vec(),
            what,
        })
    };
    let mut walk = Walk::start(admission, operator, graceful, &base).map_err(|what| violation(&[], what))?;
    let mut steps = Vec::new();
    while steps.len() < length && walk.sim.job.is_some() {
        steps.push(generator::step(&mut dice, &walk.sim, Taste::Anything));
        if let Err(what) = walk.step(&steps[steps.len() - 1]) {
            let replay = |steps: &[Step]| {
                let mut walk = Walk::start(admission, operator, graceful, &base).ok()?;
                steps.iter().find_map(|step| walk.step(step).err())
            };
            let steps = shortest(steps, &|steps| replay(steps).is_some());
            let what = replay(&steps).unwrap_or(what);
            return Err(violation(&steps, what));
        }
    }
    Ok(walk.tally)
}

/// Leaves out step after step, as long as what is left still breaks the law.
pub fn shortest(mut steps: Vec<Step>, breaks: &dyn Fn(&[Step]) -> bool) -> Vec<Step> {
    let mut index = steps.len();
    while index > 0 {
        index -= 1;
        let mut fewer = steps.clone();
        fewer.remove(index);
        if breaks(&fewer) {
            steps = fewer;
        }
    }
    steps
}
