//! A stop that is asked for, and one that is not.

use super::*;

#[tokio::test]
async fn the_stop_signal_sends_what_can_be_sent() {
    let (keep, url) = Receiver::start(take()).await;
    let world =
        World::start(url, OutboxSettings { poll_interval: Duration::from_secs(60), ..settings() }, vec![]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.add(alerts(&["a"]));
    world.stop.send(true).unwrap();
    world.task.await.unwrap();
    assert_eq!(keep.taken(), ["a"]);
}

#[tokio::test]
async fn with_the_receiver_away_the_stop_is_quick_and_nothing_lost() {
    let world = World::start(Url::parse("http://127.0.0.1:1/").unwrap(), settings(), alerts(&["a"]));
    let mut health = world.health.clone();
    health.wait_for(|health| matches!(health, Health::Retrying(_))).await.unwrap();
    world.stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(5), world.task).await.unwrap().unwrap();
    assert_eq!(lock(&world.store).outbox_len().unwrap(), 1);
}

/// The process dies between sending and noting that it was taken.
#[tokio::test]
async fn after_a_kill_the_same_bytes_are_sent_again_at_a_distance() {
    let (keep, url) = Receiver::start(take()).await;
    let world = World::start(Url::parse("http://127.0.0.1:1/").unwrap(), settings(), vec![]);
    world.task.abort();
    world.add(alerts(&["a"]));
    let begun = now_ms();
    {
        let mut store = lock(&world.store);
        let batch = store.outbox_ready("keep", begun, 10).unwrap();
        store.outbox_begin(&batch, begun, begun + 200).unwrap();
        assert!(store.outbox_ready("keep", begun + 199, 10).unwrap().is_empty());
    }
    let (_stop, stopped) = watch::channel(false);
    let task = tokio::spawn(Outbox::new(Arc::clone(&world.store), target(url), settings()).run(stopped));
    world.delivered().await;
    assert!(now_ms() - begun >= 200);
    assert_eq!(keep.requests()[0].body, array(&[queued(&alerts(&["a"])[0])]));
    task.abort();
}
