//! What becomes of a request that the receiver refuses: 429, 413, 422, 400, wrong key or address.

use super::*;

#[tokio::test]
async fn a_rate_limit_is_waited_out_and_halves_the_rate() {
    let script = |n, _: &[Value]| if n == 0 { (429, "slow down".into()) } else { (202, String::new()) };
    let (keep, url) = Receiver::start(Box::new(script)).await;
    let world = World::start(url, settings(), alerts(&["a"]));
    world.delivered().await;
    let requests = keep.requests();
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(150));
    assert_eq!(requests.len(), 2);

    let mut pace = Pace::new(&OutboxSettings { alerts_per_second: 4.0, batch_alerts: 1, ..settings() });
    pace.too_many(Duration::ZERO);
    pace.accepted(1);
    let now = Instant::now();
    let wait = pace.allowance(now).unwrap_err() - now;
    assert!(wait > Duration::from_millis(400), "{wait:?}");
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let script = |n, _: &[Value]| if n == 0 { (429, "retry-after 1".into()) } else { (202, String::new()) };
    let (keep, url) = Receiver::start(Box::new(script)).await;
    let world = World::start(url, settings(), alerts(&["a"]));
    world.delivered().await;
    let requests = keep.requests();
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(990));
}

#[tokio::test]
async fn too_large_a_request_is_halved_and_an_alert_shortened_once() {
    let script = |_, alerts: &[Value]| match alerts.len() == 1 && alerts[0]["evidence"] == json!([]) {
        true => (202, String::new()),
        false => (413, "too large".into()),
    };
    let (keep, url) = Receiver::start(Box::new(script)).await;
    let world = World::start(url, settings(), alerts(&["a", "b", "c", "d"]));
    world.delivered().await;
    assert_eq!(keep.taken(), ["a", "b", "c", "d"]);
    assert!(world.dead().is_empty());
    let sizes: Vec<_> = keep.requests().iter().map(|request| request.alerts.len()).collect();
    assert_eq!(sizes[..3], [4, 2, 1]);

    let (_keep, url) = Receiver::start(Box::new(|_, _| (413, String::new()))).await;
    let world = World::start(url, settings(), alerts(&["a"]));
    world.delivered().await;
    assert!(world.dead()[0].1.contains("too large"));
}

#[tokio::test]
async fn an_invalid_alert_is_corrected_or_given_up_and_the_others_go() {
    let script = |_, alerts: &[Value]| {
        let bad = |alert: &Value| match alert["name"].as_str() {
            Some("bad-url") if alert.get("url").is_some() => Some("url"),
            Some("bad-name") => Some("name"),
            _ => None,
        };
        let problem = |(i, field)| json!({"loc": ["body", i, field], "msg": "no good", "type": "x"});
        let problems: Vec<_> = alerts
            .iter()
            .enumerate()
            .filter_map(|(i, alert)| bad(alert).map(|field| (i, field)))
            .map(problem)
            .collect();
        if problems.is_empty() {
            (202, String::new())
        } else {
            (422, json!({"detail": problems}).to_string())
        }
    };
    let (keep, url) = Receiver::start(Box::new(script)).await;
    let world = World::start(url, settings(), alerts(&["a", "bad-url", "bad-name", "b"]));
    world.delivered().await;
    assert_eq!(keep.requests().len(), 2, "the second request has the rest");
    assert_eq!(keep.taken(), ["a", "bad-url", "b"]);
    assert_eq!(world.dead(), [("bad-name".to_owned(), "Keep finds `name` invalid: no good".to_owned())]);
}

#[tokio::test]
async fn an_invalid_request_without_an_index_is_split() {
    let script = |_, alerts: &[Value]| match names(alerts).iter().any(|name| name == "bad") {
        true => (422, "{\"detail\":\"no\"}".into()),
        false => (202, String::new()),
    };
    let (keep, url) = Receiver::start(Box::new(script)).await;
    let world = World::start(url, settings(), alerts(&["a", "b", "bad", "c"]));
    world.delivered().await;
    let mut taken = keep.taken();
    taken.sort();
    assert_eq!(taken, ["a", "b", "c"]);
    assert_eq!(world.dead()[0].0, "bad");
}

#[tokio::test]
async fn a_400_gives_up_the_alert_only_if_the_receiver_works() {
    let script = |_, alerts: &[Value]| match names(alerts).iter().any(|name| name == "bad") {
        true => (400, "There was an error parsing the body".into()),
        false => (202, String::new()),
    };
    let (keep, url) = Receiver::start(Box::new(script)).await;
    let world = World::start(url, settings(), alerts(&["a", "bad", "b"]));
    world.delivered().await;
    assert_eq!(keep.taken(), ["a", "b"]);
    assert!(world.dead()[0].1.contains("error parsing"));

    let (_keep, url) = Receiver::start(Box::new(|_, _| (400, "plain HTTP sent to HTTPS port".into()))).await;
    let world = World::start(url, settings(), alerts(&["a", "b"]));
    let mut health = world.health.clone();
    health.wait_for(|health| matches!(health, Health::Paused(_))).await.unwrap();
    assert_eq!((world.waiting(), world.dead().len()), (2, 0));
}

#[tokio::test]
async fn wrong_key_or_address_pauses_keeps_all_and_asks_again() {
    for (status, text, told) in [
        (401, "{\"detail\":\"Invalid API Key\"}", "Invalid API Key"),
        (403, "{\"detail\":\"You don't have the required scopes\"}", "role `webhook`"),
        (404, "", "keep.url"),
        (405, "", "keep.url"),
        (307, "location http://127.0.0.1:1/elsewhere", "redirects"),
        (200, "<html>", "answers 202"),
    ] {
        let script =
            move |n, _: &[Value]| if n < 3 { (status, text.to_owned()) } else { (202, String::new()) };
        let (keep, url) = Receiver::start(Box::new(script)).await;
        // Old as they are, they are not given up: nobody failed but the configuration.
        let settings = OutboxSettings { retry_for: Duration::ZERO, ..settings() };
        let world = World::start(url, settings, alerts(&["a", "b"]));
        let mut health = world.health.clone();
        let paused = health.wait_for(|health| matches!(health, Health::Paused(_))).await.unwrap().clone();
        let Health::Paused(reason) = paused else { unreachable!() };
        assert!(reason.contains(told) && !reason.contains("secret-key"), "{status}: {reason}");
        world.delivered().await;
        let requests = keep.requests();
        assert!(requests[1..4].iter().all(|request| request.alerts.is_empty()), "{status}: probes");
        assert!(requests[2].at - requests[1].at >= Duration::from_millis(55));
        assert_eq!(keep.taken(), ["a", "b"]);
        assert!(world.dead().is_empty());
    }
}
