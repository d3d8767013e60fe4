//! What happens next in a small world: every step that is possible in a state, and the laws that each has to obey.

use crate::laws;

use super::model::Model;
use super::state::{Answer, Job, Life, Pass, Rank, SLOTS, State, Step, Write};
use super::world::Edit;
use super::writes::delete_pod;

/// The states that follow one.
struct Next<'a> {
    state: State,
    found: &'a mut Vec<(Step, State)>,
}

impl Next<'_> {
    fn step(&mut self, step: Step, change: impl FnOnce(&mut State)) {
        let mut after = self.state;
        change(&mut after);
        self.found.push((step, after));
    }
}

impl Model {
    /// Finds what can happen in a state, and what comes of it.
    pub(super) fn next(&mut self, state: &State, found: &mut Vec<(Step, State)>) {
        let first = found.len();
        let mut next = Next { state: *state, found };
        for slot in 0..SLOTS {
            self.kubelet(&mut next, slot);
            disruptions(&mut next, slot);
        }
        self.user(&mut next);
        see(&mut next);
        self.operator(&mut next);
        if !self.world.late_services {
            let after = next.found[first..].iter_mut();
            after.for_each(|(step, after)| see_services(after, !matches!(step, Step::Write(..) | Step::Crash)));
        }
        for (step, after) in &found[first..] {
            self.claims_what_exists(*step, after);
        }
    }

    /// The state is one in which nothing happens by itself.
    pub(super) fn rests(&mut self, state: &State) {
        assert!(state.pass.is_none(), "L1: a pass ends");
        let (mut seen, stored) = (state.seen, state.stored);
        seen.pods.iter_mut().flatten().for_each(|rank| rank.asked = false);
        assert_eq!(seen, stored, "L2: the operator sees what is");
        assert_eq!(self.plan(&seen, state.left), None, "S9: at rest nothing is written");
        let (objects, now) = (self.objects(&stored), self.now(state.left));
        laws::settled(&objects, &objects.plan(now), now);
    }

    /// Life of the pod in a slot.
    fn kubelet(&self, next: &mut Next<'_>, slot: usize) {
        let Some(rank) = next.state.stored.pods[slot] else {
            return;
        };
        let mut live = |step, life, failures: u8| {
            next.step(step, |state| {
                state.stored.pods[slot] = Some(Rank { life, ..rank });
                state.left.failures -= failures;
            });
        };
        if rank.life == Life::Pending && !rank.terminating {
            live(Step::Run(slot), Life::Running, 0);
        }
        if rank.life == Life::Running && rank.terminating {
            live(Step::Stop(slot), Life::Stopped, 0);
            live(Step::Kill(slot), Life::Failed(143), 0);
        }
        if rank.works() {
            live(Step::Succeed(slot), Life::Succeeded, 0);
            if next.state.left.failures > 0 {
                for &code in &self.world.exit_codes {
                    next.step(Step::Fail(slot, code), |state| {
                        state.stored.pods[slot] = Some(Rank {
                            life: Life::Failed(code),
                            ..rank
                        });
                        state.left.failures -= 1;
                    });
                }
                if self.world.in_place {
                    next.step(Step::RestartInPlace(slot), |state| {
                        state.stored.pods[slot] = Some(Rank {
                            restarts: rank.restarts + 1,
                            ..rank
                        });
                        state.left.failures -= 1;
                    });
                }
            }
        }
        if rank.terminating {
            next.step(Step::Bury(slot), |state| state.stored.pods[slot] = None);
        }
    }

    /// What the user does, and time.
    fn user(&self, next: &mut Next<'_>) {
        let edits = usize::from(next.state.edits);
        if let (Some(job), Some(edit)) = (next.state.stored.job, self.world.edits.get(edits)) {
            next.step(Step::Edit, |state| {
                state.edits += 1;
                state.stored.job = match edit {
                    Edit::Spec(_) => Some(Job {
                        spec: job.spec + 1,
                        ..job
                    }),
                    Edit::Delete => None,
                };
            });
        }
        if next.state.left.ticks > 0 {
            next.step(Step::Tick, |state| state.left.ticks -= 1);
        }
    }

    /// What the operator does.
    fn operator(&mut self, next: &mut Next<'_>) {
        let state = next.state;
        if state.left.crashes > 0 {
            next.step(Step::Crash, |state| {
                state.left.crashes -= 1;
                (state.seen, state.pass, state.doubted) = (state.stored, None, false);
            });
        }
        if let Some(pass) = state.pass {
            self.pass(next, pass);
        } else if let Some(plan) = self.plan(&state.seen, state.left) {
            if !state.doubted {
                let writes = self.plans[plan as usize].writes.len();
                let left = u8::try_from((1_u16 << writes) - 1).expect("a pass has at most eight writes");
                next.step(Step::Plan, |state| state.pass = Some(Pass { plan, left }));
            } else if state.stored.job.is_some() {
                next.step(Step::Read, |state| {
                    (state.seen.job, state.doubted) = (state.stored.job, false);
                });
            }
        }
    }

