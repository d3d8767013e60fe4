//! Plans: which are there, and which are run.

use std::fmt;
use std::str::FromStr;

use crate::fault::Fault;
use crate::proxy::Step;
use crate::scenarios::{self, Scenario};

/// What goes wrong in a scenario.
#[derive(Clone)]
pub struct Plan {
    pub scenario: Scenario,
    pub what: Disturbance,
}

/// What goes wrong.
#[derive(Clone)]
pub enum Disturbance {
    /// A fault at a request: `suspend/status-Running/cut-after`.
    Fault(Step, Fault),
    /// Several faults at random, by this seed: `suspend/seed/17`.
    Seed(u64),
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scenario = self.scenario.name;
        match &self.what {
            Disturbance::Fault(step, fault) => write!(f, "{scenario}/{step}/{fault}"),
            Disturbance::Seed(seed) => write!(f, "{scenario}/seed/{seed}"),
        }
    }
}

/// In place of a request.
const SEED: &str = "seed";

impl Plan {
    /// So many plans of several faults at random for each scenario.
    pub fn at_random(scenarios: &[Scenario], number: u64) -> Vec<Self> {
        let seeds = (1..=number).flat_map(|seed| scenarios.iter().map(move |&scenario| (scenario, seed)));
        let plan = |(scenario, seed)| Self {
            scenario,
            what: Disturbance::Seed(seed),
        };
        seeds.map(plan).collect()
    }

    fn has(&self, fault: Fault) -> bool {
        matches!(&self.what, Disturbance::Fault(_, own) if *own == fault)
    }

    /// Whether this is one of those that `SCENARIO/REQUEST/FAULT` names, where `*` is each.
    pub fn is_one_of(&self, pattern: &str) -> bool {
        let name = self.to_string();
        let parts = pattern.split('/').zip(name.split('/'));
        parts.into_iter().all(|(wanted, part)| wanted == "*" || wanted == part)
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let [scenario, step, fault] = parts[..] else {
            return Err(format!("{text}: a plan is SCENARIO/REQUEST/FAULT"));
        };
        let named = scenarios::ALL.iter().find(|known| known.name == scenario);
        Ok(Self {
            scenario: *named.ok_or_else(|| format!("{scenario} is no scenario"))?,
            what: if step == SEED {
                Disturbance::Seed(fault.parse().map_err(|_| format!("{fault} is no seed"))?)
            } else {
                let parsed = step.parse().map_err(|_| format!("{step} is no request"))?;
                Disturbance::Fault(parsed, fault.parse()?)
            },
        })
    }
}

/// Leases are written again and again; the first times are worth a plan.
const LEASES: usize = 2;

/// All plans for a scenario in which these requests are made.
pub fn all(scenario: Scenario, steps: &[Step]) -> Vec<Plan> {
    let mut plans = Vec::new();
    for step in steps {
        // What it creates is gone once, and then created again.
        let again = steps
            .iter()
            .any(|other| other.name == step.name && other.number > step.number);
        if step.is_of_lease() && (step.number > LEASES || step.name.starts_with("get-")) {
            continue;
        }
        for (fault, _) in Fault::ALL {
            if is_worth_it(step, fault, again) {
                let what = Disturbance::Fault(step.clone(), fault);
                plans.push(Plan { scenario, what });
            }
        }
    }
    plans
}

/// Events tell, and nothing depends on them: how one is lost makes no difference.
fn is_worth_it(step: &Step, fault: Fault, again: bool) -> bool {
    let (of_event, of_lease) = (step.name.starts_with("create-events-"), step.is_of_lease());
    match fault {
        Fault::CutAfter | Fault::KilledBefore | Fault::KilledAfter | Fault::Late => true,
        Fault::Misplaced => step.name.starts_with("create-") && !of_event && !of_lease && again,
        Fault::Belated | Fault::Overtaken => !of_event && !of_lease,
        Fault::Frozen => !of_event && step.number == 1,
        Fault::Conflict => step.name.starts_with("status-") || step.name.starts_with("delete-"),
        _ => !of_event,
    }
}

/// So many of them, of each scenario and each fault about as many.
pub fn choose(plans: Vec<Plan>, number: usize) -> Vec<Plan> {
    let mut by_scenario: Vec<Vec<Plan>> = Vec::new();
    for plan in plans {
        match by_scenario.last_mut() {
            Some(of_scenario) if of_scenario[0].scenario.name == plan.scenario.name => of_scenario.push(plan),
            _ => by_scenario.push(vec![plan]),
        }
    }
    let mut chosen = Vec::new();
    let mut fault = 0;
    while chosen.len() < number && by_scenario.iter().any(|plans| !plans.is_empty()) {
        for plans in &mut by_scenario {
            if plans.is_empty() || chosen.len() == number {
                continue;
            }
            // The next fault of which this scenario has a plan left, not always at its first request.
            let next = (0..Fault::ALL.len()).find_map(|offset| {
                let wanted = Fault::ALL[(fault + offset) % Fault::ALL.len()].0;
                let having: Vec<usize> = (0..plans.len()).filter(|&at| plans[at].has(wanted)).collect();
                having.get(chosen.len() * 7 % having.len().max(1)).copied()
            });
            if let Some(at) = next {
                chosen.push(plans.remove(at));
                fault += 1;
            }
        }
    }
    chosen
}
