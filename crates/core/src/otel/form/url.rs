//! URLs and request targets, under the names that Sigma's `webserver` and `proxy` rules give them.
//!
//! Nothing is URL-decoded: Sigma's patterns are written for what stands in the log. Rules look for
//! paths in `cs-uri-query` too, so that holds the whole target and the query alone.

use crate::otel::event::Event;

/// What a URL is made of. Parts that are not there are empty.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::otel) struct Url<'t> {
    /// Without user and port.
    pub host: &'t str,
    /// Path and query.
    pub target: &'t str,
    pub path: &'t str,
    pub query: &'t str,
    /// Of the path's last part, without the dot.
    pub extension: &'t str,
}

/// Takes a URL apart: whole (`http://host/path`), without its scheme as proxies write it (`host:443`,
/// `host/path`), or a path alone.
pub(in crate::otel) fn parse(url: &str) -> Url<'_> {
    let after_scheme = url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)).map(|(_, rest)| rest);
    let (authority, target) = match after_scheme {
        Some(rest) => at_authoritys_end(rest),
        None if url.starts_with(['/', '?', '*']) => ("", url),
        None => at_authoritys_end(url),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let file = path.rsplit('/').next().unwrap_or("");
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension);
    Url { host: host(authority), target, path, query, extension }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.len() <= 12 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn at_authoritys_end(text: &str) -> (&str, &str) {
    text.split_at(text.find(['/', '?']).unwrap_or(text.len()))
}

/// `host` of `user@host:port` and `[::1]:port`.
pub(in crate::otel) fn host(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match host.split_once(':') {
        // More than one colon: an IPv6 address without brackets.
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    }
}

/// Adds `METHOD target HTTP/1.1`; a request that is no HTTP is a target alone.
pub(super) fn push_request<'t>(request: &'t str, event: &mut Event<'t>) {
    let is_method = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || matches!(b, b'_' | b'-'))
    };
    let (method, rest) = request.split_once(' ').filter(|(word, _)| is_method(word)).unwrap_or(("", request));
    let (target, version) = match rest.rsplit_once(' ') {
        Some((target, version)) if version.starts_with("HTTP/") => (target, version),
        _ => (rest, ""),
    };
    if !method.is_empty() && method != "-" {
        event.push("cs-method", method);
    }
    if !version.is_empty() {
        event.push("cs-version", version);
    }
    push_target(target, event);
}

/// Adds the request target that a web server was asked for.
pub(super) fn push_target<'t>(target: &'t str, event: &mut Event<'t>) {
    if target.is_empty() || target == "-" {
        return;
    }
    if target.contains("://") && !target.starts_with('/') {
        return push_url(target, event);
    }
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    for name in ["cs-uri", "c-uri", "cs-uri-query", "c-uri-query"] {
        event.push(name, target);
    }
    push_path(path, query, event);
}

/// Adds a whole URL. `c-uri` and `cs-uri` hold it as it is, and its target alone, for some rules
/// give the one and some the other.
pub(super) fn push_url<'t>(url: &'t str, event: &mut Event<'t>) {
    if url.is_empty() || url == "-" {
        return;
    }
    let parts = parse(url);
    for name in ["cs-uri", "c-uri", "cs-uri-query", "c-uri-query"] {
        event.push(name, url);
        if !parts.target.is_empty() && parts.target != url {
            event.push(name, parts.target);
        }
    }
    if !parts.host.is_empty() {
        push_host(parts.host, event);
    }
    if !parts.path.is_empty() {
        push_path(parts.path, Some(parts.query).filter(|query| !query.is_empty()), event);
    }
}

/// Adds the host that was asked for.
pub(super) fn push_host<'t>(name: &'t str, event: &mut Event<'t>) {
    event.push("cs-host", name);
    event.push("r-dns", name);
}

fn push_path<'t>(path: &'t str, query: Option<&'t str>, event: &mut Event<'t>) {
    for (stem, queries) in [("cs-uri-stem", "cs-uri-query"), ("c-uri-stem", "c-uri-query")] {
        event.push(stem, path);
        if let Some(query) = query {
            event.push(queries, query);
        }
    }
    let file = path.rsplit('/').next().unwrap_or("");
    if let Some((_, extension)) = file.rsplit_once('.') {
        event.push("c-uri-extension", extension);
    }
}

/// Adds the user agent under both its names. A proxy's line has a column for it, so one that was
/// not sent is known to be empty, which rules ask for.
pub(super) fn push_proxy_agent<'t>(agent: &'t str, event: &mut Event<'t>) {
    let agent = if agent == "-" { "" } else { agent };
    event.push("c-useragent", agent);
    if !agent.is_empty() {
        event.push("cs-user-agent", agent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_whole_and_in_part() {
        let url = parse("https://bob@www.example.com:8443/a/b.tar.gz?q=http://x/");
        assert_eq!((url.host, url.path), ("www.example.com", "/a/b.tar.gz"));
        assert_eq!((url.target, url.query), ("/a/b.tar.gz?q=http://x/", "q=http://x/"));
        assert_eq!(url.extension, "gz");
        for (text, host, target) in [
            ("example.com:443", "example.com", ""),
            ("example.com/x", "example.com", "/x"),
            ("[::1]:443", "::1", ""),
            ("::1", "::1", ""),
            ("/only?a", "", "/only?a"),
            ("http://h?x", "h", "?x"),
            ("", "", ""),
        ] {
            let url = parse(text);
            assert_eq!((url.host, url.target), (host, target), "{text}");
        }
    }

    #[test]
    fn a_proxys_url_is_found_whole_and_by_its_parts() {
        let mut event = Event::default();
        push_url("http://evil.top/a.exe?x=1", &mut event);
        for (name, value) in [
            ("c-uri", "http://evil.top/a.exe?x=1"),
            ("c-uri", "/a.exe?x=1"),
            ("cs-host", "evil.top"),
            ("r-dns", "evil.top"),
            ("c-uri-extension", "exe"),
            ("c-uri-query", "x=1"),
            ("cs-uri-stem", "/a.exe"),
        ] {
            assert!(
                event.fields.iter().any(|(n, v)| n == name && v.text().as_deref() == Some(value)),
                "{name}"
            );
        }
        let mut tunnel = Event::default();
        push_url("evil.top:443", &mut tunnel);
        assert_eq!(tunnel.field("cs-host").and_then(|v| v.text()).as_deref(), Some("evil.top"));
        assert!(tunnel.field("c-uri-extension").is_none());
    }
}