    /// A pass goes on with one of the writes whose turn it is, or ends early.
    fn pass(&self, next: &mut Next<'_>, pass: Pass) {
        let planned = &self.plans[pass.plan as usize];
        let left = || {
            let writes = planned.writes.iter().copied().enumerate();
            writes.filter(|(at, _)| pass.left & (1 << at) != 0)
        };
        let turn = left().map(|(_, write)| write.rank()).min().unwrap_or_default();
        for (at, write) in left() {
            let status = matches!(write, Write::Status { .. });
            if write.rank() != turn && !status {
                continue;
            }
            for answer in [Answer::Done, Answer::Lost, Answer::Refused] {
                if answer != Answer::Done && next.state.left.mishaps == 0 {
                    continue;
                }
                let mut after = next.state;
                after.left.mishaps -= u8::from(answer != Answer::Done);
                self.carry_out(&mut after, pass, at, answer);
                next.found.push((Step::Write(write, answer), after));
            }
            if matches!(write, Write::Status { at_once: false, .. }) && turn == write.rank() {
                next.step(Step::StatusWaits, |state| state.pass = None);
            }
        }
        if next.state.left.mishaps > 0 {
            next.step(Step::GiveUp, |state| {
                state.left.mishaps -= 1;
                state.pass = None;
            });
        }
    }

    /// S6: `active` counts every pod that holds resources, so a queue manager gives none away twice. Known only by its
    /// answer is a pod until the watch shows it.
    fn claims_what_exists(&self, step: Step, state: &State) {
        let Some(job) = state
            .stored
            .job
            .filter(|job| !self.finished(*job) && !state.lost_creation)
        else {
            return;
        };
        for (slot, replica) in self.world.replicas.iter().enumerate() {
            let (existing, active) = (
                self.existing(&state.stored)[&replica.type_],
                self.facts(job).active[slot],
            );
            assert!(
                existing <= active,
                "S6: {step:?} leaves {existing} pods of {}, and {active} are claimed",
                replica.type_
            );
        }
    }
}

/// What others do to the pod and the service in a slot.
fn disruptions(next: &mut Next<'_>, slot: usize) {
    let stored = next.state.stored;
    let orphaned = stored.job.is_none();
    if orphaned && stored.pods[slot].is_some_and(|rank| !rank.terminating) {
        next.step(Step::Collect(slot), |state| delete_pod(&mut state.stored, slot));
    } else if orphaned && stored.services[slot].is_some() {
        next.step(Step::Collect(slot), |state| state.stored.services[slot] = None);
    }
    if next.state.left.disruptions == 0 || orphaned {
        return;
    }
    let mut disrupt = |step, change: &dyn Fn(&mut State)| {
        next.step(step, |state| {
            state.left.disruptions -= 1;
            change(state);
        });
    };
    if let Some(rank) = stored.pods[slot].filter(|rank| !rank.terminating) {
        disrupt(Step::DeletePod(slot), &|state| delete_pod(&mut state.stored, slot));
        if !rank.ended() {
            let disrupted = Some(Rank {
                life: Life::Disrupted,
                ..rank
            });
            disrupt(Step::Disrupt(slot), &|state| state.stored.pods[slot] = disrupted);
        }
    }
    if stored.services[slot].is_some() {
        disrupt(Step::DeleteService(slot), &|state| state.stored.services[slot] = None);
    }
}

/// The watches catch up. Each shows its kind in the order in which it changed, so to see everything at any one time is to
/// be late in every way.
fn see(next: &mut Next<'_>) {
    let State { stored, seen, .. } = next.state;
    if seen.job != stored.job {
        next.step(Step::SeeJob, |state| state.seen.job = stored.job);
    }
    let shown = |slot: usize| match (seen.pods[slot], stored.pods[slot]) {
        (Some(old), Some(new)) if old.birth == new.birth => Some(Rank {
            terminating: new.terminating | old.terminating,
            asked: old.asked,
            ..new
        }),
        (_, new) => new,
    };
    let pods: [Option<Rank>; SLOTS] = std::array::from_fn(shown);
    if pods != seen.pods {
        next.step(Step::SeePods, |state| {
            let gone = |slot: usize| {
                let old = seen.pods[slot];
                let is_there = pods[slot].map(|rank| rank.birth) == old.map(|rank| rank.birth);
                !is_there && old.is_some_and(|rank| !rank.asked)
            };
            // The garbage collector may have taken what nobody here has asked to go.
            state.doubted |= seen.job.is_some() && (0..SLOTS).any(gone);
            state.seen.pods = pods;
        });
    }
    if seen.services != stored.services {
        next.step(Step::SeeServices, |state| see_services(state, true));
    }
}

/// The watch of services catches up. What goes although nobody here has asked for it makes the job doubted.
fn see_services(state: &mut State, by_others: bool) {
    let (seen, stored) = (state.seen.services, state.stored.services);
    let gone = |slot: usize| seen[slot].is_some() && seen[slot] != stored[slot];
    state.doubted |= by_others && state.seen.job.is_some() && (0..SLOTS).any(gone);
    state.seen.services = stored;
}
