//! Plans: which are there, and which are run.

use std::fmt;
use std::str::FromStr;

use crate::fault::Fault;
use crate::proxy::Step;
use crate::scenarios::{self, Scenario};

/// A fault at a request of a scenario: `suspend/status-Running/cut-after`.
#[derive(Clone)]
pub struct Plan {
    pub scenario: Scenario,
    pub step: Step,
    pub fault: Fault,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.scenario.name, self.step, self.fault)
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
            step: step.parse().map_err(|_| format!("{step} is no request"))?,
            fault: fault.parse()?,
        })
    }
}

/// Leases are written again and again; the first times are worth a plan.
const LEASES: usize = 2;

/// All plans for a scenario in which these requests are made.
pub fn all(scenario: Scenario, steps: &[Step]) -> Vec<Plan> {
    let mut plans = Vec::new();
    for step in steps {
        let of_lease = step.is_of_lease();
        if of_lease && (step.number > LEASES || step.name.starts_with("get-")) {
            continue;
        }
        for (fault, _) in Fault::ALL {
            let plan = Plan {
                scenario,
                step: step.clone(),
                fault,
            };
            if is_worth_it(&plan, of_lease) {
                plans.push(plan);
            }
        }
    }
    plans
}

/// Events tell, and nothing depends on them: how one is lost makes no difference.
fn is_worth_it(plan: &Plan, of_lease: bool) -> bool {
    let of_event = plan.step.name.starts_with("create-events-");
    match plan.fault {
        Fault::CutAfter | Fault::KilledBefore | Fault::KilledAfter | Fault::Late => true,
        Fault::Belated | Fault::Overtaken => !of_event && !of_lease,
        Fault::Frozen => !of_event && plan.step.number == 1,
        Fault::Conflict => plan.step.name.starts_with("status-") || plan.step.name.starts_with("delete-"),
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
            // The next fault of which this scenario has a plan left, at a request in the middle of those.
            let next = (0..Fault::ALL.len()).find_map(|offset| {
                let wanted = Fault::ALL[(fault + offset) % Fault::ALL.len()].0;
                let having: Vec<usize> = (0..plans.len()).filter(|&at| plans[at].fault == wanted).collect();
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
