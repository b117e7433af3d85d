//! Links into SigNoz, so that an alert is one click away from its logs.

use serde_json::json;
use url::Url;

/// Link to SigNoz's logs explorer for the logs of `host` (or of `service`, where the host is not
/// known) between two times, milliseconds since the epoch. `None` where `base` cannot carry a path.
///
/// The form is that of SigNoz's own alert notifications (`pkg/contextlinks`, query builder v5):
/// `compositeQuery` is JSON and encoded once more than the other parameters. SigNoz versions with
/// the older query builder ignore the filter expression and show the time range unfiltered.
///
/// The host is looked for in the resource and in the body: Windows events that were forwarded and
/// syslog lines that were relayed carry the origin's name only in the body.
pub fn logs_url(base: &Url, host: &str, service: &str, from_ms: i64, to_ms: i64) -> Option<String> {
    let filter = if !host.is_empty() {
        let host = quoted(host);
        format!("(host.name = {host} OR body CONTAINS {host})")
    } else if !service.is_empty() {
        format!("service.name = {}", quoted(service))
    } else {
        String::new()
    };
    let composite_query = json!({
        "queryType": "builder",
        "builder": {
            "queryData": [{
                "dataSource": "logs",
                "queryName": "A",
                "aggregateOperator": "noop",
                "aggregateAttribute": {},
                "filters": {"items": [], "op": "AND"},
                "filter": {"expression": filter},
                "expression": "A",
                "disabled": false,
                "having": [],
                "stepInterval": 60,
                "limit": null,
                "orderBy": [{"columnName": "timestamp", "order": "desc"}],
                "groupBy": [],
            }],
            "queryFormulas": [],
        },
    });
    let time_range = json!({"start": from_ms, "end": to_ms, "pageSize": 100});
    let options = json!({"maxLines": 2, "format": "list", "selectColumns": []});
    let mut url = base.clone();
    // No link may carry a password that stands in the configured address.
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    url.path_segments_mut().ok()?.pop_if_empty().extend(["logs", "logs-explorer"]);
    let once: String = url::form_urlencoded::byte_serialize(composite_query.to_string().as_bytes()).collect();
    // A receiver may render templates in what it shows (see `keep`'s text): no function name of
    // theirs, all of which have a dot, stands here as it is.
    let once = once.replace('.', "%2E");
    url.query_pairs_mut()
        .append_pair("compositeQuery", &once)
        .append_pair("timeRange", &time_range.to_string())
        .append_pair("startTime", &from_ms.to_string())
        .append_pair("endTime", &to_ms.to_string())
        .append_pair("options", &options.to_string());
    Some(url.into())
}

/// A text literal of SigNoz's filter language.
fn quoted(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn read(link: &str) -> (Url, Value) {
        let url = Url::parse(link).unwrap();
        let (_, once) = url.query_pairs().find(|(name, _)| name == "compositeQuery").unwrap();
        let (query, _) = url::form_urlencoded::parse(once.as_bytes()).next().unwrap();
        let query = serde_json::from_str(&query).unwrap();
        (url, query)
    }

    #[test]
    fn it_opens_the_logs_of_the_host_at_the_time() {
        let base = Url::parse("https://user:secret@signoz.example/base/?x=1#y").unwrap();
        let link = logs_url(&base, "web-01", "nginx", 1_700_000_000_000, 1_700_000_060_000).unwrap();
        let (url, query) = read(&link);
        assert!(
            link.starts_with("https://signoz.example/base/logs/logs-explorer?compositeQuery=%257B"),
            "{link}"
        );
        let pairs: Vec<_> = url.query_pairs().filter(|(name, _)| name != "compositeQuery").collect();
        assert_eq!(pairs[0].1, r#"{"start":1700000000000,"end":1700000060000,"pageSize":100}"#);
        assert_eq!(pairs[1], ("startTime".into(), "1700000000000".into()));
        assert_eq!(pairs[2], ("endTime".into(), "1700000060000".into()));
        let filter = &query["builder"]["queryData"][0]["filter"]["expression"];
        assert_eq!(filter, "(host.name = 'web-01' OR body CONTAINS 'web-01')");
    }

    #[test]
    fn text_from_logs_cannot_leave_its_literal() {
        let base = Url::parse("http://localhost:8080").unwrap();
        let (_, query) = read(&logs_url(&base, "a' OR 1=1 --\\\n&x=%27", "", 0, 1).unwrap());
        let filter = &query["builder"]["queryData"][0]["filter"]["expression"];
        let host = r"'a\' OR 1=1 --\\&x=%27'";
        assert_eq!(filter.as_str().unwrap(), format!("(host.name = {host} OR body CONTAINS {host})"));
        assert!(!logs_url(&base, "keep.len([1])", "", 0, 1).unwrap().contains("keep."));
    }

    #[test]
    fn without_a_host_the_service_is_the_filter() {
        let base = Url::parse("http://localhost:8080").unwrap();
        let (_, query) = read(&logs_url(&base, "", "api", 0, 1).unwrap());
        assert_eq!(query["builder"]["queryData"][0]["filter"]["expression"], "service.name = 'api'");
        let (_, query) = read(&logs_url(&base, "", "", 0, 1).unwrap());
        assert_eq!(query["builder"]["queryData"][0]["filter"]["expression"], "");
    }
}
