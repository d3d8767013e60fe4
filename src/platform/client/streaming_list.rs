//! Streaming lists, which begin with what is stored.

use http::uri::PathAndQuery;
use http::{Request, Uri};

/// Takes the version away from a request for a streaming list. kube asks for `resourceVersion=0`, any state that the
/// API server has cached, and one that has just started may show objects that are long gone. Without a version the list
/// is as recent as one by pages. Any other request is as it was.
pub(super) fn from_what_is_stored<B>(mut request: Request<B>) -> Request<B> {
    if let Some(uri) = without_version(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

fn without_version(uri: &Uri) -> Option<Uri> {
    let query = uri.query()?;
    if !query.split('&').any(|parameter| parameter == "sendInitialEvents=true") {
        return None;
    }
    let kept: Vec<_> = query
        .split('&')
        .filter(|parameter| *parameter != "resourceVersion=0")
        .collect();
    let mut parts = uri.clone().into_parts();
    let path_and_query = format!("{}?{}", uri.path(), kept.join("&"));
    parts.path_and_query = Some(PathAndQuery::try_from(path_and_query).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streaming_list_asks_for_what_is_stored_and_not_for_what_the_api_server_has_cached() {
        let pods = "https://10.0.0.1:6443/api/v1/pods";
        for (asked, expected) in [
            (
                "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0",
                "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
            ),
            ("watch=true&resourceVersion=0", "watch=true&resourceVersion=0"),
            ("limit=50", "limit=50"),
        ] {
            let request = Request::get(format!("{pods}?{asked}")).body(()).unwrap();
            let sent = from_what_is_stored(request);
            assert_eq!(sent.uri().to_string(), format!("{pods}?{expected}"));
        }
        let without_query = Request::get(pods).body(()).unwrap();
        assert_eq!(from_what_is_stored(without_query).uri(), pods);
    }
}
