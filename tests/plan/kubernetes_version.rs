//! The oldest Kubernetes that the operator supports: it is stated once, and nothing that is installed rests on a newer one.
//! `make test-oldest` runs the operator with that version; these tests say in a second what would fail there.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;
use std::fs;

use pytorchjob_test_cluster::repository;
use regex_lite::Regex;
use serde_json::Value;

/// Minor version of Kubernetes 1.
type Minor = u32;

/// Functions and macros of CEL, and the minor version of Kubernetes 1 since which an API server knows them: the libraries in
/// `pkg/cel/environment/base.go` of k8s.io/apiserver.
const FUNCTIONS: [(Minor, &str); 11] = [
    (
        25,
        "has all exists exists_one map filter size contains endsWith matches startsWith string int uint double bool bytes \
         dyn type duration timestamp getFullYear getMonth getDayOfMonth getHours getMinutes getSeconds getMilliseconds",
    ),
    (
        25,
        "isSorted sum min max indexOf lastIndexOf find findAll isURL url getScheme getHost getPort",
    ),
    (25, "charAt join lowerAscii upperAscii replace split substring trim"),
    (
        27,
        "authorizer group resource subresource namespace name check allowed reason path serviceAccount",
    ),
    (
        28,
        "quantity isQuantity isGreaterThan isLessThan compareTo asInteger asApproximateFloat add sub sign isInteger",
    ),
    (28, "of none ofNonZeroValue hasValue value orValue or optMap optFlatMap"),
    (29, "sets equivalent intersects quote format strings"),
    (
        30,
        "ip isIP cidr isCIDR family containsIP containsCIDR prefixLength masked",
    ),
    (31, "named validate"),
    (32, "transformList transformMap transformMapEntry existsOne"),
    (33, "semver isSemver major minor patch"),
];

/// Keys of a schema and of its rules, and the minor version since which an API server heeds them.
const KEYWORDS: [(Minor, &str); 4] = [
    (
        16,
        "type format properties additionalProperties items required enum default description pattern minimum maximum \
         minLength maxLength minItems maxItems minProperties maxProperties nullable anyOf allOf oneOf not \
         x-kubernetes-int-or-string x-kubernetes-list-type x-kubernetes-list-map-keys x-kubernetes-map-type \
         x-kubernetes-preserve-unknown-fields x-kubernetes-embedded-resource uniqueItems title example",
    ),
    (25, "x-kubernetes-validations rule message"),
    (27, "messageExpression"),
    (28, "fieldPath reason"),
];

/// Kinds that are installed or that the operator may ask for, and the minor version that has them without a feature gate.
const KINDS: [(Minor, &str); 17] = [
    (0, "v1/Namespace"),
    (0, "v1/ServiceAccount"),
    (0, "v1/Service"),
    (0, "v1/ConfigMap"),
    (7, "networking.k8s.io/v1/NetworkPolicy"),
    (8, "rbac.authorization.k8s.io/v1/ClusterRole"),
    (8, "rbac.authorization.k8s.io/v1/ClusterRoleBinding"),
    (8, "rbac.authorization.k8s.io/v1/Role"),
    (8, "rbac.authorization.k8s.io/v1/RoleBinding"),
    (9, "apps/v1/Deployment"),
    (14, "coordination.k8s.io/v1/Lease"),
    (16, "apiextensions.k8s.io/v1/CustomResourceDefinition"),
    (19, "events.k8s.io/v1/Event"),
    (21, "policy/v1/PodDisruptionBudget"),
    (23, "autoscaling/v2/HorizontalPodAutoscaler"),
    (30, "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy"),
    (30, "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding"),
];

fn text(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("read {path}: {error}"))
}

fn documents(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&text(path)).unwrap()
}

/// The minor version that the chart asks for.
fn oldest() -> Minor {
    let chart = &documents("config/helm/pytorchjob-operator/Chart.yaml")[0];
    let wanted = chart["kubeVersion"].as_str().unwrap();
    let minor = wanted.strip_prefix(">=1.").and_then(|rest| rest.strip_suffix(".0-0"));
    minor.and_then(|minor| minor.parse().ok()).unwrap()
}

/// Since when `word` exists, by a table.
fn since(table: &[(Minor, &str)], word: &str) -> Minor {
    let row = table
        .iter()
        .find(|(_, words)| words.split_whitespace().any(|known| known == word));
    row.unwrap_or_else(|| {
        panic!(
            "in which version of Kubernetes did {word} come? The tables of {} do not say",
            file!()
        )
    })
    .0
}

