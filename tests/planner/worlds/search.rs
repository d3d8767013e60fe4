//! Breadth-first search of all states, and what can be said of all of them together.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasherDefault;

use fnv::FnvHasher;

use super::model::Model;
use super::state::{State, Step};

/// All states of a world, in the order in which they are reached.
pub(super) struct Search {
    states: Vec<State>,
    ids: HashMap<State, u32, BuildHasherDefault<FnvHasher>>,
    /// How each is reached first.
    reached_by: Vec<(u32, Option<Step>)>,
    /// The steps that happen by themselves.
    goes_on: Vec<(u32, u32)>,
}

/// Prints how the state that is being looked at is reached, should a law fail there.
struct Trace<'a>(&'a Search, u32);

impl Search {
    /// Finds every state, and holds the laws in each.
    ///
    /// The laws of liveness are about the steps that happen by themselves: the watches catch up, the operator works, the
    /// kubelet starts and ends pods. In whatever order they do, they come to an end, and where they end is a state of
    /// rest. So from every state of the world, whatever has happened until then, a state of rest is reached.
    pub(super) fn all(model: &mut Model) -> Self {
        let mut search = Self {
            states: Vec::new(),
            ids: HashMap::default(),
            reached_by: Vec::new(),
            goes_on: Vec::new(),
        };
        search.add(model.start(), (0, None));
        let (mut at, mut next) = (0, Vec::new());
        while let Some(state) = search.states.get(at as usize).copied() {
            next.clear();
            {
                let _trace = Trace(&search, at);
                model.next(&state, &mut next);
            }
            let mut rests = true;
            for (step, after) in next.drain(..) {
                let id = search.add(after, (at, Some(step)));
                if step.goes_on() {
                    rests = false;
                    search.goes_on.push((at, id));
                }
            }
            if rests {
                let _trace = Trace(&search, at);
                model.rests(&state);
            }
            at += 1;
        }
        search.comes_to_rest();
        search
    }

    /// How many states there are.
    pub(super) const fn len(&self) -> usize {
        self.states.len()
    }

    /// How many of them are states of rest.
    pub(super) fn at_rest(&self) -> usize {
        let mut rests = vec![true; self.states.len()];
        self.goes_on.iter().for_each(|(from, _)| rests[*from as usize] = false);
        rests.into_iter().filter(|rests| *rests).count()
    }

    fn add(&mut self, state: State, by: (u32, Option<Step>)) -> u32 {
        match self.ids.entry(state) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let id = u32::try_from(self.states.len()).expect("small worlds are small");
                new.insert(id);
                self.states.push(state);
                self.reached_by.push(by);
                id
            }
        }
    }

    /// There is no way to go in circles: takes away the states of rest, then those that lead only to states that were
    /// taken away, until none is left.
    fn comes_to_rest(&self) {
        let mut ways_on = vec![0_u32; self.states.len()];
        let mut ways_into: Vec<Vec<u32>> = vec![Vec::new(); self.states.len()];
        for (from, to) in &self.goes_on {
            ways_on[*from as usize] += 1;
            ways_into[*to as usize].push(*from);
        }
        let ids = 0..u32::try_from(self.states.len()).expect("small worlds are small");
        let mut done: Vec<u32> = ids.filter(|id| ways_on[*id as usize] == 0).collect();
        let mut at = 0;
        while let Some(to) = done.get(at).copied() {
            for &from in &ways_into[to as usize] {
                ways_on[from as usize] -= 1;
                if ways_on[from as usize] == 0 {
                    done.push(from);
                }
            }
            at += 1;
        }
        if let Some(circling) = ways_on.iter().position(|ways| *ways > 0) {
            let _trace = Trace(self, u32::try_from(circling).expect("small worlds are small"));
            unreachable!("L1: from here on the operator can go in circles");
        }
    }
}

impl Drop for Trace<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let (search, mut at) = (self.0, self.1);
        let mut steps = Vec::new();
        while let (before, Some(step)) = search.reached_by[at as usize] {
            steps.push(format!("{step:?}"));
            at = before;
        }
        steps.reverse();
        println!("after {}: {:#?}", steps.join(", "), search.states[self.1 as usize]);
    }
}
