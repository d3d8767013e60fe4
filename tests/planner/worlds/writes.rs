//! What becomes of the writes of a pass, each at the API server and in what the operator believes, and the laws that hold
//! at the API server.

use crate::api::RestartScope;

use super::model::Model;
use super::state::{Answer, Job, Life, Pass, Rank, SLOTS, State, Things, Write};

impl Model {
    /// The state after a write.
    pub(super) fn carry_out(&self, after: &mut State, pass: Pass, at: usize, answer: Answer) {
        let planned = &self.plans[pass.plan as usize];
        let mut left = pass.left & !(1 << at);
        let write = planned.writes[at];
        let together = |other: Write| {
            let service = matches!(other, Write::DeleteService { .. } | Write::CreateService { .. });
            service && !self.world.late_services && other.rank() == write.rank() && answer == Answer::Done
        };
        let fine = self.write_one(after, planned.job, write, answer);
        if together(write) {
            for (at, other) in planned.writes.iter().enumerate() {
                if left & (1 << at) != 0 && together(*other) {
                    self.write_one(after, planned.job, *other, answer);
                    left &= !(1 << at);
                }
            }
        }
        if !fine && write.rank() == 0 {
            // When a deletion fails, nothing is created.
            for (at, other) in planned.writes.iter().enumerate() {
                left &= !(u8::from(other.rank() == 1) << at);
            }
        }
        after.pass = (left != 0).then_some(Pass { left, ..pass });
    }

    /// Makes one write. False when it failed as far as the operator knows.
    fn write_one(&self, after: &mut State, job: Job, write: Write, answer: Answer) -> bool {
        if answer == Answer::Refused {
            return false;
        }
        let answered = answer == Answer::Done;
        let outcome = match write {
            Write::DeletePod { slot, birth, failed } => {
                self.counted_before_it_goes(after, job, slot, birth, failed);
                delete_this_pod(after, slot, birth, answered)
            }
            Write::DeleteService { slot, birth } => {
                let is_it = |service: &mut Option<u8>| *service == Some(birth);
                if is_it(&mut after.stored.services[slot]) {
                    after.stored.services[slot] = None;
                }
                if answered && is_it(&mut after.seen.services[slot]) {
                    after.seen.services[slot] = None;
                }
                true
            }
            Write::DeleteJob => {
                let is_it = after.stored.job == Some(job);
                if is_it {
                    after.stored.job = None;
                }
                if answered && is_it {
                    after.seen.job = None;
                }
                after.doubted |= after.stored.job.is_some();
                is_it
            }
            Write::CreatePod { slot } => {
                self.create_pod(after, job, slot, answered);
                true
            }
            Write::CreateService { slot } => {
                if after.stored.services[slot].is_none() {
                    after.stored.services[slot] = Some(after.services_born[slot]);
                    after.services_born[slot] += 1;
                }
                if answered {
                    after.seen.services[slot] = after.stored.services[slot];
                }
                true
            }
            Write::Status { status, .. } => self.store_status(after, job, status, answered),
        };
        outcome && answered
    }

    fn create_pod(&self, after: &mut State, job: Job, slot: usize, answered: bool) {
        if after.stored.pods[slot].is_none() {
            if let Some(stored) = after.stored.job {
                assert!(!self.finished(stored), "S3: created after the outcome was stored");
                assert!(
                    !self.facts(stored).suspended,
                    "S6: created while the status says Suspended"
                );
            }
            let birth = after.pods_born[slot];
            after.stored.pods[slot] = Some(Rank {
                birth,
                spec: job.spec,
                life: Life::Pending,
                restarts: 0,
                terminating: false,
                asked: false,
            });
            after.pods_born[slot] += 1;
            let causes = self.world.left.failures + self.world.left.disruptions;
            let edits = u8::try_from(self.world.edits.len()).expect("there are few edits");
            assert!(birth <= causes + edits, "S4: a pod is created again without a cause");
            after.lost_creation |= !answered;
        }
        if answered {
            after.seen.pods[slot] = after.stored.pods[slot];
        }
    }