/// What an expression calls, and `two variables` for a macro that binds two.
fn calls(expression: &str) -> BTreeSet<String> {
    let without_text = Regex::new(r#"'[^']*'|"[^"]*""#)
        .unwrap()
        .replace_all(expression, "''")
        .into_owned();
    let call = Regex::new(r"([A-Za-z_]\w*)\(").unwrap();
    let mut found: BTreeSet<String> = call
        .captures_iter(&without_text)
        .map(|call| call[1].to_owned())
        .collect();
    let two = Regex::new(r"\.(all|exists|exists_one|existsOne)\(\s*\w+\s*,\s*\w+\s*,").unwrap();
    if two.is_match(&without_text) {
        found.insert("existsOne".to_owned());
    }
    // Optional fields and elements, as in `self.?field`.
    if without_text.contains(".?") || without_text.contains("[?") {
        found.insert("optMap".to_owned());
    }
    found
}

/// Calls `visit` with every schema in a schema.
fn schemas(schema: &Value, visit: &mut impl FnMut(&Value)) {
    visit(schema);
    let nested = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(_, nested)| nested);
    let lists = ["anyOf", "allOf", "oneOf"]
        .iter()
        .filter_map(|key| schema[key].as_array())
        .flatten();
    let single = ["items", "additionalProperties", "not"]
        .iter()
        .filter_map(|key| schema.get(key));
    for nested in nested.chain(lists).chain(single.filter(|nested| nested.is_object())) {
        schemas(nested, visit);
    }
}

/// Every expression under one of the keys that hold CEL.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let cel = ["rule", "expression", "messageExpression"].contains(&key.as_str());
                match value.as_str().filter(|_| cel) {
                    Some(expression) => found.push(expression.to_owned()),
                    None => expressions(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

const DEFINITION: &str = "crds/kubeflow.org_pytorchjobs.yaml";
const WARNINGS: &str = "config/warnings/policy.yaml";

#[test]
fn the_oldest_version_is_the_same_wherever_it_is_stated() {
    let oldest = oldest();
    for (path, statement) in [
        ("tests/oldest/go.mod", format!("k8s.io/kubernetes v1.{oldest}.")),
        ("docs/install.md", format!("Kubernetes 1.{oldest} or newer")),
        ("README.md", format!("Kubernetes 1.{oldest} or newer")),
    ] {
        assert!(text(path).contains(&statement), "{path} does not say {statement:?}");
    }
}

#[test]
fn no_rule_calls_what_the_oldest_api_server_does_not_know() {
    let mut found = Vec::new();
    for path in [DEFINITION, WARNINGS] {
        for document in documents(path) {
            expressions(&document, &mut found);
        }
    }
    assert!(found.len() > 20, "{}", found.len());
    for expression in &found {
        for call in calls(expression) {
            let since = since(&FUNCTIONS, &call);
            assert!(since <= oldest(), "{call} came with Kubernetes 1.{since}: {expression}");
        }
    }
}

#[test]
fn what_a_rule_calls_is_found_and_what_it_only_names_is_not() {
    let names = |expression: &str| calls(expression).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(names("self.all(k, k == 'ip(1)') && size(self) < 2"), "all size");
    assert_eq!(names("self.all(k, v, k == v)"), "all existsOne");
    assert_eq!(names("self.?name.orValue('') == ''"), "optMap orValue");
    assert_eq!(since(&FUNCTIONS, "isCIDR"), 30);
}

#[test]
fn the_schema_has_no_keyword_that_the_oldest_api_server_does_not_heed() {
    let definition = &documents(DEFINITION)[0];
    let version = &definition["spec"]["versions"][0];
    let allowed = [
        "additionalPrinterColumns",
        "name",
        "schema",
        "served",
        "storage",
        "subresources",
    ];
    let fields: Vec<&String> = version.as_object().unwrap().keys().collect();
    let newer: Vec<_> = fields
        .iter()
        .filter(|field| !allowed.contains(&field.as_str()))
        .collect();
    assert!(
        newer.is_empty(),
        "{newer:?}: selectableFields, for example, came with 1.31"
    );
    schemas(&version["schema"]["openAPIV3Schema"], &mut |schema| {
        let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
        let keywords = [schema].into_iter().chain(rules);
        for keyword in keywords.filter_map(Value::as_object).flat_map(|object| object.keys()) {
            let since = since(&KEYWORDS, keyword);
            assert!(since <= oldest(), "{keyword} came with Kubernetes 1.{since}");
        }
    });
}

#[test]
fn every_kind_that_is_installed_exists_in_the_oldest_version() {
    let mut found = 0;
    for object in documents("dist/install.yaml").iter().chain(&documents(WARNINGS)) {
        let kind = [&object["apiVersion"], &object["kind"]]
            .map(|part| part.as_str().unwrap())
            .join("/");
        let since = since(&KINDS, &kind);
        assert!(since <= oldest(), "{kind} came with Kubernetes 1.{since}");
        found += 1;
    }
    assert!(found > 10, "{found}");
}
