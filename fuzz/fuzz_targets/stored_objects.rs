//! Whatever is stored under one of the kinds that are watched is decoded: a list fails as a whole, so an object that
//! cannot be would stop the watch for all. No field that is read makes the operator end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &[u8]| {
    // The API server hands out objects with names.
    let Ok(object) = serde_json::from_slice::<Value>(text) else {
        return;
    };
    let Some(name) = object["metadata"]["name"].as_str() else {
        return;
    };
    if object["metadata"]
        .as_object()
        .is_some_and(|metadata| !is_metadata(metadata))
    {
        return;
    }
    let text = object.to_string();
    assert_eq!(pytorchjob_operator::fuzz::name_of_job(&text).as_deref(), Ok(name));
    pytorchjob_operator::fuzz::observe(&text);
});

/// Whether the API server could have stored it: metadata is the one part of an object of any definition that it checks
/// the types of.
fn is_metadata(metadata: &serde_json::Map<String, Value>) -> bool {
    let text = Value::Object(metadata.clone()).to_string();
    serde_json::from_str::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>(&text).is_ok()
}