    fn store_status(&self, after: &mut State, job: Job, status: u16, answered: bool) -> bool {
        if after.stored.job != Some(job) {
            after.doubted = true;
            return false;
        }
        let new = Job { status, ..job };
        self.accounts(after, job, new);
        after.stored.job = Some(new);
        after.doubted = !answered;
        if answered && after.seen.job.is_some() {
            after.seen.job = Some(new);
        }
        true
    }

    /// S3 and S4: an outcome stays as it is, and each failed pod is a restart once, of at most so many.
    fn accounts(&self, after: &mut State, old: Job, new: Job) {
        let (before, now) = (self.facts(old), self.facts(new));
        assert!(
            before.outcome.is_none() || before.outcome == now.outcome,
            "S3: the outcome changed"
        );
        for (ever, counted) in after.counted.iter_mut().zip(now.counted) {
            *ever |= counted;
        }
        let version = self.version(new);
        let pods: u32 = after.counted.iter().map(|bits| bits.count_ones()).sum();
        let pods = i32::try_from(pods).expect("a count");
        let in_place = if self.world.in_place {
            i32::from(self.world.left.failures)
        } else {
            0
        };
        if version.spec.restart_scope() == RestartScope::Replica {
            assert!(
                (pods..=pods + in_place).contains(&now.restarts),
                "S4: {} restarts of {pods} pods",
                now.restarts
            );
        } else {
            assert!(
                now.restarts <= pods && (now.restarts > 0) == (pods > 0),
                "S4: {} restarts of {pods} pods",
                now.restarts
            );
        }
        assert!(now.restarts >= before.restarts, "S4: restarts are forgotten");
        let limits = self.jobs.iter().map(|job| job.spec.backoff_limit());
        let limit = limits.max().flatten();
        assert!(
            limit.is_none_or(|limit| now.restarts <= limit),
            "S4: {} restarts of at most {limit:?}",
            now.restarts
        );
    }

    /// S4: a failed replica of a job that works is not deleted before its failure is stored.
    fn counted_before_it_goes(&self, state: &State, planned: Job, slot: usize, birth: u8, failed: bool) {
        let (Some(job), Some(rank)) = (state.stored.job, state.stored.pods[slot]) else {
            return;
        };
        let suspended = |job| self.facts(job).suspended || self.version(job).spec.suspended();
        let works = !self.finished(job) && !suspended(job) && !suspended(planned);
        let knew = failed && rank.birth == birth && matches!(rank.life, Life::Failed(_)) && !rank.terminating;
        let is_counted = |slot: usize, birth: u8| state.counted[slot] & (1 << birth) != 0;
        // In a restart of the whole job, the failure that caused it stands for all.
        let whole = self.version(job).spec.restart_scope() == RestartScope::Job;
        let cause = |slot: usize| state.stored.pods[slot].is_some_and(|rank| is_counted(slot, rank.birth));
        let counted = is_counted(slot, birth) || (whole && (0..SLOTS).any(cause));
        assert!(
            !(works && knew && self.wants(job, slot)) || counted,
            "S4: pod {slot} was not counted"
        );
    }
}

/// Deletes the pod in a slot: one that runs has its grace period.
pub(super) fn delete_pod(stored: &mut Things, slot: usize) {
    if let Some(rank) = &mut stored.pods[slot] {
        if rank.life == Life::Running {
            rank.terminating = true;
        } else {
            stored.pods[slot] = None;
        }
    }
}

/// Deletes the pod of this birth. False when its successor has the name.
fn delete_this_pod(after: &mut State, slot: usize, birth: u8, answered: bool) -> bool {
    let is_it = |rank: &Rank| rank.birth == birth;
    let stored = after.stored.pods[slot];
    if stored.is_some_and(|rank| is_it(&rank)) {
        delete_pod(&mut after.stored, slot);
    }
    if !answered {
        return false;
    }
    match stored {
        Some(rank) if is_it(&rank) => {
            if let Some(seen) = after.seen.pods[slot].as_mut().filter(|rank| is_it(rank)) {
                (seen.terminating, seen.asked) = (true, true);
            }
            true
        }
        Some(_) => {
            after.doubted = true;
            false
        }
        None => {
            after.seen.pods[slot].take_if(|rank| is_it(rank));
            true
        }
    }
}
