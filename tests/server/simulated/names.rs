//! The names that a server gives, told by when they were first answered.

use serde_json::{Map, Value, json};

use super::api_server::Request;

/// What a server has answered so far: UIDs and versions. The n-th of one server stands for the n-th of the other.
#[derive(Debug, Default)]
pub(super) struct Names {
    uids: Vec<String>,
    versions: Vec<u64>,
}

impl Names {
    /// How many versions there are.
    pub(super) fn count(&self) -> usize {
        self.versions.len()
    }

    /// A request with `<uid N>` and `<version N>` as this server knows them.
    pub(super) fn spell(&self, request: &Request) -> Request {
        let mut spelt = request.clone();
        let known = |text: &str| self.known(text);
        spelt.body = known(&String::from_utf8_lossy(&request.body)).into_bytes();
        for (_, value) in &mut spelt.query {
            *value = known(value);
        }
        spelt
    }

    fn known(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (number, uid) in self.uids.iter().enumerate() {
            text = text.replace(&format!("<uid {number}>"), uid);
        }
        for (number, version) in self.versions.iter().enumerate() {
            text = text.replace(&format!("<version {number}>"), &version.to_string());
        }
        text
    }

    /// What is answered, with what is of this server alone replaced or left out.
    pub(super) fn read(&mut self, mut body: Value) -> Value {
        if let Some(kind) = body["kind"].as_str().and_then(|kind| kind.strip_suffix("List")) {
            let kind = kind.to_owned();
            let items = body["items"].as_array_mut().into_iter().flatten();
            for item in items {
                // Those of a list do not say what they are, unless they are of a kind that is defined.
                item["kind"] = json!(kind);
                self.object(item);
            }
            // An earlier or the same version of the store: other objects change too.
            body["metadata"]["resourceVersion"] = json!("<of the list>");
            match body["metadata"]["continue"].as_str() {
                // Said of kinds that are defined.
                Some("") => remove(&mut body, &["metadata", "continue"]),
                Some(_) => body["metadata"]["continue"] = json!("<token>"),
                None => {}
            }
        } else {
            self.object(&mut body);
        }
        body
    }

    fn object(&mut self, object: &mut Value) {
        let metadata = &object["metadata"];
        if let Some(uid) = metadata["uid"].as_str()
            && !self.uids.iter().any(|known| known == uid)
        {
            self.uids.push(uid.to_owned());
        }
        let version = metadata["resourceVersion"]
            .as_str()
            .and_then(|version| version.parse().ok());
        if let Some(version) = version.filter(|version| !self.versions.contains(version)) {
            self.versions.push(version);
        }
        drop_what_is_not_simulated(object);
        self.name(object);
    }

    /// Replaces what only this server calls so.
    fn name(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.named(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.name(item)),
            Value::Object(fields) => {
                for (field, value) in fields {
                    if let (true, Some(version)) = (field == "resourceVersion", value.as_str()) {
                        *value = json!(self.version(version));
                    } else if ["creationTimestamp", "deletionTimestamp"].contains(&field.as_str()) {
                        *value = json!("<time>");
                    } else {
                        self.name(value);
                    }
                }
            }
            _ => {}
        }
    }

    fn named(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (number, uid) in self.uids.iter().enumerate() {
            text = text.replace(uid, &format!("<uid {number}>"));
        }
        for (number, version) in self.versions.iter().enumerate() {
            text = text.replace(&format!("({version})"), &format!("(<version {number}>)"));
        }
        text
    }

    /// Which version it is, and how many of those before it in number are older.
    fn version(&self, version: &str) -> String {
        let Some(number) = self.versions.iter().position(|known| known.to_string() == version) else {
            return version.to_owned();
        };
        let older = self.versions[..number]
            .iter()
            .filter(|known| **known < self.versions[number]);
        format!("<version {number}, newer than {}>", older.count())
    }
}

/// Fields that a real server adds and that nobody in the simulation reads.
fn drop_what_is_not_simulated(object: &mut Value) {
    remove(object, &["metadata", "managedFields"]);
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    match kind.as_str() {
        "Pod" => {
            let spec = [
                "dnsPolicy",
                "enableServiceLinks",
                "preemptionPolicy",
                "priority",
                "schedulerName",
                "securityContext",
                "serviceAccount",
                "serviceAccountName",
                "tolerations",
                "volumes",
            ];
            for field in spec {
                remove(object, &["spec", field]);
            }
            remove(object, &["status", "qosClass"]);
            remove(object, &["status", "observedGeneration"]);
            for container in object["spec"]["containers"].as_array_mut().into_iter().flatten() {
                let kept = ["name", "image"];
                if let Some(fields) = container.as_object_mut() {
                    fields.retain(|field, _| kept.contains(&field.as_str()));
                }
            }
        }
        "Service" => {
            for field in [
                "clusterIPs",
                "internalTrafficPolicy",
                "ipFamilies",
                "ipFamilyPolicy",
                "sessionAffinity",
                "type",
            ] {
                remove(object, &["spec", field]);
            }
            for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
                remove(port, &["protocol"]);
                remove(port, &["targetPort"]);
            }
            remove(object, &["status"]);
        }
        "HorizontalPodAutoscaler" => {
            remove(object, &["metadata", "generation"]);
            remove(object, &["status"]);
        }
        _ => {}
    }
}

fn remove(object: &mut Value, path: &[&str]) {
    let (last, parents) = path.split_last().unwrap();
    let mut at = object;
    for field in parents {
        let Some(next) = at.get_mut(*field) else { return };
        at = next;
    }
    at.as_object_mut()
        .map(|fields: &mut Map<String, Value>| fields.remove(*last));
}
