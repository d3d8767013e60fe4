//! The rules about what `restartWindow` and `restartStrategy` need.

use crate::api::cel::{of_a_new_object, or_else};
use crate::api::rule::{Rule, Scope, rule};

/// Restarts of containers in place have no time that is stored.
pub(crate) fn window() -> [Rule; 2] {
    const NEEDS: &str =
        "restartWindow needs restartScope Job: otherwise the kubelet restarts containers by itself; use backoffLimit";
    let fits = |policy: &str| {
        let scope = or_else(&format!("{policy}.restartScope"), "'Replica'");
        format!("!has({policy}.restartWindow) || {scope} == 'Job'")
    };
    [
        rule(
            Scope::Root,
            ".spec.runPolicy.restartWindow",
            of_a_new_object(&fits("self.spec.runPolicy")),
            NEEDS,
        ),
        rule(
            Scope::RunPolicy,
            ".restartWindow",
            format!("{} || has(oldSelf.restartWindow)", fits("self")),
            NEEDS,
        ),
    ]
}

/// No edit can add it, so what is created alone is looked at.
pub(crate) fn strategy() -> Rule {
    let scope = or_else("self.spec.runPolicy.restartScope", "'Replica'");
    rule(
        Scope::Root,
        ".spec.runPolicy.restartStrategy",
        of_a_new_object(&format!(
            "!has(self.spec.runPolicy.restartStrategy) || self.spec.runPolicy.restartStrategy != 'InPlace' || {scope} == 'Job'"
        )),
        "restartStrategy InPlace needs restartScope Job: with Replica the kubelet restarts the container that failed in \
         place without it",
    )
}
