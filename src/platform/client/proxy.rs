//! The proxy that the environment names, for what a kubeconfig leads to.
//!
//! kube takes `HTTPS_PROXY`, but holds `NO_PROXY` against the address of the proxy and not against that of the API
//! server. Here they mean what they mean to kubectl.

use std::env;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;

/// What never goes by a proxy of the environment, as in Go: a proxy elsewhere could not reach it.
const LOCAL: &str = "localhost,127.0.0.0/8,::1";
/// The token of a pod, whose API server kube never asks for by a proxy.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Takes the proxy of the environment where it is to be taken, and no other than that of the kubeconfig.
pub(crate) fn heed_no_proxy(config: &mut Config) {
    let first = |names: [&str; 2]| {
        let mut values = names.into_iter().filter_map(|name| env::var(name).ok());
        values.find(|value| !value.is_empty())
    };
    let proxy = first(["HTTPS_PROXY", "https_proxy"]);
    let no_proxy = first(["NO_PROXY", "no_proxy"]);
    choose(config, proxy.as_deref(), no_proxy.as_deref().unwrap_or_default());
}

fn choose(config: &mut Config, proxy: Option<&str>, no_proxy: &str) {
    let Some(proxy) = proxy.and_then(|proxy| proxy.parse::<Uri>().ok()) else {
        return;
    };
    let in_a_pod = config.auth_info.token_file.as_deref() == Some(SERVICE_ACCOUNT_TOKEN);
    let of_the_kubeconfig = config.proxy_url.as_ref().is_some_and(|url| *url != proxy);
    if !(in_a_pod || of_the_kubeconfig) {
        config.proxy_url = Some(proxy).filter(|_| !is_excepted(&config.cluster_url, no_proxy));
    }
}

/// Whether no proxy is to be asked for this address. An entry with a port is for that port alone.
fn is_excepted(address: &Uri, no_proxy: &str) -> bool {
    let port = address.port_u16().unwrap_or(443).to_string();
    let entries = no_proxy
        .split(',')
        .map(str::trim)
        .filter_map(|entry| match entry.rsplit_once(':') {
            Some((host, of)) if !host.contains(':') => (of == port).then_some(host),
            _ => Some(entry),
        });
    let hosts: Vec<_> = entries
        .map(|entry| {
            entry
                .strip_prefix('*')
                .filter(|rest| rest.starts_with('.'))
                .unwrap_or(entry)
        })
        .collect();
    let matcher = Matcher::builder()
        .all("http://proxy")
        .no(format!("{LOCAL},{}", hosts.join(",")));
    matcher.build().intercept(address).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is chosen for a cluster at this address for which kube has chosen that.
    fn chosen(cluster: &str, by_kube: Option<&str>, no_proxy: &str) -> Option<String> {
        let mut config = Config::new(cluster.parse().unwrap());
        config.proxy_url = by_kube.map(|proxy| proxy.parse().unwrap());
        choose(&mut config, Some(PROXY), no_proxy);
        config.proxy_url.map(|proxy| proxy.to_string())
    }

    const PROXY: &str = "http://proxy.corp.example:3128/";
    const CLUSTER: &str = "https://api.k8s.example:6443";

    #[test]
    fn no_proxy_is_about_the_api_server_and_not_about_the_proxy() {
        for (no_proxy, proxied) in [
            ("", true),
            ("corp.example", true),
            (".k8s.example", false),
            ("k8s.example", false),
            ("s.example", true),
            ("*.k8s.example", false),
            ("*", false),
            ("other, api.k8s.example", false),
            ("api.k8s.example:6443", false),
            ("api.k8s.example:443", true),
            ("10.0.0.0/8,", true),
        ] {
            let expected = proxied.then_some(PROXY);
            assert_eq!(
                chosen(CLUSTER, Some(PROXY), no_proxy).as_deref(),
                expected,
                "{no_proxy}"
            );
            assert_eq!(
                chosen(CLUSTER, None, no_proxy).as_deref(),
                expected,
                "dropped by kube: {no_proxy}"
            );
        }
        assert_eq!(chosen("https://10.1.2.3", Some(PROXY), "10.0.0.0/8"), None);
        assert_eq!(chosen("https://[fd00::1]:6443", Some(PROXY), "fd00::/8"), None);
        for local in ["https://127.0.0.1:6443", "https://localhost", "https://[::1]:6443"] {
            assert_eq!(chosen(local, Some(PROXY), ""), None, "{local}");
        }
    }

    #[test]
    fn the_proxy_of_a_kubeconfig_stands_and_a_pod_asks_no_proxy() {
        let other = "socks5://127.0.0.1:1080/";
        assert_eq!(chosen(CLUSTER, Some(other), "*").as_deref(), Some(other));
        let mut config = Config::new(CLUSTER.parse().unwrap());
        config.auth_info.token_file = Some(SERVICE_ACCOUNT_TOKEN.to_owned());
        choose(&mut config, Some(PROXY), "");
        assert_eq!(config.proxy_url, None);
        choose(&mut config, None, "");
        assert_eq!(config.proxy_url, None);
    }
}
